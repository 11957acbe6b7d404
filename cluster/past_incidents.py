"""What there is to know of an agent, found in the data folder of its app, and asked of the app where that runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regrow.cluster import cli_calls, past_traces
from regrow.cluster.config import Settings
from regrow.cluster.errors import AppNotRunning, ControlError, IncidentsUnreadable, NoSuchAgent
from regrow.cluster.incident_store import FILE_NAME, Incident, IncidentFile, Sort
from regrow.cluster.span_row import SpanRow
from regrow.cluster.why import TOLD, Death, Found, deaths_of, decisions_of, time_told
from regrow.runtime import telemetry
from regrow.runtime.errors import TooLate

NS_PER_MS = 1_000_000


def found_of(settings: Settings, agent: str) -> Found:
    """All that is known of `APP/AGENT`. Raises Misuse, NoSuchAgent, IncidentsUnreadable."""
    app = cli_calls.app_of(agent)
    path = settings.data_dir_of(app) / FILE_NAME
    file = IncidentFile(path) if path.exists() else None
    unknown: list[str] = []
    nodes = _nodes(app, unknown)
    incidents, above, agents, left_out = _kept(file, agent)
    if not incidents and (nodes is None or agent not in nodes):
        known = sorted({*(nodes or ()), *agents})
        raise NoSuchAgent(app, agent, known=known)
    deaths = deaths_of(incidents)
    quarantined = _quarantined(app, agent, unknown) if nodes is not None else ()
    turns = _turns(settings, app, agent)
    _say_what_is_not_known(deaths, turns, unknown)
    if left_out:
        told = ", ".join(f"{count:,} ({reason})" for reason, count in sorted(left_out.items()))
        unknown.append(f"incidents of the app that were not kept, of whatever agent: {told}")
    return Found(
        agent=agent,
        node=nodes.get(agent) if nodes is not None else None,
        is_app_running=nodes is not None,
        deaths=deaths,
        decisions=decisions_of(incidents),
        losses=tuple(each for each in incidents if each.sort is Sort.LOSS),
        above=above,
        turns=turns,
        quarantined=quarantined,
        left_out=left_out,
        unknown=tuple(unknown),
    )


def _kept(file: IncidentFile | None, agent: str) -> tuple[list[Incident], tuple[Death, ...], list[str], dict[str, int]]:
    """What is kept of the agent, the ends of supervisors above it that gave up, who else is there, what is not."""
    if file is None:
        return [], (), [], {}
    with _reading(file):
        incidents = file.of_agent(agent)
        above: list[Death] = []
        for supervisor in _above(agent):
            above += (each for each in deaths_of(file.of_agent(supervisor)) if each.reason["kind"] == "escalated")
        return incidents, tuple(sorted(above, key=lambda each: each.at_ms)), file.agents(), file.left_out()


def _above(agent: str) -> Iterator[str]:
    parts = agent.split("/")
    for upto in range(1, len(parts)):
        yield "/".join(parts[:upto])


def _nodes(app: str, unknown: list[str]) -> dict[str, Mapping[str, Any]] | None:
    """Everybody in the trees of the app, by id; None where it does not say."""
    try:
        roots = cli_calls.tree_of(app)
    except AppNotRunning:
        unknown.append(f"{app} does not run, so what lies in its journal, such as its quarantine, can not be looked at")
        return None
    except (TooLate, ControlError) as error:
        unknown.append(f"{app} does not say how it is now ({error})")
        return None
    found: dict[str, Mapping[str, Any]] = {}
    left = list(roots)
    while left:
        node = left.pop()
        found[node["id"]] = node
        left += node["children"]
    return found


def _quarantined(app: str, agent: str, unknown: list[str]) -> tuple[Mapping[str, Any], ...]:
    try:
        rows: list[Mapping[str, Any]] = cli_calls.set_aside(agent)["messages"]
    except ControlError as error:
        if error.type_name != "Misuse":  # that is said of an app that keeps no journal
            unknown.append(f"the journal of {app} can not be asked for its quarantine ({error})")
        return ()
    except (TooLate, AppNotRunning) as error:
        unknown.append(f"the journal of {app} can not be asked for its quarantine ({error})")
        return ()
    return tuple(rows)


def _turns(settings: Settings, app: str, agent: str) -> tuple[Mapping[str, Any], ...]:
    """Its latest turns in traces; () where none were recorded, or their file can not be read."""
    rows: list[SpanRow] = []
    try:
        for file in past_traces.files_of(settings, app):
            rows += file.turns_of(agent, TOLD)
    except sqlite3.Error:
        return ()  # `regrow traces` says what is wrong with it
    return tuple(
        {
            "at": time_told(row.start_ns // NS_PER_MS),
            "name": row.name.partition(" ")[0],
            "message": telemetry_of(row, telemetry.MESSAGE_TYPE),
            "took_ms": None if row.end_ns is None else (row.end_ns - row.start_ns) / NS_PER_MS,
            "status": row.status,
            "trace": row.trace_id,
        }
        for row in rows[-TOLD:]
    )


def telemetry_of(row: SpanRow, name: str) -> str:
    """An attribute of a span as text; empty where it has none of that name."""
    return str(json.loads(row.attributes).get(name, ""))


def _say_what_is_not_known(deaths: tuple[Death, ...], turns: object, unknown: list[str]) -> None:
    for death in deaths[-1:]:
        if death.messages is None and death.reason["kind"] in ("killed", "fenced"):
            instead = "its recorded turns stand below" if turns else "no traces of it were recorded either"
            unknown.append(
                f"which messages life #{death.incarnation} had before its end went with its process; {instead}"
            )


@contextmanager
def _reading(file: IncidentFile) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise IncidentsUnreadable(
            f"the incidents in {Path(file.path)} can not be read ({error}); look at the file and its folder"
        ) from error
