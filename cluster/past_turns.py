"""The history of a durable agent, as a person is told it. Runs where the app's classes are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regrow.actors.durable import DurableAgent
from regrow.actors.turn_history import read_about
from regrow.cluster.errors import did_you_mean
from regrow.cluster.journal_desk import LIST_LIMIT, EndedTurn, ListTurns
from regrow.cluster.set_aside import asked_at_desk, kept_apart_told, time_told
from regrow.runtime import ActorId, Misuse
from regrow.runtime.journal_answers import Ending

if TYPE_CHECKING:
    from regrow.cluster.app import Running

DECISIONS = frozenset({Ending.REQUEUED, Ending.DROPPED})
"""What people did with a message; no turn was run for it, so no steps are told with it."""


async def turns_of(running: Running, agent: str, limit: int) -> dict[str, Any]:
    """The newest turns of an agent that have ended, newest last.

    Raises Misuse where there is no such agent, or it is not durable, or `limit` is none.
    """
    if not 1 <= limit <= LIST_LIMIT:
        raise Misuse(f"the limit is {limit}; ask for 1 to {LIST_LIMIT} turns")
    agents, target = running.app.agents, running.app.made_from(ActorId(agent))
    if target is not None and not (isinstance(target, type) and issubclass(target, DurableAgent)):
        raise Misuse(f"{agent} is not a durable agent, so no history of it is kept")
    found = await asked_at_desk(running, ListTurns(agent=agent, limit=limit))
    if target is None and not found.is_known:
        raise Misuse(
            f"{running.app.name} has no agent {agent!r} and its journal has never had it; "
            + did_you_mean(agent, list(agents), of="its agents are: ")
        )
    return {"agent": agent, "turns": [_told(agent, turn) for turn in found.turns], "more": found.more}


def _told(agent: str, turn: EndedTurn) -> dict[str, Any]:
    about = read_about(turn.about)
    by_person = turn.ending in DECISIONS
    steps = () if by_person else about.steps
    return {
        "id": f"{agent}@{turn.command}",
        "command": turn.command,
        "outcome": turn.ending,
        "began": None if turn.begun_ms is None else time_told(turn.begun_ms),
        "ended": time_told(turn.ended_ms),
        "incarnation": None if by_person else about.incarnation,
        "epoch": turn.epoch,
        "failed_before": turn.failed,
        **({"by": turn.by} if turn.by else {}),
        "sender": about.sender,
        "type": about.type_name or None,
        "fields": about.fields,
        "shortened": about.is_cut,
        "steps": [
            {
                "name": step.name,
                "number": step.number,
                "attempts": step.attempts,
                "state": step.state,
                **kept_apart_told(step.blob),
                **({"by": step.by, "answer": step.answer} if step.by else {}),
            }
            for step in steps
        ],
    }
