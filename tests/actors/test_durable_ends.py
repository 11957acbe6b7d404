"""Turns that a stop or a kill of their life cuts, at once or late: the next life has their messages (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

import pytest
from pydantic import BaseModel

from regrow.actors import Agent, DurableAgent, DurableContext, on
from regrow.actors.durable_errors import InQuarantine
from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.journal import Journal
from regrow.runtime.lifecycle import Shutdown
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.message import Message, Request
from regrow.runtime.starter import StartRequest
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, Unreliable, memory_journal, on_virtual_time

CLERK = "desk/clerk"
SENDER = "desk/sender"
COMMAND = "019ab2d4-6c00-7000-8000-000000000001"
TIDYING_S = 1.0
WORK_S = 3.0
HOW = ["tidies up", "goes on", "goes on at once"]


class Tally(BaseModel):
    total: int = 0


class Add(Request[int]):
    """Works for WORK_S; `how` says what it does when it is cancelled, or that it cancels itself."""

    n: int
    how: str = ""


class Total(Request[int]):
    pass


class All(Request[tuple[int, ...]]):
    pass


class Note(Message):
    """The same without a reply."""

    n: int
    how: str = ""


class Clerk(DurableAgent[Tally]):
    @on
    async def total(self, request: Total) -> int:
        return self.state.total

    @on
    async def note(self, note: Note) -> None:
        if note.how:
            await pass_time(WORK_S)
        self.state = Tally(total=self.state.total * 10 + note.n)

    @on
    async def add(self, request: Add, ctx: DurableContext) -> int:
        match request.how:
            case "tidies up":
                try:
                    await pass_time(WORK_S)
                finally:
                    await pass_time(TIDYING_S)
            case "goes on":
                await cut_or_done(WORK_S)
                await pass_time(TIDYING_S)
            case "goes on at once":
                await cut_or_done(WORK_S)
            case "is cancelled":
                raise asyncio.CancelledError
            case "stops itself and is cancelled":
                ctx.stop()
                raise asyncio.CancelledError
            case _:
                pass
        self.state = Tally(total=self.state.total + request.n)
        return self.state.total


async def cut_or_done(takes_s: float) -> None:
    with suppress(asyncio.CancelledError):
        await pass_time(takes_s)


async def desk(journal: Journal | None = None, name: str = "here") -> Host:
    host = await Host.on(journal if journal is not None else memory_journal(), name)
    assert await host.start(Clerk, CLERK) is None
    return host


@on_virtual_time
async def test_what_a_stop_cuts_comes_first_in_another_process_too() -> None:
    journal = memory_journal()
    host = await desk(journal)
    host.restarts = 0
    for n, how in ((1, "works"), (2, ""), (3, "")):
        await host.ref(CLERK).tell(Note(n=n, how=how))
    await pass_time(WORK_S / 3)

    host.runtime.cells[ActorId(CLERK)].stop(Shutdown(), 10.0)
    await pass_time(0.001)
    host.runtime.forget(ActorId(CLERK))
    there = await desk(journal, "there")

    assert await there.ref(CLERK).ask(Total()) == 123
    assert not host.runtime.dead_letters.counts


@pytest.mark.parametrize("how", HOW)
def test_a_turn_that_outlives_the_kill_of_its_life_does_not_end_the_next_one_and_counts_nothing(how: str) -> None:
    @on_virtual_time
    async def test() -> None:
        host = await desk()
        asking = asyncio.create_task(host.ref(CLERK).ask(Add(n=1, how=how)))
        await pass_time(WORK_S / 3)

        host.runtime.cells[ActorId(CLERK)].kill()

        assert await asking == 1
        assert await host.ref(CLERK).ask(Add(n=1)) == 2
        assert len(host.ends) == 1
        assert not host.runtime.dead_letters.counts

    test()


@pytest.mark.parametrize("how", HOW)
def test_a_turn_that_goes_on_when_it_is_stopped_is_done_once(how: str) -> None:
    @on_virtual_time
    async def test() -> None:
        host = await desk()
        asking = asyncio.create_task(host.ref(CLERK).ask(Add(n=1, how=how)))
        await pass_time(WORK_S / 3)

        host.runtime.cells[ActorId(CLERK)].stop(Shutdown(), 10.0)

        assert await asking == 1
        assert await host.ref(CLERK).ask(Add(n=1)) == 2
        assert host.ends == [(CLERK, Shutdown())]
        assert not host.runtime.dead_letters.counts

    test()


@pytest.mark.parametrize("how", ["is cancelled", "stops itself and is cancelled"])
def test_a_cancellation_that_a_handler_lets_escape_is_a_failed_attempt(how: str) -> None:
    @on_virtual_time
    async def test() -> None:
        host = await desk()

        with pytest.raises(InQuarantine, match="3 attempts failed"):
            await host.ref(CLERK).ask(Add(n=1, how=how))

        assert await host.ref(CLERK).ask(Add(n=1)) == 1
        assert len(await host.quarantined(CLERK)) == 1

    test()


# ---- what it has told ------------------------------------------------------------------------------


class Send(Request[int]):
    """Tells these numbers to an agent that is not durable."""

    numbers: tuple[int, ...]


class Sender(DurableAgent[Tally]):
    @on
    async def send(self, request: Send, ctx: DurableContext) -> int:
        for n in request.numbers:
            await ctx.tell("slow", Note(n=n))
        return len(request.numbers)


class Slow(Agent):
    """Takes a second for each, and no more than one may wait."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    @on
    async def note(self, note: Note) -> None:
        await pass_time(1.0)
        self.seen.append(note.n)

    @on
    async def all(self, request: All) -> tuple[int, ...]:
        return tuple(self.seen)


