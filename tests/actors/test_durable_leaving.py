"""A durable agent that takes nothing for good, or leaves its process: what was sent to it is kept by one of the two."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_errors import NotStored
from regrow.runtime.address import ActorId, HostId
from regrow.runtime.delivery import MAX_REROUTES, Directory
from regrow.runtime.errors import AskFailed
from regrow.runtime.journal_entries import JournalLimits
from regrow.runtime.journal_errors import JournalRefused, JournalRestored
from regrow.runtime.lifecycle import Shutdown
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, Unreliable, memory_journal, on_virtual_time
from tests.simulation.durable_world import DurableWorld

CLERK, OTHER = "desk/clerk", "desk/other"
GONE_BACK = JournalRestored("it has less than was seen in it")


class Notes(BaseModel):
    got: list[int] = []


class Note(Message):
    n: int


class Send(Request[int]):
    """Sends so many notes to the other one."""

    notes: int
    first: int = 0


class Add(Request[int]):
    n: int


class Seen(Request[tuple[int, ...]]):
    """The notes."""


class Clerk(DurableAgent[Notes]):
    @on
    async def send(self, request: Send, ctx: DurableContext) -> int:
        for n in range(request.first, request.first + request.notes):
            await ctx.tell(OTHER, Note(n=n))
        return request.notes

    @on
    async def note(self, message: Note) -> None:
        self.state.got.append(message.n)

    @on
    async def add(self, request: Add) -> int:
        await hangs.wait()
        self.state.got.append(request.n)
        return request.n

    @on(read_only=True)
    async def seen(self, request: Seen) -> tuple[int, ...]:
        return tuple(self.state.got)


hangs = asyncio.Event()


class Refusing(Unreliable):
    """Takes no messages for one agent while `refusal` is set."""

    refusal: JournalRefused | None = None

    def _cut(self, name: str, method: Any) -> Any:
        inner = super()._cut(name, method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.refusal is not None and name == "enqueue" and args[0][0].agent == OTHER:
                raise self.refusal
            return await inner(*args, **kwargs)

        return call


async def desk(limits: JournalLimits | None = None) -> tuple[Host, Refusing]:
    global hangs
    hangs = asyncio.Event()
    journal = Refusing(memory_journal(limits))
    host = await Host.on(cast("Any", journal))
    host.restarts = 0
    host.runtime.delivery.is_durable = lambda _: True
    for id in (CLERK, OTHER):
        assert await host.start(Clerk, id) is None
    return host, journal


async def leaves(host: Host, id: str) -> None:
    """An operator stops the agent, and nobody starts it again here."""
    await host.ref(id).stop()
    await pass_time(0.1)
    host.runtime.forget(ActorId(id))
    await pass_time(0.1)


async def seen(host: Host, id: str = OTHER) -> tuple[int, ...]:
    found: tuple[int, ...] = await host.ref(id).ask(Seen())
    return found


@on_virtual_time
async def test_what_a_store_refuses_for_good_stays_with_its_sender_and_arrives_in_order_when_it_is_mended() -> None:
    host, journal = await desk()
    journal.refusal = GONE_BACK
    await host.ref(CLERK).ask(Send(notes=3))
    with capture_logs() as logs:
        await pass_time(30.0)

    assert len([entry for entry in logs if entry["event"] == "messages are not accepted"]) == 1
    journal.refusal = None
    await host.ref(CLERK).ask(Send(notes=2))
    await pass_time(61.0)

    assert await seen(host) == (0, 1, 2, 0, 1)
    assert host.runtime.dead_letters.counts == {}
    assert host.ends == []


@on_virtual_time
async def test_who_tells_an_agent_whose_store_refuses_for_good_hears_why() -> None:
    host, journal = await desk()
    journal.refusal = GONE_BACK

    with pytest.raises(NotStored, match="desk/other has not taken Note: it has less than was seen in it"):
        await host.ref(OTHER).tell(Note(n=1))
    with pytest.raises(NotStored, match="it has less than was seen in it"):
        await host.ref(OTHER).ask(Add(n=1))


@on_virtual_time
async def test_an_ask_that_was_stored_by_a_cut_try_is_done_though_the_store_then_refuses_for_good() -> None:
    host, journal = await desk()
    journal.cuts = {("enqueue", 1): "after"}
    asking = asyncio.create_task(host.ref(OTHER).ask(Add(n=1), timeout_s=300))
    await pass_time(0.01)
    journal.refusal = GONE_BACK
    await pass_time(1.0)
    assert not asking.done()

    hangs.set()
    journal.refusal = None

    assert await asking == 1
    assert host.ends == []


@pytest.mark.parametrize("is_told", [False, True], ids=["ask", "tell"])
def test_what_was_stored_is_done_once_though_the_store_refuses_for_good_when_the_next_life_asks_for_it(
    is_told: bool,
) -> None:
    @on_virtual_time
    async def test() -> None:
        host, journal = await desk()
        host.restarts = 1
        told = host.ref(OTHER).tell(Add(n=1)) if is_told else host.ref(OTHER).ask(Add(n=1), timeout_s=3_000)
        sending = asyncio.ensure_future(told)
        await pass_time(1.0)
        journal.refusal = GONE_BACK
        host.runtime.cells[ActorId(OTHER)].kill("test")
        await pass_time(5.0)

        journal.refusal = None
        hangs.set()

        assert await sending == (None if is_told else 1)
        await pass_time(5.0)
        assert await seen(host) == (1,)
        assert host.runtime.dead_letters.counts == {}

    test()


@on_virtual_time
async def test_what_was_stored_is_no_dead_letter_when_its_agent_leaves_before_the_next_life_has_asked_for_it() -> None:
    host, journal = await desk()
    host.restarts = 1
    await host.ref(OTHER).tell(Add(n=1))
    await pass_time(1.0)
    calls = journal.calls["enqueue"]
    journal.cuts = {("enqueue", number): "before" for number in range(calls + 1, calls + 40)}
    host.runtime.cells[ActorId(OTHER)].kill("test")
    await pass_time(1.0)

    await leaves(host, OTHER)
    await pass_time(300.0)
    hangs.set()
    assert await host.start(Clerk, OTHER) is None
    await pass_time(1.0)

    assert await seen(host) == (1,)
    assert host.runtime.dead_letters.counts == {}


@on_virtual_time
async def test_what_was_on_its_way_to_an_agent_that_leaves_before_it_is_stored_is_sent_again_when_it_is_back() -> None:
    host, journal = await desk()
    journal.refusal = GONE_BACK
    await host.ref(CLERK).ask(Send(notes=3))
    await pass_time(1.0)
    await leaves(host, OTHER)
    journal.refusal = None

    assert await host.start(Clerk, OTHER) is None
    await pass_time(61.0)

    assert await seen(host) == (0, 1, 2)


@on_virtual_time
async def test_so_is_what_another_process_has_sent_and_was_not_told_as_taken() -> None:
    world = DurableWorld()
    world.restart_after_s = None
    a, b = [await world.host(name) for name in "ab"]
    await world.start_durable(a, CLERK, Clerk)
    await world.start_durable(b, OTHER, Clerk)
    world.mortals["b"].full = 1_000_000
    await a.ref(CLERK).ask(Send(notes=3))
    await pass_time(5.0)
    await b.ref(OTHER).stop()
    await pass_time(1.0)
    b.runtime.forget(ActorId(OTHER))
    world.truth.remove(ActorId(OTHER))
    world.mortals["b"].full = 0
    await pass_time(5.0)

    await world.start_durable(b, OTHER, Clerk)
    await pass_time(125.0)
    found = await a.ref(OTHER).ask(Seen())
    await world.close()

    assert found == (0, 1, 2)


@on_virtual_time
async def test_what_was_kept_for_an_agent_that_comes_back_and_leaves_again_before_it_is_stored_arrives() -> None:
    world = DurableWorld()
    world.restart_after_s = None
    a, b = [await world.host(name) for name in "ab"]
    await world.start_durable(a, CLERK, Clerk)
    await world.start_durable(b, OTHER, Clerk)
    world.mortals["b"].full = 1_000_000
    await a.ref(CLERK).ask(Send(notes=3))
    await pass_time(5.0)
    for _ in range(2):
        await b.ref(OTHER).stop()
        await pass_time(1.0)
        b.runtime.forget(ActorId(OTHER))
        world.truth.remove(ActorId(OTHER))
        world.mortals["b"].full = 0  # now it hears that its agent has left, and keeps what it has not stored
        await pass_time(60.0)
        world.mortals["b"].full = 1_000_000
        await world.start_durable(b, OTHER, Clerk)
        await pass_time(70.0)

    world.mortals["b"].full = 0
    await a.ref(CLERK).ask(Send(notes=2, first=3))
    await pass_time(125.0)
    found = await a.ref(OTHER).ask(Seen())
    await world.close()

    assert found == (0, 1, 2, 3, 4)


@on_virtual_time
async def test_an_ask_that_waits_for_an_agent_which_is_stopped_for_good_hears_that_it_is_kept_and_gets_its_reply() -> (
    None
):
    host, _ = await desk()
    asking = [asyncio.create_task(host.ref(OTHER).ask(Add(n=n), timeout_s=300)) for n in (1, 2)]
    await pass_time(0.1)

    await leaves(host, OTHER)
    failed = [ask.exception() for ask in asking]
    hangs.set()
    assert await host.start(Clerk, OTHER) is None
    await pass_time(0.1)

    assert await seen(host) == (1, 2)
    for error, n in zip(failed, (1, 2), strict=True):
        assert isinstance(error, AskFailed)
        kept, _, command = str(error).partition("ask then under the same command id, ")
        assert "its journal has it, and when the agent is started again it is done" in kept
        assert await host.ref(OTHER).ask(Add(n=n), command_id=command) == n
    assert await seen(host) == (1, 2)


@on_virtual_time
async def test_one_that_waits_for_room_in_its_mailbox_then_hears_that_it_is_not_there_and_is_not_done() -> None:
    host, _ = await desk(JournalLimits(mailbox=2))
    asking = [asyncio.create_task(host.ref(OTHER).ask(Add(n=n), timeout_s=300)) for n in range(9)]
    await pass_time(0.1)

    await leaves(host, OTHER)
    failed = [str(ask.exception()) for ask in asking]
    hangs.set()
    assert await host.start(Clerk, OTHER) is None
    await pass_time(0.1)

    told = {n: [said in text for said in ("has it", "may have it")] for n, text in enumerate(failed)}
    done = await seen(host)
    assert [n for n in told if told[n][0]] == [0, 1] == list(done[:2])
    assert all(any(told[n]) for n in done), told


@on_virtual_time
async def test_a_stop_while_the_first_message_is_still_being_stored_leaves_it_to_the_next_life() -> None:
    world = DurableWorld()
    a, b = [await world.host(name) for name in "ab"]
    await world.start_durable(a, CLERK, Clerk)
    await world.start_durable(b, OTHER, Clerk)
    world.mortals["b"].full = 1_000_000
    await a.ref(CLERK).ask(Send(notes=3))
    await pass_time(1.0)

    await b.ref(OTHER).stop()
    await pass_time(1.0)
    world.mortals["b"].full = 0
    await pass_time(10.0)
    found = await a.ref(OTHER).ask(Seen())
    ends = [str(type(reason).__name__) for _, reason in world.ends]
    await world.close()

    assert found == (0, 1, 2)
    assert ends == [Shutdown.__name__]


class Stale:
    """A directory that is wrong for a while: it names another process than the one which has the agent."""

    def __init__(self, right: Directory, wrong: HostId, *, answers: int) -> None:
        self._right = right
        self._wrong = wrong
        self._answers = answers
        self._is_known = False

    def host_of(self, actor: ActorId) -> HostId | None:
        if self._answers > 0 and actor == OTHER:
            return self._wrong if self._is_known else None
        return self._right.host_of(actor)

    async def locate(self, actor: ActorId) -> HostId | None:
        found = await self._right.locate(actor)
        if self._answers > 0 and actor == OTHER:
            self._answers -= 1
            self._is_known = True
            return self._wrong
        return found

    def forget(self, actor: ActorId) -> None:
        self._is_known = False
        self._right.forget(actor)

    def host_died(self, host: HostId) -> list[ActorId]:
        return self._right.host_died(host)


@pytest.mark.parametrize("between_s", [0.001, 0.003, 0.005, 0.008, 0.012])
def test_a_message_that_was_sent_after_an_agent_that_had_moved_is_overtaken_by_none(between_s: float) -> None:
    @on_virtual_time
    async def test() -> None:
        world = DurableWorld()
        a, b, c = [await world.host(name) for name in "abc"]
        await world.start_durable(a, CLERK, Clerk)
        await world.start_durable(c, OTHER, Clerk)
        a.runtime.delivery.directory = Stale(a.directory, b.host, answers=MAX_REROUTES + 1)

        for first in (0, 2, 4):
            await a.ref(CLERK).ask(Send(notes=2, first=first))
            await pass_time(between_s)
        await pass_time(10.0)
        found = await c.ref(OTHER).ask(Seen())
        await world.close()

        assert found == tuple(range(6))

    test()
