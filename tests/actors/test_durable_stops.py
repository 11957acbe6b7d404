"""A stop, a kill and a second run of a turn in the middle of what it does outside of its state (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest
from pydantic import BaseModel

from regrow.actors import Agent, DurableAgent, DurableContext, Step, on
from regrow.actors.durable_errors import InQuarantine
from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.lifecycle import Crashed, Killed, Shutdown
from regrow.runtime.mailbox import MailboxSettings, Overflow
from regrow.runtime.message import Message, Request
from regrow.runtime.ref import ActorRef
from regrow.runtime.starter import StartRequest
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time

BOSS = "desk/boss"
GRACE_S = 10.0
WORK_S = 3.0


class Tally(BaseModel):
    total: int = 0


class Work(Request[str]):
    """Do it in a step; `how` says in which."""

    how: str


class Approval(Message):
    pass


class Hello(Request[str]):
    pass


class World:
    """What was done outside."""

    def __init__(self) -> None:
        self.begun = 0
        self.done = 0
        self.cut = 0
        self.steps: list[Step] = []
        self.children: list[str] = []
        self.handed_out: list[str] = []
        self.go_on = threading.Event()
        self.has_begun = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


async def pay(step: Step) -> str:
    world.begun += 1
    world.steps.append(step)
    world.has_begun.set()
    try:
        await pass_time(WORK_S)
    except asyncio.CancelledError:
        world.cut += 1
        raise
    world.done += 1
    return f"paid {world.done}"


def pay_in_thread() -> str:
    world.begun += 1
    assert world.loop is not None
    world.loop.call_soon_threadsafe(world.has_begun.set)
    assert world.go_on.wait(10)
    world.done += 1
    return f"paid {world.done}"


async def leave() -> str:
    sys.exit(3)


def handed_out(*ids: str) -> None:
    world.handed_out += ids


class Helper(Agent):
    @on
    async def hello(self, request: Hello) -> str:
        return "here"


class Boss(DurableAgent[Tally]):
    @on
    async def work(self, request: Work, ctx: DurableContext) -> str:
        match request.how:
            case "once":
                return await ctx.step("pay", pay)
            case "again":
                return await ctx.step("pay", pay, idempotent=True)
            case "thread":
                return await ctx.step("pay", pay_in_thread)
            case "limited":
                try:
                    async with asyncio.timeout(WORK_S / 2):
                        return await ctx.step("pay", pay)
                except TimeoutError:
                    return "gave up"
            case _:
                try:
                    return await ctx.step("leave", leave)
                except SystemExit as error:
                    return f"left with {error.code}"


class Parent(DurableAgent[Tally]):
    """Spawns, and then waits or crashes."""

    @on
    async def work(self, request: Work, ctx: DurableContext) -> str:
        names: list[str | None] = [None, None] if request.how.startswith("numbered") else [request.how]
        children: list[ActorRef] = [await ctx.spawn(Helper, name) for name in names]
        world.children += [child.id for child in children]
        await ctx.step("hand out", handed_out, *[child.id for child in children])
        if request.how.endswith("crash") and len(world.children) == len(names):
            raise ValueError("as the test wants it")
        if not request.how.endswith("crash"):
            await ctx.wait_for(Approval)
        return " ".join([await ctx.ask(child, Hello()) for child in children])


async def desk(cls: type[DurableAgent[Any]] = Boss) -> Host:
    host = await Host.on(memory_journal())
    assert await host.start(cls, BOSS) is None
    return host


async def begun(host: Host, how: str) -> asyncio.Task[str]:
    """Asks, and waits until the step has begun."""
    asking = asyncio.create_task(host.ref(BOSS).ask(Work(how=how)))
    world.loop = asyncio.get_running_loop()
    await world.has_begun.wait()
    return asking


# ---- a stop and a step ---------------------------------------------------------------------------


@on_virtual_time
async def test_a_stop_waits_for_a_step_that_must_not_be_repeated_and_its_record_is_there() -> None:
    host = await desk()
    asking = await begun(host, "once")

    host.runtime.cells[ActorId(BOSS)].stop(Shutdown(), GRACE_S)

    assert await asking == "paid 1"  # from the record: the next life has not paid again
    assert (world.begun, world.done) == (1, 1)
    assert host.ends == [(BOSS, Shutdown())]


@on_virtual_time
async def test_so_does_it_where_the_step_runs_in_a_thread() -> None:
    host = await desk()
    asking = await begun(host, "thread")

    host.runtime.cells[ActorId(BOSS)].stop(Shutdown(), GRACE_S)
    for _ in range(10):
        await asyncio.sleep(0)
    assert host.ends == []
    world.go_on.set()

    assert await asking == "paid 1"
    assert world.begun == 1


@on_virtual_time
async def test_when_the_grace_is_over_the_step_is_cut_and_a_person_has_to_settle_it() -> None:
    host = await desk()
    asking = await begun(host, "once")

    host.runtime.cells[ActorId(BOSS)].stop(Shutdown(), WORK_S / 2)

    with pytest.raises(InQuarantine, match="not known"):
        await asking
    assert (world.begun, world.cut) == (1, 1)
    assert [type(reason) for _, reason in host.ends] == [Killed]


@on_virtual_time
async def test_a_stop_does_not_wait_for_a_step_that_may_be_repeated() -> None:
    host = await desk()
    asking = await begun(host, "again")

    host.runtime.cells[ActorId(BOSS)].stop(Shutdown(), GRACE_S)
    await pass_time(0.001)

    assert host.ends == [(BOSS, Shutdown())]
    assert await asking == "paid 1"
    assert (world.begun, world.cut) == (2, 1)


@on_virtual_time
async def test_a_step_has_one_key_in_all_lives_and_an_epoch_that_grows_so_that_a_late_one_can_be_refused() -> None:
    host = await desk()
    asking = await begun(host, "again")

    host.runtime.cells[ActorId(BOSS)].kill()
    await asking

    first, second = world.steps
    assert first.key == second.key
    assert first.epoch < second.epoch


@on_virtual_time
async def test_a_kill_waits_for_no_step() -> None:
    host = await desk()
    asking = await begun(host, "once")

    host.runtime.cells[ActorId(BOSS)].kill()
    await pass_time(0.001)

    assert world.cut == 1
    with pytest.raises(InQuarantine):
        await asking


@on_virtual_time
async def test_a_time_limit_of_its_handler_cuts_a_step() -> None:
    host = await desk()

    assert await host.ref(BOSS).ask(Work(how="limited")) == "gave up"

    assert (world.begun, world.cut, world.done) == (1, 1, 0)


@on_virtual_time
async def test_what_would_end_the_process_leaves_a_step_as_it_was_raised() -> None:
    host = await desk()

    assert await host.ref(BOSS).ask(Work(how="leave")) == "left with 3"


# ---- what a turn spawns --------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "number"), [("named", 1), ("numbered", 2)])
def test_a_turn_that_is_run_again_after_a_wait_finds_the_children_that_it_has_spawned(how: str, number: int) -> None:
    @on_virtual_time
    async def finds() -> None:
        host = await desk(Parent)
        asking = asyncio.create_task(host.ref(BOSS).ask(Work(how=how)))
        await pass_time(1.0)

        await host.ref(BOSS).tell(Approval())

        assert await asking == " ".join(["here"] * number)
        assert world.children[:number] == world.children[number:]
        assert len(set(world.children)) == number
        assert host.ends == []

    finds()


@on_virtual_time
async def test_the_next_life_spawns_anew_what_ended_with_the_one_before() -> None:
    host = await desk(Parent)

    assert await host.ref(BOSS).ask(Work(how="crash")) == "here"

    assert world.children == ["desk/boss/crash"] * 2
    assert [type(reason) for _, reason in host.ends] == [Crashed]


@on_virtual_time
async def test_a_child_without_a_name_has_the_same_id_in_each_run_so_that_steps_may_name_it() -> None:
    host = await desk(Parent)

    assert await host.ref(BOSS).ask(Work(how="numbered crash")) == "here here"

    assert world.children[:2] == world.children[2:] == world.handed_out
    assert len(set(world.children)) == 2
    assert [type(reason) for _, reason in host.ends] == [Crashed]


# ---- its mailbox ---------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
def test_a_durable_mailbox_that_would_drop_what_was_accepted_is_refused_at_the_start(overflow: Overflow) -> None:
    @on_virtual_time
    async def refused() -> None:
        host = await Host.on(memory_journal())
        request = StartRequest(
            actor=ActorId(BOSS), incarnation=Incarnation(1), target=Boss, mailbox=MailboxSettings(overflow=overflow)
        )

        failed = await host.runtime.start(request)

        assert isinstance(failed, Crashed)
        assert f"overflow='{overflow.value}', which would drop messages that were accepted" in failed.message

    refused()
