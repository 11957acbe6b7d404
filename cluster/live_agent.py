"""What a running app tells of one of its agents, for `regrow why`; of what it does not tell, why."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from regrow.cluster import cli_calls, control_client
from regrow.cluster.errors import AppNotRunning, ControlError
from regrow.cluster.why import TOLD
from regrow.runtime.errors import TooLate

ANSWER_S = 5.0
"""How long each answer is waited for: somebody sits there, and most is known without it."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAgent:
    """An agent as its app tells of it at `looked_ms`, a Unix time. None stands for what it did not tell."""

    looked_ms: int = 0
    nodes: Mapping[str, Row] | None = None
    """Everybody in the trees of the app, by id."""
    started_ms: int = 0
    """When the app was started."""
    messages: tuple[Row, ...] | None = None
    """Its latest messages, oldest first; also None where no such agent is running."""
    quarantined: tuple[Row, ...] | None = None
    waits: tuple[Row, ...] = ()
    """Its messages that wait for somebody's answer."""
    history: tuple[Row, ...] = ()
    """How its latest turns ended, where a journal keeps that."""
    unknown: tuple[str, ...] = ()


def asked_of(app: str, agent: str) -> LiveAgent:
    """What the app says; in at most TREE_TIMEOUT_S, and ANSWER_S for each of what can hang by itself."""
    try:
        about = cli_calls.seen(app)
    except AppNotRunning:
        why = f"{app} does not run, so what lies in its journal, such as its history, can not be looked at"
        return LiveAgent(unknown=(why,))
    except (TooLate, ControlError) as error:
        return LiveAgent(unknown=(f"{app} does not say how it is now ({error})",))
    if not about["tree"]:
        return LiveAgent(unknown=(f"{app} is {about['state']}, and does not say how its agents are",))
    unknown: list[str] = []
    of = agent if "/" in agent else ""  # of an app it is asked for all of its agents
    messages = _asked(app, "messages", unknown, "the latest messages of its agents", agent=agent)
    quarantine = _asked(app, "set_aside", unknown, "what is in quarantine", agent=of)
    waits = _asked(app, "waits", unknown, "what waits for an answer", agent=of)
    history = _asked(app, "history", unknown, "the history of its agents", agent=agent, limit=TOLD)
    had = messages["messages"] if messages is not None else None
    return LiveAgent(
        looked_ms=time.time_ns() // 1_000_000,
        nodes=_by_id(about["tree"]),
        started_ms=int(datetime.fromisoformat(about["started_at"]).timestamp() * 1_000),
        messages=tuple(had) if had is not None else None,
        quarantined=tuple(quarantine["messages"]) if quarantine is not None else None,
        waits=tuple(waits["waits"]) if waits is not None else (),
        history=tuple(map(_turn, history["turns"])) if history is not None else (),
        unknown=tuple(unknown),
    )


def _asked(app: str, do: str, unknown: list[str], what: str, **more: object) -> dict[str, Any] | None:
    """The answer to one question; None where there is none, and then `unknown` has why."""
    try:
        answer: dict[str, Any] = control_client.call(app, do, wait_s=ANSWER_S, **more)
    except ControlError as error:
        if error.type_name != "Misuse":  # that is said of an app without a journal, and of an agent that is not durable
            unknown.append(f"{app} can not say {what} ({error})")
    except (TooLate, AppNotRunning) as error:
        unknown.append(f"{app} did not say {what} ({error})")
    else:
        return answer
    return None


def _by_id(roots: list[Any]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    left = list(roots)
    while left:
        node = left.pop()
        found[node["id"]] = node
        left += node["children"]
    return found


def _turn(turn: Row) -> Row:
    """How a turn ended, without what its message says."""
    return {
        "began": turn["began"],
        "ended": turn["ended"],
        "message": str(turn["type"] or "").rpartition(":")[2],
        "outcome": turn["outcome"],
        "failed_before": turn["failed_before"],
        "command": turn["command"],
    }
