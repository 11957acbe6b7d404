"""What it takes to wait for an answer over days and restarts: a turn that ends in its middle and is run again.

A wait is a record like a step, under the name of the class that answers it. The record is made by whoever answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from regrow.actors.durable_body import packed
from regrow.runtime.errors import Bug
from regrow.runtime.immutable import wire_name
from regrow.runtime.journal_answers import AnswerVerdict
from regrow.runtime.journal_entries import CommandId, Epoch, OperationId, StepKey, Writes, partition_of
from regrow.runtime.message import Message

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId
    from regrow.runtime.durability import Durability
    from regrow.runtime.journal_answers import Waiting

WAIT_MARK = "~wait:"
"""Before the name of the class; no step's name has a `~`."""
NO_ARGUMENTS = "-"
"""In place of a digest."""


class TurnParks(BaseException):
    """Unwinds a handler whose turn ends at a wait. Not an Exception, so that no handler takes it for a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parking:
    """What a turn has come to at its wait; what the handler does while it unwinds does not count."""

    wait: StepKey
    deadline_ms: int | None
    writes: Writes


def wait_name(answer: type[Message]) -> str:
    """The name of waits that this class answers."""
    return WAIT_MARK + wire_name(answer)


def answer_name(wait: str) -> str:
    """The wire name of the class that answers waits of this name."""
    return wait.removeprefix(WAIT_MARK)


def begun_with(state: bytes, schema: int) -> bytes:
    """The state that a turn began with, as it is kept while it waits."""
    return b"%d\0%b" % (schema, state)


def state_and_schema(begun: bytes) -> tuple[bytes, int]:
    """What `begun_with` kept."""
    schema, separator, state = begun.partition(b"\0")
    if not separator:
        raise Bug(f"the state that a turn began with has no schema: {begun[:80]!r}")
    return state, int(schema)


async def answer_oldest(
    durability: Durability, agent: ActorId, message: Message, *, command: CommandId, epoch: Epoch
) -> bool:
    """Gives this message to the oldest of the agent's waits for its class; False where there is none.

    Called again for the same `command`, after a life that ended in between, it answers no second one.
    """
    waits = await _waits_of(durability, agent, wait_name(type(message)))
    if not waits:
        return False
    oldest = min(waits, key=lambda each: each.command)
    answer = partial(
        durability.journal.answer,
        agent,
        oldest.command,
        oldest.wait,
        body=packed(durability.codec, message),
        operation=OperationId(command),
        epoch=epoch,
    )
    return (await durability.surely(answer)).verdict is AnswerVerdict.RESUMED


async def _waits_of(durability: Durability, agent: ActorId, name: str) -> list[Waiting]:
    """The open waits of an agent under this name."""
    found: list[Waiting] = []
    offset, partition = 0, partition_of(agent)
    while page := await durability.surely(partial(durability.journal.waiting, partition, offset=offset)):
        found += [wait for wait in page if wait.agent == agent and wait.wait.name == name]
        offset += len(page)
    return found
