"""What a durable agent asks while it is being stopped: what it hears, and what becomes of its own message."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_errors import InQuarantine
from regrow.runtime.address import ActorId, Address
from regrow.runtime.command_ids import uuid7
from regrow.runtime.errors import AskFailed, NotAwaited
from regrow.runtime.lifecycle import Crashed, NoProc, Shutdown
from regrow.runtime.message import Message, Request
from regrow.runtime.ref import ActorRef
from regrow.runtime.stop_asks import LOOK_S, PATIENCE_S
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import BEGUN_MS, on_virtual_time
from tests.simulation.durable_world import DurableWorld

PAYER, CLERK = "desk/payer", "desk/clerk"
GRACE_S = 20.0
SOON_S = PATIENCE_S + 2 * LOOK_S
COMMAND = uuid7(BEGUN_MS, 7)


class Book(BaseModel):
    lines: tuple[int, ...] = ()


class Write(Request[int]):
    """Takes until the stage lets the clerk go on."""

    line: int


class Pay(Request[str]):
    """Has a line written; `how` says by which way."""

    how: str


class Sign(Request[int]):
    """Waits for a person."""


class Approval(Message):
    pass


class Read(Request[tuple[int, ...]]):
    pass


class Stage:
    """Who is asked, what the payer has heard, how often it ran, and what holds up the clerk."""

    clerk: ActorRef
    go_on: asyncio.Event
    heard: list[AskFailed]
    runs: int


class Clerk(DurableAgent[Book]):
    @on
    async def write(self, request: Write) -> int:
        await Stage.go_on.wait()
        self.state.lines = (*self.state.lines, request.line)
        return len(self.state.lines)

    @on
    async def sign(self, request: Sign, ctx: DurableContext) -> int:
        await ctx.wait_for(Approval)
        self.state.lines = (*self.state.lines, 0)
        return len(self.state.lines)

    @on(read_only=True)
    async def read(self, request: Read) -> tuple[int, ...]:
        return self.state.lines


async def written(how: str) -> str:
    request: Request[int] = Sign() if how == "step that has signed" else Write(line=1)
    try:
        command = COMMAND if how == "step with an id" else None
        number: int = await Stage.clerk.ask(request, timeout_s=60.0, command_id=command)
    except AskFailed as failure:
        Stage.heard.append(failure)
        return "not known"
    return str(number)


class Payer(DurableAgent[Book]):
    @on
    async def pay(self, request: Pay, ctx: DurableContext) -> str:
        Stage.runs += 1
        if request.how.startswith("step"):
            return await ctx.step("write", written, request.how)
        asking = asyncio.ensure_future(ctx.ask(CLERK, Write(line=1), timeout_s=60.0))
        if request.how == "fails by itself":
            with suppress(asyncio.CancelledError):
                await asyncio.wait((asking,))
            raise ValueError("as the test wants it")
        try:
            return str(await asyncio.shield(asking))
        finally:
            await tidied(request.how, asking)


async def tidied(how: str, asking: asyncio.Future[int]) -> None:
    """What a handler does that does not like to be cut."""
    match how:
        case "awaits":
            await asking
        case "wraps":
            try:
                await asking
            except AskFailed as failure:
                raise ValueError("it could not be tidied up") from failure
        case "in a group":
            async with asyncio.TaskGroup() as group:
                group.create_task(_given(asking))
        case _ if not asking.done():
            raise ValueError("it could not be tidied up")
        case _:
            pass


async def _given(asking: asyncio.Future[int]) -> int:
    return await asking


async def stage(*, apart: bool) -> DurableWorld:
    Stage.go_on, Stage.heard, Stage.runs = asyncio.Event(), [], 0
    world = DurableWorld()
    world.restart_after_s = None
    a = await world.host("a")
    b = await world.host("b") if apart else a
    await world.start_durable(b, CLERK, Clerk)
    await world.start_durable(a, PAYER, Payer)
    Stage.clerk = a.runtime.ref_to(Address(ActorId(CLERK)))
    return world


async def asked(world: DurableWorld, how: str) -> asyncio.Task[str]:
    """The payer is asked, and comes to where it waits for the clerk."""
    asking = asyncio.create_task(world.nodes["a"].ref(PAYER).ask(Pay(how=how), timeout_s=1000.0))
    await pass_time(1.0)
    return asking


async def stopped(world: DurableWorld) -> None:
    """The payer is stopped, and what it asks fails for that."""
    world.nodes["a"].cell(PAYER).stop(Shutdown(), GRACE_S)
    await pass_time(SOON_S)


async def lines(world: DurableWorld) -> tuple[int, ...]:
    found: tuple[int, ...] = await world.nodes["a"].ref(CLERK).ask(Read())
    return found


# ---- what is said of the ask ---------------------------------------------------------------------


@on_virtual_time
async def test_an_ask_that_a_dead_process_had_is_not_said_to_be_unsent_and_its_reply_is_had_under_its_id() -> None:
    world = await stage(apart=True)
    asking = await asked(world, "step")
    world.kill("b")
    await pass_time(1.0)

    await stopped(world)
    Stage.go_on.set()
    for actor, kind in ((CLERK, Clerk), (PAYER, Payer)):
        await world.start_durable(world.nodes["a"], actor, kind)

    assert await asking == "not known"
    [failure] = Stage.heard
    said, _, command = str(failure).partition("ask then under the same command id, ")
    assert "it may have been done, or be done by the next life" in said
    assert await Stage.clerk.ask(Write(line=1), command_id=command) == 1
    assert await lines(world) == (1,)
    await world.close()


@on_virtual_time
async def test_so_it_is_with_one_whose_receiver_is_between_two_lives_in_a_process_that_lives() -> None:
    world = await stage(apart=True)
    asking = await asked(world, "step")
    world.nodes["b"].cell(CLERK).stop(Shutdown(), GRACE_S)

    await stopped(world)
    Stage.go_on.set()
    await world.start_durable(world.nodes["b"], CLERK, Clerk)
    await world.start_durable(world.nodes["a"], PAYER, Payer)

    assert await asking == "not known"
    [failure] = Stage.heard
    said, _, command = str(failure).partition("ask then under the same command id, ")
    assert "it may have been done, or be done by the next life" in said
    assert await Stage.clerk.ask(Write(line=1), command_id=command) == 1
    assert await lines(world) == (1,)
    await world.close()


@on_virtual_time
async def test_so_it_is_with_one_that_waits_for_a_person_and_whose_receiver_has_left_the_process() -> None:
    world = await stage(apart=False)
    a = world.nodes["a"]
    asking = await asked(world, "step that has signed")
    a.cell(CLERK).stop(Shutdown(), GRACE_S)
    await pass_time(0.1)
    world.truth.remove(ActorId(CLERK))
    world.truth.starts(ActorId(CLERK))  # its supervisor has it start elsewhere
    a.runtime.forget(ActorId(CLERK))
    await pass_time(0.1)

    await stopped(world)
    await world.start_durable(a, CLERK, Clerk)
    await a.ref(CLERK).tell(Approval())
    await world.start_durable(a, PAYER, Payer)

    assert await asking == "not known"
    [failure] = Stage.heard
    said, _, command = str(failure).partition("ask then under the same command id, ")
    assert "it may have been done, or be done by the next life" in said
    assert await Stage.clerk.ask(Sign(), command_id=command) == 1
    assert await lines(world) == (0,)
    await world.close()


@pytest.mark.parametrize("how", ["step", "step with an id"])
def test_an_ask_that_came_to_no_process_is_said_to_be_unsent_and_is_not_done(how: str) -> None:
    @on_virtual_time
    async def play() -> None:
        world = await stage(apart=True)
        world.kill("b")
        await pass_time(1.0)
        asking = await asked(world, how)

        await stopped(world)
        Stage.go_on.set()
        for actor, kind in ((CLERK, Clerk), (PAYER, Payer)):
            await world.start_durable(world.nodes["a"], actor, kind)

        assert await asking == "not known"
        [failure] = Stage.heard
        assert isinstance(failure, NotAwaited)
        assert failure.reason == NoProc()
        assert "it was not sent" in str(failure)
        assert await lines(world) == ()
        await world.close()

    play()


# ---- what becomes of its own message -------------------------------------------------------------


async def restarted(world: DurableWorld) -> None:
    """Both are stopped in order, and start again."""
    a = world.nodes["a"]
    for actor in (CLERK, PAYER):
        a.cell(actor).stop(Shutdown(), GRACE_S)
        await pass_time(0.1)
    await pass_time(SOON_S)
    for actor, kind in ((CLERK, Clerk), (PAYER, Payer)):
        await world.start_durable(a, actor, kind)
    await pass_time(0.1)


@pytest.mark.parametrize("how", ["awaits", "wraps", "in a group"])
def test_what_leaves_a_handler_since_its_ask_failed_for_a_stop_is_no_attempt_and_the_stop_is_an_ordered_end(
    how: str,
) -> None:
    @on_virtual_time
    async def play() -> None:
        world = await stage(apart=False)
        asking = await asked(world, how)

        for _ in range(Payer.poison_after + 1):
            await restarted(world)
        Stage.go_on.set()

        assert await asking == "1"
        assert [reason for actor, reason in world.ends if actor == PAYER] == [Shutdown()] * (Payer.poison_after + 1)
        assert await lines(world) == (1,)
        await world.close()

    play()


@on_virtual_time
async def test_a_handler_that_fails_as_a_stop_cancels_it_has_crashed_and_that_is_no_attempt() -> None:
    world = await stage(apart=False)
    asking = await asked(world, "can not be cut")

    for _ in range(Payer.poison_after + 1):
        await restarted(world)
    Stage.go_on.set()

    assert await asking == "1"
    assert {type(reason) for actor, reason in world.ends if actor == PAYER} == {Crashed}
    await world.close()


@on_virtual_time
async def test_one_that_goes_on_when_it_is_stopped_and_then_fails_by_itself_is_an_attempt() -> None:
    world = await stage(apart=False)
    asking = await asked(world, "fails by itself")

    for _ in range(Payer.poison_after):
        if not asking.done():
            await restarted(world)

    with pytest.raises(InQuarantine, match="ValueError: as the test wants it"):
        await asking
    await world.close()
