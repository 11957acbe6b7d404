"""The incidents of an app in its data folder: one SQLite file with one writer, bounded for each agent and in all.

The process that has the supervisors writes. Everybody may read meanwhile, and when the app is gone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog

FILE_NAME = "incidents.sqlite"
VERSION = 1
"""Of the table; a file of another version is put aside."""
TRIM_SHARE = 0.1
"""How much is deleted when the file has reached its limit, so that this is done seldom."""
PAGE_BYTES = 4_096
WAL_BYTES = 4_000_000
BUSY_S = 2.0
"""How long a write waits for somebody who reads or copies the file."""

log = structlog.get_logger("regrow.incidents")


class Sort(StrEnum):
    """What an incident is."""

    DEATH = "death"
    """Told by the process in which a life ended, with the messages before."""
    REPORT = "report"
    """Told by a supervisor."""
    LOSS = "loss"
    """A dead letter."""
    ORDER = "order"
    """A person had the agent killed or restarted, or decided on a message in quarantine."""
    QUARANTINE = "quarantine"
    """A message was set aside for a person."""


KEPT_OF = {Sort.DEATH: 20, Sort.REPORT: 100, Sort.LOSS: 50, Sort.ORDER: 20, Sort.QUARANTINE: 20}
"""How many of each sort are kept of one agent, the latest ones: a flood of one sort leaves the others as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One thing that went wrong with an agent, or was done about it. `at_ms` is Unix time; `about` can be JSON."""

    at_ms: int
    agent: str
    incarnation: int
    sort: Sort
    about: Mapping[str, Any]


_TABLES = """
CREATE TABLE IF NOT EXISTS incidents (id INTEGER PRIMARY KEY, at_ms INTEGER, agent, incarnation INTEGER, sort, about);
CREATE INDEX IF NOT EXISTS incidents_of_agent ON incidents (agent, sort, id);
CREATE TABLE IF NOT EXISTS left_out (reason PRIMARY KEY, incidents INTEGER);
"""
_PUT = "INSERT INTO incidents (at_ms, agent, incarnation, sort, about) VALUES (?, ?, ?, ?, ?)"
_COUNT = (
    "INSERT INTO left_out VALUES (?, ?) ON CONFLICT (reason) DO UPDATE SET incidents = incidents + excluded.incidents"
)
_TRIM = (
    "DELETE FROM incidents WHERE agent = ? AND sort = ? AND id <= "
    "(SELECT id FROM incidents WHERE agent = ? AND sort = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"
)


class IncidentStore:
    """The writer. It may be used from any one thread at a time.

    `write` raises sqlite3.Error or OSError, such as for a full disk or a folder that can not be written; what was in
    that batch is lost, and the next one is tried anew.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self.path = folder / FILE_NAME
        self._limit_bytes = limit_bytes
        self._connection: sqlite3.Connection | None = None

    def write(self, incidents: Sequence[Incident], left_out: Mapping[str, int]) -> None:
        """Keeps incidents, and by reason how many more were left out."""
        connection = self._opened()
        with connection:
            connection.executemany(_PUT, map(_row, incidents))
            connection.executemany(_COUNT, left_out.items())
            for agent, sort in {(each.agent, each.sort) for each in incidents}:
                connection.execute(_TRIM, (agent, sort.value, agent, sort.value, KEPT_OF[sort]))
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
                    "the file of the incidents can not be read, and is put aside", file=str(aside), reason=str(error)
                )
                self.path.replace(aside)
                self._connection = _connected(self.path)
        return self._connection

    def _trim(self, connection: sqlite3.Connection) -> None:
        (pages,), (free,) = (connection.execute(f"PRAGMA {of}").fetchone() for of in ("page_count", "freelist_count"))
        if (pages - free) * PAGE_BYTES <= self._limit_bytes:
            return
        (first,), (last,) = (connection.execute(f"SELECT {of}(id) FROM incidents").fetchone() for of in ("min", "max"))
        connection.execute("DELETE FROM incidents WHERE id <= ?", (first + int((last - first) * TRIM_SHARE),))


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    try:
        path.chmod(0o600)  # texts of errors may hold what people have written
        # What the last seconds before a power failure have told may be lost.
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


def _row(incident: Incident) -> tuple[object, ...]:
    about = json.dumps(dict(incident.about), ensure_ascii=False)
    return incident.at_ms, incident.agent, incident.incarnation, incident.sort.value, about


class IncidentFile:
    """What a store has, for whoever looks: opened for reading alone, and closed after each look."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def of_agent(self, agent: str) -> list[Incident]:
        """All that is kept of an agent, oldest first."""
        return self._incidents("WHERE agent = ? ORDER BY id", (agent,))

    def agents(self) -> list[str]:
        """Of whom something is kept, but that somebody wrote to them."""
        asked = "SELECT DISTINCT agent FROM incidents WHERE sort <> ? ORDER BY agent"
        return [agent for (agent,) in self._read(asked, (Sort.LOSS.value,))]

    def left_out(self) -> dict[str, int]:
        """How many incidents of the app were left out, by reason."""
        return dict(self._read("SELECT reason, incidents FROM left_out", ()))

    def _incidents(self, where: str, values: Sequence[object]) -> list[Incident]:
        rows = self._read(f"SELECT at_ms, agent, incarnation, sort, about FROM incidents {where}", values)
        return [
            Incident(at_ms=at_ms, agent=agent, incarnation=life, sort=Sort(sort), about=json.loads(about))
            for at_ms, agent, life, sort, about in rows
        ]

    def _read(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Raises sqlite3.Error."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=BUSY_S)) as connection:
            return connection.execute(query, values).fetchall()
