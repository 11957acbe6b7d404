"""What there is to know of an agent, found in the data folder of its app, and asked of the app where that runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regrow.cluster import cli_calls, control_client, past_traces
from regrow.cluster.config import Settings
from regrow.cluster.errors import IncidentsUnreadable, NoSuchAgent, NothingKnown
from regrow.cluster.incident_store import ENDS_READ, FILE_NAME, Incident, IncidentFile, Sort
from regrow.cluster.live_agent import LiveAgent, asked_of
from regrow.cluster.span_row import SpanRow
from regrow.cluster.why import TOLD, Death, Found, Other, deaths_of, decisions_of, messages_gone, others_of, time_told
from regrow.cluster.why_below import last_run_ms, of_those_below, silent_since
from regrow.runtime import telemetry
from regrow.runtime.errors import Misuse
from regrow.runtime.redaction import Redaction

NS_PER_MS = 1_000_000


def found_of(settings: Settings, agent: str) -> Found:
    """All that is known of `APP/AGENT`, or of `APP` as a whole.

    Raises Misuse, NoSuchAgent, NothingKnown, IncidentsUnreadable.
    """
    app = agent.partition(":")[0] if "/" not in agent else cli_calls.app_of(agent)
    if not app:
        raise Misuse(f"{agent!r} names no agent; write APP/AGENT, such as hello/greet, or APP (regrow ps shows them)")
    live = asked_of(app, agent)
    if live.data_dir is not None:
        settings = settings.model_copy(update={"data_dir": live.data_dir})
    path = settings.data_dir_of(app) / FILE_NAME
    kept = _kept(IncidentFile(path) if path.exists() else None, agent)
    unknown = list(live.unknown)
    below = of_those_below(agent, kept.others)
    if not kept.incidents and not _is_known(live, agent) and not below:
        _refuse_unknown(app, agent, live, kept, folder=path.parent)
        unknown.append(
            f"nothing is kept of {agent} itself: nothing has gone wrong with it, or there is nobody of that id"
        )
    deaths = deaths_of(kept.incidents)
    turns = _turns(settings, app, agent)
    if gone := messages_gone(deaths, live.history, turns):
        unknown.append(gone)
    if kept.left_out:
        told = ", ".join(f"{count:,} ({reason})" for reason, count in sorted(kept.left_out.items()))
        unknown.append(f"incidents of the app that were not kept, of whatever agent: {told}")
    if kept.ends_since_ms and below:
        unknown.append(
            f"who has died below it before {time_told(kept.ends_since_ms)}, and how often: the latest {ENDS_READ:,} "
            "words on ends are read"
        )
    if live.is_gone and kept.silent_since_ms:
        unknown.append(
            f"how {app} ended: nothing is kept that is later than {time_told(kept.silent_since_ms)}, as where its "
            "process is killed, its machine goes down or its disk is full"
        )
    nodes = live.nodes or {}
    return Found(
        agent=agent,
        node=nodes.get(agent),
        is_app_running=live.nodes is not None,
        is_app_silent=live.nodes is None and not live.is_gone,
        started_ms=live.started_ms or kept.run_ms,
        supervisors=tuple(nodes[each] for each in _above(agent) if each in nodes),
        others=kept.others,
        deaths=deaths,
        decisions=decisions_of(kept.incidents),
        losses=tuple(each for each in kept.losses if agent != app or each.at_ms >= live.started_ms),
        above=kept.above,
        looked_ms=live.looked_ms,
        messages=_redacted(settings, live.messages),
        turns=turns,
        history=live.history,
        set_aside=tuple(each for each in kept.incidents if each.sort is Sort.QUARANTINE),
        quarantined=live.quarantined,
        waits=live.waits,
        left_out=kept.left_out,
        unknown=tuple(unknown),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What the data folder has: of the agent, of supervisors above it that gave up, and of everybody else.

    The losses of an app are those of all of its agents.
    """

    incidents: list[Incident] = field(default_factory=list[Incident])
    losses: list[Incident] = field(default_factory=list[Incident])
    above: tuple[Death, ...] = ()
    others: tuple[Other, ...] = ()
    run_ms: int = 0
    ends_since_ms: int = 0
    """Of when the first word on an end is that was read, where there are earlier ones."""
    silent_since_ms: int = 0
    agents: list[str] = field(default_factory=list[str])
    left_out: dict[str, int] = field(default_factory=dict[str, int])


def _is_known(live: LiveAgent, agent: str) -> bool:
    """Whether the app knows of somebody of that id, in its trees, spawned by another agent, or in its journal."""
    return agent in (live.nodes or ()) or live.messages is not None or bool(live.history)


def _refuse_unknown(app: str, agent: str, live: LiveAgent, kept: _Kept, *, folder: Path) -> None:
    if live.nodes is not None:
        raise NoSuchAgent(app, agent, known=sorted({*live.nodes, *kept.agents}))
    if not kept.above:  # else why it is not there is known, whoever it is
        running = control_client.running_apps()
        raise NothingKnown(app, agent, known=kept.agents, folder=str(folder), running=running)


def _kept(file: IncidentFile | None, agent: str) -> _Kept:
    if file is None:
        return _Kept()
    with _reading(file):
        above: list[Death] = []
        for supervisor in _above(agent):
            above += (each for each in deaths_of(file.of_agent(supervisor)) if each.reason["kind"] == "escalated")
        ends, incidents = file.ends(), file.of_agent(agent)
        is_app = "/" not in agent
        return _Kept(
            incidents=incidents,
            losses=file.losses() if is_app else [each for each in incidents if each.sort is Sort.LOSS],
            above=tuple(sorted(above, key=lambda each: each.at_ms)),
            others=others_of(ends, agent),
            run_ms=last_run_ms(ends),
            ends_since_ms=ends[0].at_ms if len(ends) == ENDS_READ else 0,
            silent_since_ms=silent_since(ends),
            agents=file.agents(),
            left_out=file.left_out(),
        )


def _redacted(
    settings: Settings, messages: tuple[Mapping[str, Any], ...] | None
) -> tuple[Mapping[str, Any], ...] | None:
    """Messages as their process has them, without what looks like a secret in why they were refused."""
    if messages is None:
        return None
    redact = Redaction(settings.tracing.redact)
    return tuple({**each, "why": redact(each["why"])} if each.get("why") else each for each in messages)


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
            "incarnation": int(telemetry_of(row, telemetry.AGENT_INCARNATION) or 0),
            "took_ms": None if row.end_ns is None else (row.end_ns - row.start_ns) / NS_PER_MS,
            "status": row.status,
            "trace": row.trace_id,
        }
        for row in sorted(rows, key=lambda row: row.start_ns)[-TOLD:]
    )


def telemetry_of(row: SpanRow, name: str) -> str:
    """An attribute of a span as text; empty where it has none of that name."""
    return str(json.loads(row.attributes).get(name, ""))


@contextmanager
def _reading(file: IncidentFile) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise IncidentsUnreadable(
            f"the incidents in {Path(file.path)} can not be read ({error}); look at the file and its folder"
        ) from error
