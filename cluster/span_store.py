"""The spans of an app in its data folder: one SQLite file with one writer, bounded, the oldest trimmed.

The process that owns the folder writes: the one of an inline app, the guardian on Ray. Everybody may read meanwhile,
and when the app is gone.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

import structlog

from regrow.cluster.span_row import COLUMNS, SpanRow, row_from
from regrow.runtime import telemetry

FILE_NAME = "spans.sqlite"
VERSION = 1
"""Of the table; a file of another version is put aside."""
TRIM_SHARE = 0.1
"""How much of the spans is deleted when the file has reached its limit, so that this is done seldom."""
PAGE_BYTES = 4_096
WAL_BYTES = 4_000_000
"""How large the write-ahead log may stay; it goes when the store is closed."""
BUSY_S = 2.0
"""How long a write waits for somebody who reads or copies the file."""

log = structlog.get_logger("regrow.tracing")

_LISTED = f"name <> '{telemetry.SUPERVISE}'"
"""What makes a trace one to be listed: not that a supervisor reports of a child, outside of any other trace."""
_TABLES = f"""
CREATE TABLE IF NOT EXISTS spans (id INTEGER PRIMARY KEY, {", ".join(COLUMNS)});
CREATE UNIQUE INDEX IF NOT EXISTS spans_of_trace ON spans (trace_id, span_id);
CREATE INDEX IF NOT EXISTS spans_listed ON spans (trace_id) WHERE {_LISTED};
CREATE TABLE IF NOT EXISTS left_out (process, reason, spans INTEGER, PRIMARY KEY (process, reason));
"""
# One that has ended replaces what was said of it before, and nothing replaces one that has.
_PUT = (
    f"INSERT INTO spans ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)}) "
    f"ON CONFLICT (trace_id, span_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS)} "
    "WHERE spans.end_ns IS NULL"
)
_COUNT = "INSERT INTO left_out VALUES (?, ?, ?) ON CONFLICT (process, reason) DO UPDATE SET spans = excluded.spans"


class SpanStore:
    """The writer. It may be used from any one thread at a time.

    `write` raises sqlite3.Error or OSError, such as for a full disk or a folder that can not be written; what was in
    that batch is lost, and the next one is tried anew.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self.path = folder / FILE_NAME
        self._limit_bytes = limit_bytes
        self._connection: sqlite3.Connection | None = None

    def write(self, rows: Iterable[SpanRow], left_out: Mapping[tuple[str, str], int]) -> None:
        """Keeps spans, and by process and reason how many were left out there since it began."""
        connection = self._opened()
        with connection:
            connection.executemany(_PUT, [astuple(row) for row in rows])
            connection.executemany(_COUNT, [(*whose, count) for whose, count in left_out.items()])
            self._trim(connection)

    def close(self) -> None:
        """Lets go of the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # somebody reads, or the disk is full: then the log stays beside the file
                connection.execute("PRAGMA journal_mode = DELETE")
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.path.parent / ".gitignore").write_text("*\n")
            try:
                self._connection = _connected(self.path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                aside = self.path.with_suffix(".broken")
                log.warning(
                    "the file of the spans can not be read, and is put aside", file=str(aside), reason=str(error)
                )
                self.path.replace(aside)
                self._connection = _connected(self.path)
        return self._connection

    def _trim(self, connection: sqlite3.Connection) -> None:
        (pages,), (free,) = (connection.execute(f"PRAGMA {of}").fetchone() for of in ("page_count", "freelist_count"))
        if (pages - free) * PAGE_BYTES <= self._limit_bytes:
            return
        (first,), (last,) = (connection.execute(f"SELECT {of}(id) FROM spans").fetchone() for of in ("min", "max"))
        connection.execute("DELETE FROM spans WHERE id <= ?", (first + int((last - first) * TRIM_SHARE),))


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    try:
        path.chmod(0o600)  # it may hold what people have written
        # Spans are no money: what the last seconds before a power failure have told may be lost.
        for pragma in ("journal_mode = WAL", "synchronous = OFF", f"journal_size_limit = {WAL_BYTES}"):
            connection.execute(f"PRAGMA {pragma}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"it is of version {version}, and this is version {VERSION}")
        connection.executescript(_TABLES)
        connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


class SpanFile:
    """What a store has, for whoever looks: opened for reading alone, and closed after each look."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def latest(self, limit: int) -> list[str]:
        """The traces of which something was stored last, the newest first."""
        latest = f"SELECT trace_id FROM spans WHERE {_LISTED} GROUP BY trace_id ORDER BY max(id) DESC LIMIT ?"
        return [trace_id for (trace_id,) in self._read(latest, (limit,))]

    def named(self, prefix: str, limit: int) -> list[str]:
        """The traces whose ids begin so, at most so many."""
        named = "SELECT DISTINCT trace_id FROM spans WHERE trace_id >= ? AND trace_id < ? LIMIT ?"
        return [trace_id for (trace_id,) in self._read(named, (prefix, f"{prefix}g", limit))]

    def spans(self, trace_id: str) -> list[SpanRow]:
        """The spans of a trace, in the order in which they began."""
        asked = f"SELECT {', '.join(COLUMNS)} FROM spans WHERE trace_id = ? ORDER BY start_ns, id"
        return [row_from(row) for row in self._read(asked, (trace_id,))]

    def turns_of(self, agent: str, limit: int) -> list[SpanRow]:
        """The latest turns of an agent that were recorded, oldest first."""
        asked = f"SELECT {', '.join(COLUMNS)} FROM spans WHERE name IN (?, ?) ORDER BY id DESC LIMIT ?"
        names = (f"{telemetry.INVOKE_AGENT} {agent}", f"{telemetry.PROCESS} {agent}")
        return [row_from(row) for row in reversed(self._read(asked, (*names, limit)))]

    def left_out(self) -> dict[str, int]:
        """How many spans and traces were left out, by reason, in all processes."""
        counted: Counter[str] = Counter()
        for reason, count in self._read("SELECT reason, spans FROM left_out", ()):
            counted[reason] += count
        return dict(counted)

    def spent(self, limit: int) -> list[tuple[Any, ...]]:
        """What each agent has spent with each model, the most expensive first: both, calls, tokens in and out, dollars.

        Of what is no model, such as a tool that costs something, the name of the span stands in its place.
        """
        asked = (
            "SELECT json_extract(attributes, ?) AS agent, coalesce(json_extract(attributes, ?), name) AS model, "
            "count(*), sum(input_tokens), sum(output_tokens), sum(cost_usd) AS cost FROM spans "
            "WHERE cost_usd IS NOT NULL OR input_tokens > 0 GROUP BY agent, model ORDER BY cost DESC LIMIT ?"
        )
        paths = (f'$."{telemetry.AGENT_ID}"', f'$."{telemetry.REQUEST_MODEL}"')
        return self._read(asked, (*paths, limit))

    def _read(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Raises sqlite3.Error."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=BUSY_S)) as connection:
            return connection.execute(query, values).fetchall()
