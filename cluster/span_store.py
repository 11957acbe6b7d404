"""The spans of an app in its data folder: one SQLite file with one writer, bounded, the oldest trimmed.

The process that owns the folder writes: the one of an inline app, the guardian on Ray. Everybody may read meanwhile,
and when the app is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from regrow.cluster.span_row import COLUMNS, SpanRow, row_from, values_of
from regrow.cluster.sqlite_file import Layout, SqliteFile, rows_in
from regrow.runtime import telemetry

FILE_NAME = "spans.sqlite"
_LISTED = f"name <> '{telemetry.SUPERVISE}'"
"""What makes a trace one to be listed: not that a supervisor reports of a child, outside of any other trace."""
_LAYOUT = Layout(
    version=1,
    trimmed="spans",
    script=f"""
CREATE TABLE IF NOT EXISTS spans (id INTEGER PRIMARY KEY, {", ".join(COLUMNS)});
CREATE UNIQUE INDEX IF NOT EXISTS spans_of_trace ON spans (trace_id, span_id);
CREATE INDEX IF NOT EXISTS spans_listed ON spans (trace_id) WHERE {_LISTED};
CREATE TABLE IF NOT EXISTS left_out (process, reason, spans INTEGER, PRIMARY KEY (process, reason));
""",
)
# One that has ended replaces what was said of it before, and nothing replaces one that has.
_PUT = (
    f"INSERT INTO spans ({', '.join(COLUMNS)}) VALUES ({', '.join('?' for _ in COLUMNS)}) "
    f"ON CONFLICT (trace_id, span_id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in COLUMNS)} "
    "WHERE spans.end_ns IS NULL"
)
_COUNT = "INSERT INTO left_out VALUES (?, ?, ?) ON CONFLICT (process, reason) DO UPDATE SET spans = excluded.spans"


class SpanStore:
    """The writer."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self.path = folder / FILE_NAME
        self._file = SqliteFile(self.path, _LAYOUT, limit_bytes=limit_bytes)

    def write(self, rows: Iterable[SpanRow], left_out: Mapping[tuple[str, str], int]) -> None:
        """Keeps spans, and by process and reason how many were left out there since it began.

        Raises sqlite3.Error or OSError; what was in this batch is lost, and the next one is tried anew.
        """
        with self._file.writing() as connection:
            connection.executemany(_PUT, map(values_of, rows))
            connection.executemany(_COUNT, [(*whose, count) for whose, count in left_out.items()])

    def close(self) -> None:
        """Lets go of the file. See SqliteFile."""
        self._file.close()


class SpanFile:
    """What a store has, for whoever looks: opened for reading alone, and closed after each look."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def latest(self, limit: int) -> list[str]:
        """The traces of which something was stored last, the newest first."""
        latest = f"SELECT trace_id FROM spans WHERE {_LISTED} GROUP BY trace_id ORDER BY max(id) DESC LIMIT ?"
        return [trace_id for (trace_id,) in rows_in(self.path, latest, (limit,))]

    def named(self, prefix: str, limit: int) -> list[str]:
        """The traces whose ids begin so, at most so many."""
        named = "SELECT DISTINCT trace_id FROM spans WHERE trace_id >= ? AND trace_id < ? LIMIT ?"
        return [trace_id for (trace_id,) in rows_in(self.path, named, (prefix, f"{prefix}g", limit))]

    def spans(self, trace_id: str) -> list[SpanRow]:
        """The spans of a trace, in the order in which they began."""
        asked = f"SELECT {', '.join(COLUMNS)} FROM spans WHERE trace_id = ? ORDER BY start_ns, id"
        return [row_from(row) for row in rows_in(self.path, asked, (trace_id,))]

    def turns_of(self, agent: str, limit: int) -> list[SpanRow]:
        """The latest turns of an agent that were recorded, oldest first."""
        asked = f"SELECT {', '.join(COLUMNS)} FROM spans WHERE name IN (?, ?) ORDER BY id DESC LIMIT ?"
        names = (f"{telemetry.INVOKE_AGENT} {agent}", f"{telemetry.PROCESS} {agent}")
        return [row_from(row) for row in reversed(rows_in(self.path, asked, (*names, limit)))]

    def left_out(self) -> dict[str, int]:
        """How many spans and traces were left out, by reason, in all processes."""
        counted: Counter[str] = Counter()
        for reason, count in rows_in(self.path, "SELECT reason, spans FROM left_out", ()):
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
        return rows_in(self.path, asked, (*paths, limit))
