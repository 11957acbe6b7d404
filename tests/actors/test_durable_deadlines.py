"""The deadline of an ask that was accepted, when another process comes to it (SEMANTICS 4 and 6)."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_errors import InQuarantine, NotRunAgain
from regrow.runtime.address import ActorId
from regrow.runtime.errors import AskTimeout, Closed
from regrow.runtime.journal_answers import Ending
from regrow.runtime.journal_entries import CommandId, OperationId
from regrow.runtime.memory_journal import MemoryJournal
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import BEGUN_MS, Host, memory_journal, on_virtual_time

CLERK = ActorId("desk/clerk")
OTHER = ActorId("desk/other")
COMMAND = CommandId("019ab2d4-6c00-7000-8000-000000000001")
HOUR_S = 3_600.0


class Notes(BaseModel):
    done: list[str] = []


class Hang(Message):
    """Its turn never ends in this process."""


class Do(Request[str]):
    what: str


class Approval(Message):
    pass


class Done(Request[tuple[str, ...]]):
    pass


class World:
    def __init__(self) -> None:
        self.hangs = True
        self.fails = 0
        self.deadlines: list[float | None] = []


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


class Clerk(DurableAgent[Notes]):
    @on
    async def hang(self, message: Hang) -> None:
        if world.hangs:
            await asyncio.get_running_loop().create_future()

    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        if request.what == "fails" and world.fails:
            world.fails -= 1
            raise ValueError("as the test wants it")
        if request.what.startswith("waits"):
            await ctx.wait_for(Approval)
        world.deadlines.append(ctx.deadline)
        if request.what == "waits and asks":
            await ctx.ask(OTHER, Do(what="for another"))
        self.state.done.append(request.what)
        return request.what

    @on(read_only=True)
    async def done(self, request: Done) -> tuple[str, ...]:
        return tuple(self.state.done)


class Process:
    """A process with the agent, in front of a turn that hangs; and the next one."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal

    async def begin(self, *, hangs: bool = True) -> Host:
        self.host = host = await Host.on(self.journal)
        for id in (CLERK, OTHER):
            assert await host.start(Clerk, id) is None
        if hangs:
            await host.ref(CLERK).tell(Hang())
        return host

    async def is_followed(self, *, after_s: float) -> Host:
        """The process dies, and after a while another one has the agents."""
        durability = self.host.runtime.durability
        assert durability is not None
        await self.host.runtime.aclose()
        await self.journal.revoke(durability.host, reaped=True)
        world.hangs = False
        await pass_time(after_s)
        later = await Host.on(self.journal, "later")
        for id in (CLERK, OTHER):
            assert await later.start(Clerk, id) is None
        await pass_time(0.1)
        return later


async def asked(host: Host, what: str, *, timeout_s: float, command: CommandId = COMMAND) -> asyncio.Task[str]:
    asking = asyncio.create_task(host.ref(CLERK).ask(Do(what=what), timeout_s=timeout_s, command_id=command))
    asking.add_done_callback(lambda done: done.exception())  # looked at, also where the test is about others
    await pass_time(0.1)
    return asking


@on_virtual_time
async def test_an_ask_whose_deadline_has_passed_when_another_process_comes_to_it_is_recorded_as_expired() -> None:
    lives = Process(memory_journal())
    host = await lives.begin()
    late = await asked(host, "late", timeout_s=5)
    in_time = await asked(host, "in time", timeout_s=HOUR_S, command=CommandId(COMMAND[:-1] + "2"))

    later = await lives.is_followed(after_s=10)

    assert await later.ref(CLERK).ask(Done()) == ("in time",)
    endings = {turn.command: turn.ending for turn in await lives.journal.history(CLERK)}
    assert endings[COMMAND] is Ending.EXPIRED
    with pytest.raises(NotRunAgain, match="had passed before"):
        await later.ref(CLERK).ask(Do(what="late"), command_id=COMMAND)
    for asking in (late, in_time):
        with pytest.raises((AskTimeout, Closed)):
            await asking


@on_virtual_time
async def test_what_is_left_of_a_deadline_is_reckoned_by_the_clock_of_the_store() -> None:
    loop, jump_ms = asyncio.get_running_loop(), [0]
    lives = Process(MemoryJournal(now_ms=lambda: BEGUN_MS + int(loop.time() * 1000) + jump_ms[0]))
    host = await lives.begin()
    _ = await asked(host, "late", timeout_s=20)
    _ = await asked(host, "in time", timeout_s=40, command=CommandId(COMMAND[:-1] + "2"))

    jump_ms[0] = 20_000
    later = await lives.is_followed(after_s=5)

    assert await later.ref(CLERK).ask(Done()) == ("in time",)
    assert world.deadlines == [pytest.approx(15, abs=1)]


@on_virtual_time
async def test_a_message_that_waits_for_people_is_not_expired_by_the_deadline_of_its_asker() -> None:
    lives = Process(memory_journal())
    host = await lives.begin(hangs=False)
    _ = await asked(host, "waits", timeout_s=5)

    later = await lives.is_followed(after_s=HOUR_S)
    await later.ref(CLERK).tell(Approval())
    await pass_time(0.1)

    assert await later.ref(CLERK).ask(Done()) == ("waits",)
    assert world.deadlines == [None]


@on_virtual_time
async def test_nor_are_the_asks_that_it_makes_when_its_wait_is_over() -> None:
    lives = Process(memory_journal())
    host = await lives.begin(hangs=False)
    asking = await asked(host, "waits and asks", timeout_s=5)
    await pass_time(60)

    await host.ref(CLERK).tell(Approval())
    await pass_time(0.1)

    assert await host.ref(CLERK).ask(Done()) == ("waits and asks",)
    assert host.ends == []
    with pytest.raises(AskTimeout):
        await asking


@on_virtual_time
async def test_a_message_that_a_person_requeues_runs_though_its_deadline_has_passed() -> None:
    lives = Process(memory_journal())
    host = await lives.begin(hangs=False)
    world.fails = Clerk.poison_after
    with pytest.raises(InQuarantine):
        await host.ref(CLERK).ask(Do(what="fails"), timeout_s=5, command_id=COMMAND)
    await pass_time(60)

    await lives.journal.requeue(CLERK, COMMAND, operation=OperationId("a person's"))
    later = await lives.is_followed(after_s=10)

    assert await later.ref(CLERK).ask(Done()) == ("fails",)
