"""Durable agents that ask each other while they are stopped in order, one after the other (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pydantic import BaseModel

from regrow import Agent, App, DurableAgent, DurableContext, Message, Request, Running, Supervisor, child, on
from regrow.actors.durable_errors import InQuarantine
from regrow.runtime.errors import AskFailed
from regrow.runtime.ref import ActorRef
from regrow.runtime.stop_asks import LOOK_S, PATIENCE_S
from regrow.runtime.testing import pass_time
from regrow.supervisors.spec import StrategyName
from tests.supervisors.stage import virtual

WORK_S = 3.0
SOON_S = PATIENCE_S + 2 * LOOK_S
"""Until an ask of a turn that is being stopped has failed, and all have started again."""


class Book(BaseModel):
    lines: tuple[str, ...] = ()


class Write(Request[int]):
    """Takes WORK_S, and gives how many lines there are."""

    line: str


class Pay(Request[int]):
    """Has a line written; `how` says by which way."""

    line: str
    how: str


class Read(Request[tuple[str, ...]]):
    pass


class Fail(Message):
    pass


class Clerk(DurableAgent[Book]):
    @on
    async def write(self, request: Write) -> int:
        await pass_time(WORK_S)
        self.state.lines = (*self.state.lines, request.line)
        return len(self.state.lines)

    @on
    async def read(self, request: Read) -> tuple[str, ...]:
        return self.state.lines


class World:
    """Who is asked, how many runs of a turn there were, and when each began."""

    clerk: ActorRef
    began_s: list[float]


async def written(line: str) -> int:
    return await World.clerk.ask(Write(line=line), timeout_s=60.0)


async def written_or_not(line: str) -> int:
    try:
        return await written(line)
    except AskFailed:
        return -1


class Payer(DurableAgent[Book]):
    @on
    async def pay(self, request: Pay, ctx: DurableContext) -> int:
        World.began_s.append(asyncio.get_running_loop().time())
        match request.how:
            case "ask":
                number = await ctx.ask(World.clerk, Write(line=request.line), timeout_s=60.0)
            case "in a task":
                asking = asyncio.create_task(ctx.ask(World.clerk, Write(line=request.line), timeout_s=60.0))
                await pass_time(2 * WORK_S)
                number = await asking
            case "step that says so":
                number = await ctx.step("write", written_or_not, request.line)
            case "repeated step":
                number = await ctx.step("write", written, request.line, idempotent=True)
            case _:
                number = await ctx.step("write", written, request.line)
        self.state.lines = (*self.state.lines, request.line)
        return number

    @on
    async def read(self, request: Read) -> tuple[str, ...]:
        return self.state.lines


class Neighbour(Agent):
    @on
    async def fail(self, message: Fail) -> None:
        raise ValueError("as the test wants it")


async def fail_neighbour(running: Running) -> None:
    await running.ref(Neighbour).tell(Fail())


async def restart_room(running: Running) -> None:
    await running.restart("room")


async def restart_clerk(running: Running) -> None:
    await running.restart("room/clerk")


async def restart_payer(running: Running) -> None:
    await running.restart("room/payer")


ENDS = [
    pytest.param("one_for_all", fail_neighbour, id="one_for_all"),
    pytest.param("rest_for_one", fail_neighbour, id="rest_for_one"),
    pytest.param("one_for_one", restart_room, id="restart of their supervisor"),
    pytest.param("one_for_one", restart_clerk, id="restart of who is asked"),
    pytest.param("one_for_one", restart_payer, id="restart of who asks"),
]
ORDERS = [pytest.param((Payer, Clerk), id="the asked one first"), pytest.param((Clerk, Payer), id="the asker first")]

Order = tuple[type[DurableAgent[Book]], ...]
End = Callable[[Running], Awaitable[None]]


def desk(order: Order, strategy: StrategyName = "one_for_all") -> App:
    """Stopped is the last one first."""
    names: dict[type[DurableAgent[Book]], str] = {Payer: "payer", Clerk: "clerk"}
    children = [child(Neighbour, id="neighbour"), *(child(cls, id=names[cls]) for cls in order)]
    room = Supervisor(strategy=strategy, children=children)
    return App("desk", Supervisor(children=[child(room, id="room")]), journal="memory")


async def paying(running: Running, how: str) -> asyncio.Task[int]:
    """A payment that waits for the clerk, who is in the midst of its turn."""
    World.clerk, World.began_s = running.ref(Clerk), []
    asking = asyncio.create_task(running.ref(Payer).ask(Pay(line="rent", how=how), timeout_s=120.0))
    await pass_time(WORK_S / 2)
    return asking


@pytest.mark.parametrize("how", ["ask", "in a task"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("strategy", "end"), ENDS)
def test_an_ask_of_a_turn_is_answered_once_across_an_ordered_stop(
    strategy: StrategyName, end: End, order: Order, how: str
) -> None:
    @virtual
    async def test() -> None:
        async with desk(order, strategy).start(engine="inline") as running:
            asking = await paying(running, how)

            await end(running)

            assert await asking == 1
            assert await running.ref(Clerk).ask(Read()) == ("rent",)
            assert await running.ref(Payer).ask(Read()) == ("rent",)

    test()


@virtual
async def test_a_step_that_asks_who_was_stopped_before_it_does_not_hold_up_the_stop() -> None:
    async with desk((Payer, Clerk)).start(engine="inline") as running:
        asking = await paying(running, "step that says so")
        told_s = asyncio.get_running_loop().time()

        await fail_neighbour(running)

        assert await asking == -1  # what its step has said is recorded, and the next life has it
        assert len(World.began_s) == 2
        assert World.began_s[1] - told_s <= SOON_S
        assert await running.ref(Clerk).ask(Read()) == ("rent",)  # its message was stored, so it is done


@virtual
async def test_of_a_step_that_fails_for_it_a_person_has_to_say_whether_it_was_done() -> None:
    async with desk((Payer, Clerk)).start(engine="inline") as running:
        asking = await paying(running, "step")
        told_s = asyncio.get_running_loop().time()

        await fail_neighbour(running)

        with pytest.raises(InQuarantine, match="whether it was done is not known"):
            await asking
        assert World.began_s[1] - told_s <= SOON_S


@virtual
async def test_a_step_that_may_be_repeated_is_and_asks_anew() -> None:
    async with desk((Payer, Clerk)).start(engine="inline") as running:
        asking = await paying(running, "repeated step")

        await fail_neighbour(running)

        assert await asking == 2
        assert await running.ref(Clerk).ask(Read()) == ("rent", "rent")  # under ids of their own: ask by ctx.ask


@virtual
async def test_a_step_that_asks_who_is_stopped_behind_it_has_its_answer() -> None:
    async with desk((Clerk, Payer)).start(engine="inline") as running:
        asking = await paying(running, "step")

        await fail_neighbour(running)

        assert await asking == 1
        assert await running.ref(Clerk).ask(Read()) == ("rent",)


@pytest.mark.parametrize("order", ORDERS)
def test_a_stop_of_the_app_is_not_held_up_by_a_step_that_asks(order: Order) -> None:
    @virtual
    async def test() -> None:
        async with desk(order).start(engine="inline") as running:
            asking = await paying(running, "step that says so")
            told_s = asyncio.get_running_loop().time()
        took_s = asyncio.get_running_loop().time() - told_s

        assert took_s <= max(SOON_S, WORK_S / 2)
        assert asking.done()
        assert asking.exception() is not None

    test()