@pytest.mark.parametrize("end", ["kill", "stop", "forget"])
@pytest.mark.parametrize("after_s", [0.0, 0.001, 1.5])
def test_what_a_turn_tells_a_plain_agent_comes_once_and_in_order_though_its_life_ends(end: str, after_s: float) -> None:
    @on_virtual_time
    async def test() -> None:
        host = await Host.on(memory_journal())
        assert await host.start(Sender, SENDER) is None
        slow = StartRequest(
            actor=ActorId("desk/slow"), incarnation=Incarnation(1_000), target=Slow, mailbox=MailboxSettings(capacity=1)
        )
        assert await host.runtime.start(slow) is None

        for first in (0, 3, 6):
            await host.ref(SENDER).ask(Send(numbers=tuple(range(first, first + 3))))
            await pass_time(after_s)
            cell = host.runtime.cells[ActorId(SENDER)]
            cell.kill() if end == "kill" else cell.stop(Shutdown(), 10.0)
            if end == "forget":  # an operator stops it and starts it again
                host.restarts = 0
                host.runtime.forget(ActorId(SENDER))
                await cell.wait_ended()
                assert await host.start(Sender, SENDER) is None
        await pass_time(20.0)

        assert await host.ref("desk/slow").ask(All()) == tuple(range(9))

    test()


# ---- what arrives while the next life begins -----------------------------------------------------


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_message_that_comes_while_the_next_life_claims_its_agent_does_not_fence_that_life(cut: str) -> None:
    @on_virtual_time
    async def begins() -> None:
        journal = Unreliable(memory_journal())
        host = await Host.on(cast("Journal", journal))
        await host.start(Clerk, CLERK)
        await host.ref(CLERK).tell(Note(n=1))
        journal.cuts = {("claim", number): cut for number in range(2, 5)}

        host.runtime.cells[ActorId(CLERK)].stop(Shutdown(), TIDYING_S)
        await pass_time(0.001)
        await host.ref(CLERK).tell(Note(n=2))

        assert await host.ref(CLERK).ask(Total()) == 12
        assert host.ends == [(CLERK, Shutdown())]

    begins()


@on_virtual_time
async def test_a_stop_while_a_turn_waits_for_its_message_to_be_stored_leaves_that_to_the_next_life() -> None:
    journal = Unreliable(memory_journal())
    host = await Host.on(cast("Journal", journal))
    await host.start(Clerk, CLERK)
    journal.cuts = {("enqueue", number): "before" for number in range(1, 8)}
    adding = asyncio.create_task(host.ref(CLERK).ask(Add(n=1), command_id=COMMAND))  # named, so it does not run ahead
    await pass_time(0.001)

    host.runtime.cells[ActorId(CLERK)].stop(Shutdown(), TIDYING_S)

    assert await adding == 1
    assert host.ends == [(CLERK, Shutdown())]
