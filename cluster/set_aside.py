"""What a person wants done with messages in quarantine, and what is told of them. Runs where the app's classes are.

A message is named by whose it is and by its command: `desk/clerk@019ab2d4-6c00-7000-8000-000000000001`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from regrow.actors.durable_body import envelope_of, unpacked
from regrow.cluster.cli_ask import plain_value
from regrow.cluster.journal_desk import (
    DESK,
    KeptApart,
    ListSetAside,
    SetAsideMessage,
    Settle,
    ShowSetAside,
)
from regrow.runtime import ActorId, AskFailed, CodeNotImportable, ContactLost, Killed, Misuse, Request
from regrow.runtime.address import Address
from regrow.runtime.codec import FrameCodec, Undecodable
from regrow.runtime.command_ids import new_command_id
from regrow.runtime.immutable import wire_name
from regrow.runtime.journal_answers import Assume
from regrow.runtime.journal_entries import StepState, born_ms
from regrow.runtime.journal_errors import InvalidEntry
from regrow.runtime.lifecycle import NoProc

if TYPE_CHECKING:
    from regrow.cluster.app import Running
    from regrow.runtime.blobs import BlobRef

R = TypeVar("R")

ASK_TIMEOUT_S = 60.0
"""How long the journal is waited for; it is asked again by the desk meanwhile."""
ASK_AGAIN_S = 0.2
"""Between two tries to reach a desk whose process was killed."""


class Decision(StrEnum):
    """What is wanted of a message in quarantine."""

    SHOW = "show"
    REQUEUE = "requeue"
    DROP = "drop"


async def listed(running: Running, agent: str) -> dict[str, Any]:
    """The messages in quarantine: of one agent, or all of the app where it is empty."""
    found = await asked_at_desk(running, ListSetAside(agent=agent))
    rows = [
        {"id": f"{row.agent}@{row.command}", "agent": row.agent, "command": row.command, "since": time_told(row.at_ms)}
        for row in found.rows
    ]
    return {"app": running.app.name, "messages": rows, "more": found.more}


async def decided(
    running: Running, id: str, decision: Decision, assume: Assume | None, *, by: str = ""
) -> dict[str, Any]:
    """What a message is, or what became of it.

    `by` is who decides, as the history will tell; the app itself where nobody is named. Raises Misuse where it is not
    in quarantine.
    """
    agent, command = agent_and_command(id)
    by = by or running.engine.runtime.origin.principal
    settle = partial(Settle, agent=agent, command=command, operation=new_command_id(), by=by)
    match decision:
        case Decision.SHOW:
            found = await asked_at_desk(running, ShowSetAside(agent=agent, command=command))
            if found:
                return _shown(running, found[0])
        case Decision.REQUEUE:
            if await asked_at_desk(running, settle(assume=assume)):
                return {"id": id, "did": "requeue", "assume": assume.value if assume is not None else None, "by": by}
        case Decision.DROP:
            if await asked_at_desk(running, settle(drop=True)):
                return {"id": id, "did": "drop", "by": by}
    app = running.app.name
    raise Misuse(f"{id} is not in quarantine; see what is with: regrow quarantine list {app}")


def agent_and_command(id: str) -> tuple[ActorId, str]:
    """The two parts of a message's id. Raises Misuse for what is none."""
    agent, _, command = id.rpartition("@")
    try:
        born_ms(command)  # type: ignore[arg-type] # it looks whether it is one
        if agent:
            return ActorId(agent), command
    except InvalidEntry:
        pass
    raise Misuse(
        f"{id!r} names no message; write APP/AGENT@COMMAND, as `regrow quarantine list APP` and `regrow waits APP` "
        "print it"
    )


async def asked_at_desk(running: Running, request: Request[R]) -> R:
    """What the desk at the journal replies. Raises Misuse where the app keeps no journal.

    A desk that was killed with its process is asked again: what it does has an id, and is done once.
    """
    runtime = running.engine.runtime
    deadline = runtime.loop.time() + ASK_TIMEOUT_S
    while True:
        left_s = deadline - runtime.loop.time()
        try:
            return await runtime.ref_to(Address(DESK)).ask(request, timeout_s=max(left_s, ASK_AGAIN_S))
        except AskFailed as failed:
            if isinstance(failed.reason, NoProc):
                raise Misuse(
                    f"{running.app.name} has no durable agents, so it keeps no journal and has nothing set aside"
                ) from failed
            if not isinstance(failed.reason, Killed) or left_s <= ASK_AGAIN_S:
                raise
        except ContactLost:
            if left_s <= ASK_AGAIN_S:
                raise
        await asyncio.sleep(ASK_AGAIN_S)


def _shown(running: Running, found: SetAsideMessage) -> dict[str, Any]:
    runtime = running.engine.runtime
    codec = FrameCodec(runtime.ref_to, runtime.loop.time)
    steps = [
        {
            "name": step.name,
            "number": step.number,
            "state": step.state,
            "epoch": step.epoch,
            "result": _result(codec, step.result),
            **kept_apart_told(step.kept_apart),
        }
        for step in found.steps
    ]
    return {
        "id": f"{found.agent}@{found.command}",
        "agent": found.agent,
        "command": found.command,
        "since": time_told(found.at_ms),
        "reason": found.reason,
        "attempts": found.attempts,
        **_message(codec, found.body),
        "history": [{"epoch": attempt.epoch, "text": attempt.text} for attempt in found.history],
        "steps": steps,
        "open_steps": sum(step.state == StepState.STARTED for step in found.steps),
    }


def _message(codec: FrameCodec, body: bytes) -> dict[str, Any]:
    envelope = envelope_of(codec, body)
    message, sender = envelope.message, envelope.origin.sender
    told: dict[str, Any] = {"sender": sender.actor if sender is not None else None}
    if isinstance(message, Undecodable):
        return {**told, "type": message.type_name, "fields": None, "unreadable": message.reason}
    return {**told, "type": wire_name(type(message)), "fields": plain_value(message)}


def _result(codec: FrameCodec, result: bytes) -> Any:
    if not result:
        return None
    try:
        return plain_value(unpacked(codec, result))
    except CodeNotImportable as error:
        return f"({error})"


def kept_apart_told(kept: KeptApart | BlobRef | None) -> dict[str, Any]:
    """What is told in place of a result that is too large to be shown; nothing of any other."""
    return {} if kept is None else {"kept_apart": {"size_bytes": kept.size_bytes, "digest": kept.digest}}


def time_told(ms: int) -> str:
    """A time of the journal as text, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
