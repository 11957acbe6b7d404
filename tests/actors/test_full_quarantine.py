"""A quarantine without room, and other words of the journal at which a turn can not end (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_errors import InQuarantine, NotRunAgain
from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.journal_entries import (
    CommandId,
    Commit,
    Hand,
    Incoming,
    JournalLimits,
    OperationId,
    Outcome,
    Writes,
    partition_of,
)
from regrow.runtime.lifecycle import Crashed, Killed
from regrow.runtime.memory_journal import MemoryJournal
from regrow.runtime.message import Message, Request
from regrow.runtime.starter import StartRequest, Suspicion
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time

CLERK = ActorId("desk/clerk")
COMMAND = "019ab2d4-6c00-7000-8000-000000000001"
LONG_S = 60.0
DELETE = Writes(delete=True)


class Noted(BaseModel):
    numbers: list[int] = []


class Note(Message):
    number: int


class Poison(Message):
    """Its agent crashes on it."""


class Meddled(Request[str]):
    """In its turn somebody else does something to its message."""


class World:
    """How often poison was handled, and what somebody else does in a turn."""

    def __init__(self) -> None:
        self.poisoned = 0
        self.meddle: Callable[[DurableContext], Awaitable[Any]] | None = None


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


class Clerk(DurableAgent[Noted]):
    @on
    async def note(self, message: Note) -> None:
        self.state.numbers.append(message.number)

    @on
    async def poison(self, message: Poison) -> None:
        world.poisoned += 1
        raise ValueError("poison")

    @on
    async def meddled(self, request: Meddled, ctx: DurableContext) -> str:
        self.state.numbers.append(0)
        meddle, world.meddle = world.meddle, None
        if meddle is not None:
            await meddle(ctx)
        return "from a turn"


async def desk(journal: MemoryJournal) -> Host:
    host = await Host.on(journal)
    assert await host.start(Clerk, CLERK) is None
    return host


async def full(journal: MemoryJournal) -> Host:
    """An agent whose quarantine has room for no more, with one poison message and a good one behind it."""
    host = await desk(journal)
    for message in (Poison(), Poison(), Note(number=1)):
        host.ref(CLERK).tell_nowait(message)
    await pass_time(LONG_S)
    return host


async def drop_first(journal: MemoryJournal) -> None:
    (row, *_) = await journal.quarantined(partition_of(CLERK))
    await journal.drop(row.agent, row.command, operation=OperationId("a person's"))
    await pass_time(LONG_S)


async def numbers(journal: MemoryJournal) -> list[int]:
    row = await journal.read(CLERK)
    return [] if row.state is None else Noted.model_validate_json(row.state).numbers


def one_place() -> MemoryJournal:
    return memory_journal(JournalLimits(quarantined=1))


# ---- a quarantine that is full -------------------------------------------------------------------


@on_virtual_time
async def test_a_message_for_which_the_quarantine_has_no_room_waits_until_a_person_drops_one() -> None:
    journal = one_place()
    host = await full(journal)

    assert [type(reason) for _, reason in host.ends] == [Crashed] * 5  # and not one more, for as long as it lasts
    assert (world.poisoned, await numbers(journal)) == (2 * Clerk.poison_after, [])
    await drop_first(journal)

    assert [type(reason) for _, reason in host.ends] == [Crashed] * 6
    assert (world.poisoned, await numbers(journal)) == (2 * Clerk.poison_after, [1])
    assert len(await host.quarantined(CLERK)) == 1


@on_virtual_time
async def test_a_full_quarantine_is_told_once_with_what_to_do() -> None:
    with capture_logs() as logs:
        await full(one_place())

    (told,) = [line for line in logs if "quarantine" in line["event"]]
    assert told["drop_with"].startswith("regrow quarantine drop desk/clerk@")
    assert (told["log_level"], told["agent"], told["limit"]) == ("error", CLERK, 1)


@on_virtual_time
async def test_a_life_that_ends_while_it_waits_for_room_leaves_a_message_that_is_not_run_again() -> None:
    journal = one_place()
    host = await full(journal)

    host.runtime.cells[CLERK].kill("by an operator")
    await pass_time(LONG_S)

    assert [type(reason) for _, reason in host.ends] == [Crashed] * 5 + [Killed]
    await drop_first(journal)
    assert (world.poisoned, await numbers(journal)) == (2 * Clerk.poison_after, [1])


@on_virtual_time
async def test_an_agent_whose_process_died_with_a_full_quarantine_starts_and_waits_with_that_message() -> None:
    journal = one_place()
    host = await full(journal)
    await host.runtime.aclose()
    assert host.runtime.durability is not None
    await journal.revoke(host.runtime.durability.host, reaped=True)
    later = await Host.on(journal, "later")
    later.classes[CLERK] = Clerk

    request = StartRequest(CLERK, Incarnation(100), Clerk, suspicion=Suspicion.ALONE)
    async with asyncio.timeout(1):
        assert await later.runtime.start(request) is None
    await drop_first(journal)

    assert (world.poisoned, await numbers(journal)) == (2 * Clerk.poison_after, [1])
    assert len(await later.quarantined(CLERK)) == 1


# ---- an end that is no other life's --------------------------------------------------------------


def hand(ctx: DurableContext) -> Hand:
    """As somebody has it who says that he is this life."""
    assert ctx.turn is not None
    return Hand(
        agent=CLERK,
        epoch=ctx.turn.epoch,
        version=ctx.turn.version,
        command=CommandId(COMMAND),
        operation=OperationId("somebody else's"),
    )


@on_virtual_time
async def test_a_turn_whose_message_has_another_outcome_ends_its_life_by_that_name_and_that_one_is_told() -> None:
    journal = memory_journal()
    host = await desk(journal)

    async def commit(ctx: DurableContext) -> None:
        assert host.runtime.durability is not None
        await journal.commit(Commit(hand=hand(ctx), outcome=Outcome.EXPIRED, result=b""))

    world.meddle = commit
    with pytest.raises(NotRunAgain, match="had passed before"):
        await host.ref(CLERK).ask(Meddled(), command_id=COMMAND)

    ((_, reason),) = host.ends
    assert isinstance(reason, Crashed)
    assert reason.type_name == "TurnOverruled"
    assert "has another outcome of it already" in reason.message
    assert await numbers(journal) == []


@on_virtual_time
async def test_so_does_one_whose_message_was_set_aside_in_its_middle() -> None:
    journal = memory_journal()
    host = await desk(journal)

    async def quarantine(ctx: DurableContext) -> None:
        await journal.quarantine(hand(ctx), b"somebody else's")

    world.meddle = quarantine
    with pytest.raises(InQuarantine):
        await host.ref(CLERK).ask(Meddled(), command_id=COMMAND)

    assert [getattr(reason, "type_name", reason) for _, reason in host.ends] == ["TurnOverruled"]
    assert await numbers(journal) == []


@on_virtual_time
async def test_so_does_one_whose_agent_was_deleted_in_its_middle() -> None:
    journal = memory_journal()
    host = await desk(journal)
    other = CommandId(COMMAND[:-1] + "2")

    async def delete(ctx: DurableContext) -> None:
        assert ctx.turn is not None
        await journal.enqueue([Incoming(agent=CLERK, command=other, body=b"")])
        theirs = replace(hand(ctx), command=other)
        ended = await journal.commit(Commit(hand=theirs, outcome=Outcome.COMMITTED, result=b"", writes=DELETE))
        ctx.turn.version = ended.version  # else the journal would speak of that first

    world.meddle, host.restarts = delete, 0
    host.ref(CLERK).tell_nowait(Meddled())
    await pass_time(1)

    ((_, reason),) = host.ends
    assert isinstance(reason, Crashed)
    assert reason.type_name == "TurnOverruled"
    assert "has the agent as deleted" in reason.message
