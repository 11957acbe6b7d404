"""What a running app tells of one of its agents, for `regrow why`; of what it does not tell, why."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
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

    is_gone: bool = False
    """Its app does not run; one that does not answer may."""
    looked_ms: int = 0
    nodes: Mapping[str, Row] | None = None
    """Everybody in the trees of the app, by id."""
    data_dir: Path | None = None
    """Where the app keeps what it keeps, wherever somebody looks from."""
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
    """What the app says; in at most TREE_TIMEOUT_S, and ANSWER_S for what can hang by itself."""
    try:
        about = cli_calls.seen(app)
    except AppNotRunning:
        why = f"{app} does not run, so what lies in its journal, such as its history, can not be looked at"
        return LiveAgent(is_gone=True, unknown=(why,))
    except (TooLate, ControlError) as error:
        return LiveAgent(unknown=(f"{app} does not say how it is now ({error})",))
    if not about["tree"]:
        return LiveAgent(unknown=(f"{app} is {about['state']}, and does not say how its agents are",))
    questions = _questions(agent)
    with ThreadPoolExecutor(len(questions)) as threads:  # what hangs is waited for once
        told = dict(zip(questions, threads.map(lambda do: _asked(app, do, questions[do]), questions), strict=True))
    had = told["messages"].answer.get("messages")
    aside = told["set_aside"].answer.get("messages")
    return LiveAgent(
        looked_ms=time.time_ns() // 1_000_000,
        nodes=_by_id(about["tree"]),
        data_dir=Path(about["data_dir"]) if "data_dir" in about else None,  # of an older Regrow it is not told
        started_ms=int(datetime.fromisoformat(about["started_at"]).timestamp() * 1_000),
        messages=tuple(had) if had is not None else None,
        quarantined=tuple(aside) if aside is not None else None,
        waits=tuple(told["waits"].answer.get("waits", ())),
        history=tuple(map(_turn, told["history"].answer.get("turns", ()))),
        unknown=tuple(each.unknown for each in told.values() if each.unknown),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    what: str
    is_of_journal: bool = True
    order: Mapping[str, object]


def _questions(agent: str) -> dict[str, _Question]:
    """What an app is asked of an agent; of an app itself what all of its agents have in the journal."""
    of = {"agent": agent if "/" in agent else ""}
    return {
        "messages": _Question(what="the latest messages of its agents", is_of_journal=False, order={"agent": agent}),
        "set_aside": _Question(what="what is in quarantine", order=of),
        "waits": _Question(what="what waits for an answer", order=of),
        "history": _Question(what="the history of its agents", order={"agent": agent, "limit": TOLD}),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """The answer to one question; where there is none, `unknown` says why, or is empty if there can be none."""

    answer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    unknown: str = ""


def _asked(app: str, do: str, question: _Question) -> _Answer:
    try:
        return _Answer(answer=control_client.call(app, do, wait_s=ANSWER_S, **question.order))
    except ControlError as error:
        if error.type_name == "Misuse":  # said of an app without a journal, and of an agent that is not durable
            return _Answer()
        return _Answer(unknown=f"{app} can not say {question.what} ({error})")
    except (TooLate, AppNotRunning) as error:
        why = str(error)
        if question.is_of_journal and isinstance(error, TooLate):
            why = f"its journal did not answer within {ANSWER_S:g} s; look at its Redis, and at the log of {app}"
        return _Answer(unknown=f"{app} did not say {question.what} ({why})")


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
