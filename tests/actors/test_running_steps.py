"""Steps that a handler has put in tasks of their own, or has not begun, when its agent is stopped (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_errors import InQuarantine
from regrow.runtime.address import ActorId
from regrow.runtime.errors import Misuse
from regrow.runtime.journal import Journal
from regrow.runtime.lifecycle import Crashed, Killed, Shutdown
from regrow.runtime.message import Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, Unreliable, memory_journal, on_virtual_time

BOSS = "desk/boss"
GRACE_S = 10.0
WORK_S = 3.0
"""How long a step takes."""
MANY = 2_000
"""More tries than a grace has room for, if each of them lets others run."""


class Tally(BaseModel):
    paid: tuple[str, ...] = ()


class Work(Request[str]):
    how: str


class World:
    """What was done outside."""

    def __init__(self) -> None:
        self.runs = 0
        self.begun: list[str] = []
        self.done: list[str] = []
        self.cut: list[str] = []
        self.tries = 0
        self.late: asyncio.Task[str] | None = None


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


async def pay(whom: str) -> str:
    world.begun.append(whom)
    try:
        await pass_time(WORK_S)
    except asyncio.CancelledError:
        world.cut.append(whom)
        raise
    world.done.append(whom)
    return f"paid {whom}"


class Boss(DurableAgent[Tally]):
    @on
    async def work(self, request: Work, ctx: DurableContext) -> str:
        world.runs += 1
        match request.how:
            case "left":
                paying = asyncio.create_task(ctx.step("pay", pay, "ada"))
                await pass_time(2 * WORK_S)
                return await paying
            case "gathered":
                return " ".join(await asyncio.gather(ctx.step("pay", pay, "ada"), ctx.step("pay", pay, "bob")))
            case "forgotten":
                self.paying = asyncio.create_task(ctx.step("pay", pay, "ada"))
                await pass_time(WORK_S / 2)
                return "done"
            case "failed":
                paying = asyncio.create_task(ctx.step("pay", pay, "ada"))
                await pass_time(WORK_S / 2)
                if world.runs == 1:
                    raise ValueError("as the test wants it")
                return await paying
            case "stubborn":
                try:
                    await pass_time(WORK_S)
                except asyncio.CancelledError:
                    await ctx.step("pay", pay, "bob")
                return await ctx.step("pay", pay, "ada")
            case "too late" | "done too late":
                world.late = asyncio.create_task(too_late(ctx, is_done=request.how == "done too late"))
                await pass_time(WORK_S / 3)
                return "done"
            case "swallows":
                while world.tries < MANY:
                    with suppress(asyncio.CancelledError):
                        world.tries += 1
                        await (pass_time(GRACE_S) if world.tries == 1 else ctx.step("pay", pay, "ada"))
                return "gave up"
            case _:
                return await ctx.step("pay", pay, "ada")


async def too_late(ctx: DurableContext, *, is_done: bool) -> str:
    if not is_done:
        await pass_time(WORK_S)
    return await ctx.step("pay", pay, "ada", idempotent=True)


async def desk(journal: object | None = None) -> Host:
    host = await Host.on(cast("Journal", journal) if journal is not None else memory_journal())
    assert await host.start(Boss, BOSS) is None
    return host


async def begun(host: Host, how: str) -> asyncio.Task[str]:
    """Asks, and lets the turn come to the middle of its first step."""
    asking = asyncio.create_task(host.ref(BOSS).ask(Work(how=how), timeout_s=60.0))
    await pass_time(WORK_S / 3)
    return asking


def stop(host: Host) -> None:
    host.runtime.cells[ActorId(BOSS)].stop(Shutdown(), GRACE_S)


# ---- in tasks of their own -----------------------------------------------------------------------


@on_virtual_time
async def test_a_stop_waits_for_a_step_in_a_task_that_its_handler_does_not_wait_for() -> None:
    host = await desk()
    asking = await begun(host, "left")

    stop(host)

    assert await asking == "paid ada"
    assert world.begun == world.done == ["ada"]
    assert world.runs == 2
    assert host.ends == [(BOSS, Shutdown())]


@on_virtual_time
async def test_a_stop_waits_for_all_steps_that_run_side_by_side() -> None:
    host = await desk()
    asking = await begun(host, "gathered")

    stop(host)

    assert await asking == "paid ada paid bob"
    assert sorted(world.begun) == sorted(world.done) == ["ada", "bob"]
    assert host.ends == [(BOSS, Shutdown())]


@on_virtual_time
async def test_a_turn_is_committed_when_a_step_has_ended_that_its_handler_has_left_behind() -> None:
    host = await desk()
    asking = await begun(host, "forgotten")

    await pass_time(WORK_S / 2)
    assert not asking.done()

    assert await asking == "done"
    assert world.done == ["ada"]
    assert host.ends == []


@on_virtual_time
async def test_a_turn_that_fails_has_failed_when_its_steps_have_ended_and_the_next_run_has_their_records() -> None:
    host = await desk()
    asking = await begun(host, "failed")

    assert await asking == "paid ada"
    assert world.begun == world.done == ["ada"]
    assert [type(reason) for _, reason in host.ends] == [Crashed]


@pytest.mark.parametrize("how", ["left", "gathered"])
def test_a_kill_cuts_steps_in_tasks_of_their_own_too(how: str) -> None:
    @on_virtual_time
    async def cuts() -> None:
        host = await desk()
        asking = await begun(host, how)

        host.runtime.cells[ActorId(BOSS)].kill()
        await pass_time(0.001)

        assert world.cut == world.begun
        with pytest.raises(InQuarantine):
            await asking

    cuts()


@on_virtual_time
async def test_so_does_the_end_of_the_grace() -> None:
    host = await desk()
    asking = await begun(host, "left")

    host.runtime.cells[ActorId(BOSS)].stop(Shutdown(), WORK_S / 3)
    await pass_time(WORK_S / 3 + 0.001)

    assert world.cut == ["ada"]
    assert [type(reason) for _, reason in host.ends] == [Killed]
    with pytest.raises(InQuarantine):
        await asking


# ---- not begun -----------------------------------------------------------------------------------


@on_virtual_time
async def test_a_step_of_which_nothing_was_sent_to_the_journal_is_not_waited_for_and_the_next_life_takes_it() -> None:
    journal = Unreliable(memory_journal())
    host = await desk(journal)
    journal.cuts = {("enqueue", number): "before" for number in range(1, 8)}  # until then its turn runs ahead
    asking = await begun(host, "once")
    assert world.runs == 1

    stop(host)
    await pass_time(0.001)

    assert host.ends == [(BOSS, Shutdown())]
    assert world.begun == []
    assert await asking == "paid ada"
    assert world.begun == ["ada"]


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_step_that_was_sent_is_waited_for_and_taken_also_where_its_beginning_is_heard_of_after_the_stop(
    cut: str,
) -> None:
    @on_virtual_time
    async def waited_for() -> None:
        journal = Unreliable(memory_journal())
        host = await desk(journal)
        journal.cuts = {("start_step", number): cut for number in range(1, 7)}
        asking = await begun(host, "once")
        assert (world.runs, world.begun) == (1, [])

        stop(host)

        assert await asking == "paid ada"
        assert world.begun == world.done == ["ada"]
        assert host.ends == [(BOSS, Shutdown())]

    waited_for()


@on_virtual_time
async def test_a_step_of_a_turn_that_is_being_stopped_does_not_begin() -> None:
    host = await desk()
    asking = await begun(host, "stubborn")

    stop(host)
    await pass_time(0.001)

    assert host.ends == [(BOSS, Shutdown())]
    assert await asking == "paid ada"
    assert world.begun == ["ada"]


@on_virtual_time
async def test_a_handler_that_goes_on_beginning_steps_in_a_stop_does_not_hold_its_process_and_is_killed() -> None:
    host = await desk()
    host.restarts = 0
    asking = await begun(host, "swallows")

    host.runtime.cells[ActorId(BOSS)].stop(Shutdown(), WORK_S / 3)
    await pass_time(WORK_S / 3 + 0.001)

    assert [type(reason) for _, reason in host.ends] == [Killed]
    assert world.begun == []
    asking.cancel()


# ---- too late ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "begun"), [("too late", []), ("done too late", ["ada"])])
def test_a_step_that_comes_when_its_turn_has_ended_is_told_so_and_ends_nobody(how: str, begun: list[str]) -> None:
    @on_virtual_time
    async def told() -> None:
        host = await desk()
        assert await host.ref(BOSS).ask(Work(how=how)) == "done"
        assert world.late is not None

        with pytest.raises(Misuse, match=r"step 'pay' \(number 1\) of desk/boss came when its turn had ended.*await"):
            await world.late

        assert world.begun == begun
        assert host.ends == []

    told()
