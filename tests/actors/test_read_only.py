"""Handlers that only read: answered from memory, whatever else their agent waits for (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from regrow.actors import Agent, DurableAgent, DurableContext, InvalidAgent, on
from regrow.actors.durable_errors import StateReadOnly
from regrow.runtime.address import ActorId
from regrow.runtime.durability import PARK_AFTER_S
from regrow.runtime.errors import AskFailed, Misuse
from regrow.runtime.journal_entries import partition_of
from regrow.runtime.lifecycle import Crashed, Shutdown
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from regrow.runtime.turn import MAX_CONCURRENT_TURNS
from tests.actors.durable_stand import Host, Unreliable, memory_journal, on_virtual_time

CLERK = ActorId("desk/clerk")
COLLIDING = 2**20
"""Its multiples want the same place in a small set."""


class Noted(BaseModel):
    numbers: list[int] = []
    tags: set[int] = set()


class Note(Request[int]):
    number: int


class Slow(Message):
    """Changes the state, and then waits for the test."""

    number: int


class Tag(Request[None]):
    """Leaves a set that is in another order when it is read again."""


class Go(Message):
    """Asks the one who reads."""


class Numbers(Request[tuple[int, ...]]):
    """Only reads."""


class Threaded(Request[tuple[int, ...]]):
    """Only reads, in a thread."""


class Meddle(Request[int]):
    """Should only read, and does what its text says."""

    what: str


class Clerk(DurableAgent[Noted]):
    hang: asyncio.Event
    meddled: asyncio.Event
    runs = 0

    async def started(self, ctx: Any) -> None:
        self.hang, self.meddled = asyncio.Event(), asyncio.Event()

    @on
    async def tag(self, request: Tag) -> None:
        self.state.tags.update(range(COLLIDING, 8 * COLLIDING, COLLIDING))
        self.state.tags.add(0)  # its place is taken by then; the first of all, it would have it
        written = self.state.model_dump_json()
        assert Noted.model_validate_json(written).model_dump_json() != written

    @on
    async def note(self, message: Note) -> int:
        self.state.numbers.append(message.number)
        return len(self.state.numbers)

    @on
    async def slow(self, message: Slow) -> None:
        self.state.numbers.append(message.number)
        await self.hang.wait()

    @on(read_only=True)
    async def numbers(self, request: Numbers) -> tuple[int, ...]:
        self.runs += 1
        return tuple(self.state.numbers)

    @on(read_only=True)
    def threaded(self, request: Threaded) -> tuple[int, ...]:
        return tuple(self.state.numbers)

    @on(read_only=True)
    async def meddle(self, request: Meddle, ctx: DurableContext) -> int:
        match request.what:
            case "append":
                self.state.numbers.append(1)
            case "append and wait":
                self.state.numbers.append(1)
                await self.meddled.wait()
            case "set":
                self.state = Noted()
            case "crash":
                raise ValueError("as the test wants it")
            case "step":
                await ctx.step("one", len, "abc")
            case "tell":
                await ctx.tell("other", Slow(number=1))
            case "ask":
                return await ctx.ask("other", Note(number=1))
            case "remind":
                ctx.remind("later", Slow(number=1), after_s=1.0)
            case "wait":
                await ctx.wait_for(Slow, timeout_s=timedelta(days=1).total_seconds())
            case "now":
                await ctx.now()
            case _:
                ctx.random()
        return 0


async def clerk(journal: Any = None) -> Host:
    host = await Host.on(journal if journal is not None else memory_journal())
    assert await host.start(Clerk, CLERK) is None
    return host


def agent(host: Host) -> Clerk:
    behavior: Any = host.runtime.cells[CLERK].behavior
    found: Clerk = behavior._agent
    return found


@on_virtual_time
async def test_what_only_reads_is_answered_from_the_committed_state_while_a_turn_runs_and_others_wait() -> None:
    host = await clerk()
    await host.ref(CLERK).ask(Note(number=1))
    await host.ref(CLERK).tell(Slow(number=2))
    await host.ref(CLERK).tell(Slow(number=3))
    await pass_time(0.01)

    assert await host.ref(CLERK).ask(Numbers(), timeout_s=1) == (1,)
    assert await host.ref(CLERK).ask(Threaded(), timeout_s=1) == (1,)
    agent(host).hang.set()
    await pass_time(0.01)

    assert await host.ref(CLERK).ask(Numbers()) == (1, 2, 3)


@on_virtual_time
async def test_what_only_reads_is_answered_while_the_process_is_parked_and_others_wait() -> None:
    host = await clerk()
    await host.ref(CLERK).ask(Note(number=1))
    assert host.runtime.durability is not None
    host.runtime.durability.renewed(ago_s=PARK_AFTER_S)
    noting = asyncio.create_task(host.ref(CLERK).ask(Note(number=2), timeout_s=600))
    await pass_time(60)

    assert await host.ref(CLERK).ask(Numbers(), timeout_s=1) == (1,)
    assert not noting.done()
    host.runtime.durability.renewed(ago_s=0)
    assert await noting == 2
    assert await host.ref(CLERK).ask(Numbers(), timeout_s=1) == (1, 2)


@on_virtual_time
async def test_what_only_reads_is_answered_while_the_journal_does_not_answer() -> None:
    journal = Unreliable(memory_journal())
    host = await clerk(journal)
    await host.ref(CLERK).ask(Note(number=1))
    journal.cuts = {(name, number): "before" for name in ("enqueue", "commit") for number in range(1, 100)}
    noting = asyncio.create_task(host.ref(CLERK).ask(Note(number=2), timeout_s=600))
    await pass_time(5)

    assert await host.ref(CLERK).ask(Numbers(), timeout_s=1) == (1,)

    journal.cuts.clear()
    assert await noting == 2


@on_virtual_time
async def test_more_that_only_read_than_may_run_at_once_are_all_answered_while_the_journal_does_not_answer() -> None:
    journal = Unreliable(memory_journal())
    host = await clerk(journal)
    await host.ref(CLERK).ask(Note(number=1))
    journal.cuts = {(name, number): "before" for name in ("enqueue", "commit") for number in range(1, 1000)}
    noting = [asyncio.create_task(host.ref(CLERK).ask(Note(number=n), timeout_s=600)) for n in (2, 3)]
    await pass_time(5)

    reads = (host.ref(CLERK).ask(Numbers(), timeout_s=1) for _ in range(MAX_CONCURRENT_TURNS + 44))
    assert set(await asyncio.gather(*reads)) == {(1,)}

    journal.cuts.clear()
    assert await asyncio.gather(*noting) == [2, 3]


@on_virtual_time
async def test_what_only_reads_and_came_while_its_agent_started_does_not_wait_for_a_turn_that_waits() -> None:
    host = await clerk()
    await host.ref(CLERK).ask(Note(number=1))
    host.runtime.cells[CLERK].kill()
    host.ref(CLERK).tell_nowait(Slow(number=2))

    reads = [asyncio.create_task(host.ref(CLERK).ask(Numbers(), timeout_s=1)) for _ in range(3)]
    assert set(await asyncio.gather(*reads)) == {(1,)}


@on_virtual_time
async def test_nothing_of_what_only_reads_is_stored() -> None:
    journal = Unreliable(memory_journal())
    host = await clerk(journal)
    before = dict(journal.calls)

    await asyncio.gather(*(host.ref(CLERK).ask(Numbers()) for _ in range(10)))

    assert journal.calls == before
    assert await journal.mailboxes(partition_of(CLERK)) == ()


@on_virtual_time
async def test_what_only_reads_and_comes_while_its_agent_starts_is_answered_by_that_life_and_not_stored() -> None:
    journal = Unreliable(memory_journal())
    host = await clerk(journal)
    host.runtime.cells[CLERK].kill()
    stored = journal.calls.get("enqueue", 0)

    assert await host.ref(CLERK).ask(Numbers()) == ()

    assert journal.calls.get("enqueue", 0) == stored


@pytest.mark.parametrize("what", ["append", "set"])
def test_who_changes_the_state_in_a_handler_that_only_reads_is_told_so_and_nothing_is_changed(what: str) -> None:
    @on_virtual_time
    async def changes() -> None:
        host = await clerk()
        await host.ref(CLERK).ask(Note(number=7))

        with pytest.raises(AskFailed, match=r"StateReadOnly.*read_only=True") as failed:
            await host.ref(CLERK).ask(Meddle(what=what))

        assert isinstance(failed.value.reason, Crashed)
        assert failed.value.reason.type_name == StateReadOnly.__name__
        assert await host.ref(CLERK).ask(Numbers()) == (7,)

    changes()


@on_virtual_time
async def test_what_only_reads_is_not_blamed_for_the_order_of_a_set() -> None:
    host = await clerk()
    await host.ref(CLERK).ask(Note(number=7))
    await host.ref(CLERK).ask(Tag())

    assert [await host.ref(CLERK).ask(Numbers()) for _ in range(3)] == [(7,)] * 3
    assert host.ends == []


@on_virtual_time
async def test_what_only_reads_neither_sees_what_another_changes_beside_it_nor_is_blamed_for_it() -> None:
    host = await clerk()
    meddling = asyncio.create_task(host.ref(CLERK).ask(Meddle(what="append and wait")))
    await pass_time(0.01)

    assert await host.ref(CLERK).ask(Numbers()) == ()
    agent(host).meddled.set()

    with pytest.raises(AskFailed, match="StateReadOnly"):
        await meddling


@on_virtual_time
async def test_a_stop_cancels_a_handler_that_only_reads_though_it_has_changed_the_state() -> None:
    host = await clerk()
    host.restarts = 0
    meddling = asyncio.create_task(host.ref(CLERK).ask(Meddle(what="append and wait")))
    await pass_time(0.01)

    host.runtime.cells[CLERK].stop(Shutdown(), grace_s=5.0)

    with pytest.raises(AskFailed):
        await meddling
    assert host.ends == [(CLERK, Shutdown())]


@pytest.mark.parametrize("what", ["step", "tell", "ask", "remind", "wait", "now", "random"])
def test_what_would_have_to_be_stored_is_refused_at_the_call(what: str) -> None:
    @on_virtual_time
    async def meddles() -> None:
        host = await clerk()

        with pytest.raises(AskFailed, match=r"Misuse: desk/clerk .* @on\(read_only=True\), of which nothing is stored"):
            await host.ref(CLERK).ask(Meddle(what=what))

    meddles()


@on_virtual_time
async def test_an_ask_that_only_reads_is_handled_at_most_once_and_a_crash_on_it_is_no_attempt() -> None:
    host = await clerk()
    await host.ref(CLERK).tell(Slow(number=1))
    await pass_time(0.01)

    for _ in range(2 * Clerk.poison_after):
        with pytest.raises(AskFailed, match="at most once"):
            await host.ref(CLERK).ask(Meddle(what="crash"))
    await pass_time(0.01)
    agent(host).hang.set()
    await pass_time(0.01)

    assert len(host.ends) == 2 * Clerk.poison_after
    assert await host.quarantined(CLERK) == ()
    assert await host.ref(CLERK).ask(Numbers()) == (1,)


@on_virtual_time
async def test_an_agent_may_be_read_by_who_it_has_asked() -> None:
    class Reader(DurableAgent[Noted]):
        @on
        async def note(self, request: Note, ctx: DurableContext) -> int:
            numbers: tuple[int, ...] = await ctx.ask("clerk", Numbers())
            return len(numbers)

    class Asking(Clerk):
        @on
        async def go(self, message: Go, ctx: DurableContext) -> None:
            self.state.numbers.append(await ctx.ask("reader", Note(number=1)))

    host = await Host.on(memory_journal())
    assert await host.start(Asking, CLERK) is None
    assert await host.start(Reader, "desk/reader") is None
    await host.ref(CLERK).ask(Note(number=7))

    await host.ref(CLERK).tell(Go())
    await pass_time(0.1)

    assert await host.ref(CLERK).ask(Numbers()) == (7, 1)


def _plain() -> type:
    class Plain(Agent):
        @on(read_only=True)
        async def numbers(self, request: Numbers) -> tuple[int, ...]:
            return ()

    return Plain


def _both() -> type:
    class Both(DurableAgent[Noted]):
        @on(read_only=True, concurrent=True)
        async def numbers(self, request: Numbers) -> tuple[int, ...]:
            return ()

    return Both


def _telling() -> type:
    class Telling(DurableAgent[Noted]):
        @on(read_only=True)
        async def slow(self, message: Slow) -> None:
            pass

    return Telling


@pytest.mark.parametrize(
    ("define", "told"),
    [
        (_plain, r"Plain.numbers is @on\(read_only=True\), which is for a DurableAgent"),
        (_both, r"Both.numbers .* take concurrent=True away"),
        (_telling, r"Slow expects no reply, so that nothing would come of it"),
    ],
    ids=["plain", "concurrent", "tell"],
)
def test_where_reading_only_makes_no_sense_it_is_refused_at_the_definition(
    define: Callable[[], type], told: str
) -> None:
    with pytest.raises(InvalidAgent, match=told):
        define()


def test_the_error_of_a_changed_state_is_one_of_the_agents_author() -> None:
    assert issubclass(StateReadOnly, Misuse)
