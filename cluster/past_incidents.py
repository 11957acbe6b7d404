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
from regrow.cluster.errors import IncidentsUnreadable, NoSuchAgent, NothingKnown
from regrow.cluster.incident_store import FILE_NAME, Incident, IncidentFile, Sort
from regrow.cluster.live_agent import LiveAgent, asked_of
from regrow.cluster.span_row import SpanRow
from regrow.cluster.why import TOLD, Death, Found, deaths_of, decisions_of, time_told
from regrow.runtime import telemetry

NS_PER_MS = 1_000_000


def found_of(settings: Settings, agent: str) -> Found:
    """All that is known of `APP/AGENT`. Raises Misuse, NoSuchAgent, NothingKnown, IncidentsUnreadable."""
    app = cli_calls.app_of(agent)
    path = settings.data_dir_of(app) / FILE_NAME
    file = IncidentFile(path) if path.exists() else None
    live = asked_of(app, agent)
    incidents, above, agents, left_out = _kept(file, agent)
    unknown = list(live.unknown)
    if not incidents and not _is_known(live, agent):
        _refuse_unknown(app, agent, live, agents, is_above_known=bool(above))
        unknown.append(
            f"nothing is kept of {agent} itself: nothing has gone wrong with it, or there is nobody of that id"
        )
    deaths = deaths_of(incidents)
    turns = _turns(settings, app, agent)
    _say_what_is_not_known(deaths, live.history or turns, unknown)
    if left_out:
        told = ", ".join(f"{count:,} ({reason})" for reason, count in sorted(left_out.items()))
        unknown.append(f"incidents of the app that were not kept, of whatever agent: {told}")
    return Found(
        agent=agent,
        node=live.nodes.get(agent) if live.nodes is not None else None,
        is_app_running=live.nodes is not None,
        deaths=deaths,
        decisions=decisions_of(incidents),
        losses=tuple(each for each in incidents if each.sort is Sort.LOSS),
        above=above,
        looked_ms=live.looked_ms,
        messages=live.messages,
        turns=turns,
        history=live.history,
        set_aside=tuple(each for each in incidents if each.sort is Sort.QUARANTINE),
        quarantined=live.quarantined,
        left_out=left_out,
        unknown=tuple(unknown),
    )


def _is_known(live: LiveAgent, agent: str) -> bool:
    """Whether the app knows of somebody of that id, in its trees, spawned by another agent, or in its journal."""
    return agent in (live.nodes or ()) or live.messages is not None or bool(live.history)


def _refuse_unknown(app: str, agent: str, live: LiveAgent, kept: list[str], *, is_above_known: bool) -> None:
    if live.nodes is not None:
        raise NoSuchAgent(app, agent, known=sorted({*live.nodes, *kept}))
    if not is_above_known:  # else why it is not there is known, whoever it is
        raise NothingKnown(app, agent, known=kept)


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
