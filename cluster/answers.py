"""What a person answers to a turn that waits, and what is told of those that do. Runs where the app's classes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from regrow.actors.durable_body import packed, unpacked
from regrow.actors.durable_wait import AnswerAbout, answer_name, subject_of
from regrow.actors.tool_approval import APPROVAL_STEP, AskedApproval
from regrow.cluster.cli_ask import message_for, plain_value
from regrow.cluster.journal_desk import AnswerWait, ListSteps, ListWaits, OpenWait
from regrow.cluster.set_aside import agent_and_command, asked_at_desk, time_told
from regrow.runtime import Message, Misuse
from regrow.runtime.codec import FrameCodec
from regrow.runtime.command_ids import new_command_id
from regrow.runtime.immutable import wire_name
from regrow.runtime.journal_answers import AnswerVerdict
from regrow.runtime.journal_entries import born_ms
from regrow.runtime.message import registered

if TYPE_CHECKING:
    from regrow.cluster.app import Running


async def waits(running: Running, agent: str) -> dict[str, Any]:
    """The messages that wait for an answer, oldest first: of one agent, or all of the app where it is empty.

    Of one that waits for consent to the call of a tool, `call` tells the tool and its arguments.
    """
    found = await asked_at_desk(running, ListWaits(agent=agent))
    rows = [
        {
            "id": f"{row.agent}@{row.command}",
            "agent": row.agent,
            "command": row.command,
            "sent": time_told(born_ms(row.command)),  # type: ignore[arg-type] # the journal has it as such
            "for": answer_name(row.name),
            "until": time_told(row.deadline_ms) if row.deadline_ms is not None else None,
            "call": await _call_asked_for(running, row),
        }
        for row in found.rows
    ]
    return {"app": running.app.name, "waits": rows, "more": found.more}


async def approved(
    running: Running, id: str, fields: Mapping[str, Any] | None, words: Sequence[str], *, by: str = ""
) -> dict[str, Any]:
    """Answers what a message waits for with a message of its class made of these fields, or of these words.

    `by` is who answers, as the history will tell; the app itself where nobody is named. Raises Misuse where it waits
    for nothing, or these are no such fields.
    """
    wait = await _wait_of(running, id)
    name = answer_name(wait.name)
    cls = registered(name)
    if cls is None:
        raise Misuse(f"{id} waits for {name}, which this process does not know; run the app with the code that has it")
    answer = _about_this(id, wait, message_for(wait.agent, cls, fields, words))
    by = by or running.engine.runtime.origin.principal
    await _answer(running, id, wait, answer, by=by)
    return {"id": id, "type": name, "answer": plain_value(answer), "by": by}


async def answered(running: Running, id: str, answer: Message) -> None:
    """Gives a message the answer that it waits for. Raises Misuse where it waits for another, or for nothing."""
    wait = await _wait_of(running, id)
    if answer_name(wait.name) != wire_name(type(answer)):
        raise Misuse(f"{id} waits for {answer_name(wait.name)} and not for {wire_name(type(answer))}")
    await _answer(running, id, wait, _about_this(id, wait, answer), by=running.engine.runtime.origin.principal)


def _about_this(id: str, wait: OpenWait, answer: Message) -> Message:
    """The answer with what it is about. Raises Misuse where it is about something else."""
    if not isinstance(answer, AnswerAbout):
        return answer
    subject = subject_of(wait.name)
    if answer.about not in ("", subject):
        raise Misuse(f"{id} waits for an answer about {subject!r}, and this one is about {answer.about!r}")
    return answer.model_copy(update={"about": subject})


async def _call_asked_for(running: Running, wait: OpenWait) -> dict[str, str] | None:
    """The call of a tool to which consent is asked by this wait."""
    subject, runtime = subject_of(wait.name), running.engine.runtime
    if not subject:
        return None
    codec = FrameCodec(runtime.ref_to, runtime.loop.time)
    for step in await asked_at_desk(running, ListSteps(agent=wait.agent, command=wait.command)):
        asked = unpacked(codec, step.result) if step.name.startswith(APPROVAL_STEP) and step.result else None
        if isinstance(asked, AskedApproval) and asked.call == subject:
            why = {"why": asked.why} if asked.why else {}
            return {"tool": asked.tool, "arguments": asked.arguments, **why}
    return {"tool": subject.rpartition("/")[0], "arguments": "(too large to be shown)"}


async def _wait_of(running: Running, id: str) -> OpenWait:
    agent, command = agent_and_command(id)
    found = await asked_at_desk(running, ListWaits(agent=agent))
    wait = next((row for row in found.rows if row.command == command), None)
    if wait is None:
        raise _no_wait(running, id)
    return wait


async def _answer(running: Running, id: str, wait: OpenWait, answer: Message, *, by: str) -> None:
    runtime = running.engine.runtime
    body = packed(FrameCodec(runtime.ref_to, runtime.loop.time), answer, by=by)
    verdict = await asked_at_desk(running, AnswerWait(wait=wait, body=body, operation=new_command_id()))
    if verdict == AnswerVerdict.TOO_LARGE:
        raise Misuse(f"the answer to {id} has {len(body):,} bytes, more than a record may have; send less")
    if verdict != AnswerVerdict.RESUMED:
        raise _no_wait(running, id)


def _no_wait(running: Running, id: str) -> Misuse:
    return Misuse(f"{id} waits for nothing, or no longer; see what does with: regrow waits {running.app.name}")
