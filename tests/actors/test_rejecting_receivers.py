"""A durable agent that rejects what does not fit: who can do otherwise hears of it, and a turn that is over can not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.runtime.errors import MailboxFull
from regrow.runtime.mailbox import MailboxSettings, Overflow
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import on_virtual_time
from tests.simulation.durable_world import DurableWorld

if TYPE_CHECKING:
    from tests.simulation.wires import Node

CLERK, DESK = "desk/clerk", "desk/desk"
REJECTS = MailboxSettings(capacity=2, overflow=Overflow.REJECT)
TURNS = 12
LONG_S = 300.0
"""Longer than all pauses between tries."""


class Notes(BaseModel):
    got: list[int] = []


class Note(Message):
    n: int


class Send(Request[int]):
    first: int
    notes: int


class Seen(Request[tuple[int, ...]]):
    """The notes."""


class Clerk(DurableAgent[Notes]):
    @on
    async def send(self, request: Send, ctx: DurableContext) -> int:
        for n in range(request.first, request.first + request.notes):
            await ctx.tell(DESK, Note(n=n))
        return request.notes


class Desk(DurableAgent[Notes]):
    @on
    async def note(self, message: Note) -> None:
        await pass_time(0.003)
        self.state.got.append(message.n)

    @on(read_only=True)
    async def seen(self, request: Seen) -> tuple[int, ...]:
        return tuple(self.state.got)


async def two(where: str) -> tuple[DurableWorld, Node]:
    """A clerk, and in the same process or another one a desk that rejects."""
    world = DurableWorld()
    a, b = [await world.host(name) for name in "ab"]
    await world.start_durable(a, CLERK, Clerk)
    await world.start_durable(a if where == "here" else b, DESK, Desk, mailbox=REJECTS)
    return world, a


@pytest.mark.parametrize("between_s", [0.0, 0.001, 0.004, 1.0])
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_what_a_turn_tells_one_that_rejects_waits_in_the_outbox_and_arrives_once_and_in_order(
    where: str, between_s: float
) -> None:
    @on_virtual_time
    async def test() -> None:
        world, a = await two(where)

        for turn in range(TURNS):
            await a.ref(CLERK).ask(Send(first=3 * turn, notes=3))
            await pass_time(between_s)
        await pass_time(LONG_S)
        found = await a.ref(DESK).ask(Seen())
        reasons = [node.reasons() for node in world.living]
        await world.close()

        assert found == tuple(range(3 * TURNS))
        assert reasons == [{}, {}]

    test()


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_who_tells_it_from_outside_of_a_turn_hears_at_once_that_it_is_full(where: str) -> None:
    @on_virtual_time
    async def test() -> None:
        world, a = await two(where)
        began_s = asyncio.get_running_loop().time()

        told = await asyncio.gather(
            *(a.ref(DESK).tell(Note(n=n), send_timeout_s=LONG_S) for n in range(5)), return_exceptions=True
        )
        took_s = asyncio.get_running_loop().time() - began_s
        await pass_time(1.0)
        found = await a.ref(DESK).ask(Seen())
        await world.close()

        assert [type(refused) for refused in told if refused is not None] == [MailboxFull] * (5 - len(found))
        assert took_s < 1.0
        assert 2 <= len(found) < 5

    test()
