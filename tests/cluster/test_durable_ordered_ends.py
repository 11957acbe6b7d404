"""Durable agents that are stopped in mid-turn, by an order or because a sibling has crashed (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pydantic import BaseModel

from regrow import Agent, App, DurableAgent, Message, Request, Running, Supervisor, child, on
from regrow.runtime.testing import pass_time
from regrow.supervisors.spec import StrategyName
from tests.supervisors.stage import virtual

WORK_S = 3.0
LINES = ("first", "second", "third")


class Book(BaseModel):
    lines: list[str] = []


class Write(Message):
    """Takes WORK_S."""

    line: str


class Written(Request[int]):
    """Writes a line in WORK_S too, and gives how many there are."""

    line: str


class Read(Request[tuple[str, ...]]):
    pass


class Fail(Message):
    pass


class Clerk(DurableAgent[Book]):
    @on
    async def write(self, message: Write) -> None:
        await pass_time(WORK_S)
        self.state.lines.append(message.line)

    @on
    async def written(self, request: Written) -> int:
        await pass_time(WORK_S)
        self.state.lines.append(request.line)
        return len(self.state.lines)

    @on
    async def read(self, request: Read) -> tuple[str, ...]:
        return tuple(self.state.lines)


class Neighbour(Agent):
    @on
    async def fail(self, message: Fail) -> None:
        raise ValueError("as the test wants it")


def desk(strategy: StrategyName = "one_for_one") -> App:
    room = Supervisor(strategy=strategy, children=[child(Neighbour, id="neighbour"), child(Clerk, id="clerk")])
    return App("desk", Supervisor(children=[child(room, id="room")]), journal="memory")


async def restart(running: Running) -> None:
    await running.restart("room/clerk")


async def restart_supervisor(running: Running) -> None:
    await running.restart("room")


async def fail_neighbour(running: Running) -> None:
    await running.ref(Neighbour).tell(Fail())


ENDS = [
    pytest.param("one_for_one", restart, id="restart"),
    pytest.param("one_for_one", restart_supervisor, id="restart of its supervisor"),
    pytest.param("one_for_all", fail_neighbour, id="one_for_all"),
    pytest.param("rest_for_one", fail_neighbour, id="rest_for_one"),
]


@pytest.mark.parametrize(("strategy", "end"), ENDS)
def test_a_message_whose_turn_an_ordered_stop_cuts_comes_first_in_the_next_life(
    strategy: StrategyName, end: Callable[[Running], Awaitable[None]]
) -> None:
    @virtual
    async def test() -> None:
        async with desk(strategy).start(engine="inline") as running:
            for line in LINES:
                await running.ref(Clerk).tell(Write(line=line))
            await pass_time(WORK_S / 2)

            await end(running)

            assert await running.ref(Clerk).ask(Read()) == LINES

    test()


@pytest.mark.parametrize(("strategy", "end"), ENDS)
def test_an_ask_whose_turn_an_ordered_stop_cuts_is_answered_by_the_next_life(
    strategy: StrategyName, end: Callable[[Running], Awaitable[None]]
) -> None:
    @virtual
    async def test() -> None:
        async with desk(strategy).start(engine="inline") as running:
            asking = [asyncio.create_task(running.ref(Clerk).ask(Written(line=line))) for line in LINES]
            await pass_time(WORK_S / 2)

            await end(running)

            assert await asyncio.gather(*asking) == [1, 2, 3]
            assert await running.ref(Clerk).ask(Read()) == LINES

    test()
