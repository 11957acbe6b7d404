"""The incidents of an app in its data folder: one SQLite file with one writer, bounded for each agent and in all.

The process that has the supervisors writes. Everybody may read meanwhile, and when the app is gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from regrow.cluster.sqlite_file import Layout, SqliteFile, rows_in

FILE_NAME = "incidents.sqlite"


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

ENDS_READ = 1_000
"""How many words on ends, and how many losses, are read for a look at all of an app."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One thing that went wrong with an agent, or was done about it. `at_ms` is Unix time; `about` can be JSON."""

    at_ms: int
    agent: str
    incarnation: int
    sort: Sort
    about: Mapping[str, Any]


_LAYOUT = Layout(
    version=1,
    trimmed="incidents",
    script="""
CREATE TABLE IF NOT EXISTS incidents (id INTEGER PRIMARY KEY, at_ms INTEGER, agent, incarnation INTEGER, sort, about);
CREATE INDEX IF NOT EXISTS incidents_of_agent ON incidents (agent, sort, id);
CREATE TABLE IF NOT EXISTS left_out (reason PRIMARY KEY, incidents INTEGER);
""",
)
_PUT = "INSERT INTO incidents (at_ms, agent, incarnation, sort, about) VALUES (?, ?, ?, ?, ?)"
_COUNT = (
    "INSERT INTO left_out VALUES (?, ?) ON CONFLICT (reason) DO UPDATE SET incidents = incidents + excluded.incidents"
)
_TRIM = (
    "DELETE FROM incidents WHERE agent = ? AND sort = ? AND id <= "
    "(SELECT id FROM incidents WHERE agent = ? AND sort = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"
)


class IncidentStore:
    """The writer."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self.path = folder / FILE_NAME
        self._file = SqliteFile(self.path, _LAYOUT, limit_bytes=limit_bytes)

    def write(self, incidents: Sequence[Incident], left_out: Mapping[str, int]) -> None:
        """Keeps incidents, and by reason how many more were left out. Raises as SpanStore does."""
        with self._file.writing() as connection:
            connection.executemany(_PUT, map(_row, incidents))
            connection.executemany(_COUNT, left_out.items())
            for agent, sort in {(each.agent, each.sort) for each in incidents}:
                connection.execute(_TRIM, (agent, sort.value, agent, sort.value, KEPT_OF[sort]))

    def close(self) -> None:
        """Lets go of the file. See SqliteFile."""
        self._file.close()


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

    def ends(self) -> list[Incident]:
        """The latest words on ends of lives, of whatever agent, oldest first."""
        latest = self._incidents("WHERE sort IN (?, ?) ORDER BY id DESC LIMIT ?", (Sort.DEATH, Sort.REPORT, ENDS_READ))
        return latest[::-1]

    def losses(self) -> list[Incident]:
        """The latest losses, of whatever agent, oldest first."""
        return self._incidents("WHERE sort = ? ORDER BY id DESC LIMIT ?", (Sort.LOSS, ENDS_READ))[::-1]

    def agents(self) -> list[str]:
        """Of whom something is kept, but that somebody wrote to them."""
        asked = "SELECT DISTINCT agent FROM incidents WHERE sort <> ? ORDER BY agent"
        return [agent for (agent,) in rows_in(self.path, asked, (Sort.LOSS.value,))]

    def left_out(self) -> dict[str, int]:
        """How many incidents of the app were left out, by reason."""
        return dict(rows_in(self.path, "SELECT reason, incidents FROM left_out", ()))

    def _incidents(self, where: str, values: Sequence[object]) -> list[Incident]:
        rows = rows_in(self.path, f"SELECT at_ms, agent, incarnation, sort, about FROM incidents {where}", values)
        return [
            Incident(at_ms=at_ms, agent=agent, incarnation=life, sort=Sort(sort), about=json.loads(about))
            for at_ms, agent, life, sort, about in rows
        ]
