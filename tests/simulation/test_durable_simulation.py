"""Durable agents in processes that die at every operation of their journal, over wires that lose and repeat calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, Step, on
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import FaultPlan, pass_time, run_virtual
from tests.simulation.durable_world import DurableWorld
from tests.simulation.seeds import seeds

if TYPE_CHECKING:
    from tests.simulation.wires import Node

SEEDS = seeds("durable", range(6))
ASKS = 6
CLIENTS = 2
LAST_OPERATION = 120
"""A host that holds both agents is through with all that is asked before it has made so many calls of the journal."""
DEATHS = 17
"""At so many operations of the journal, all before LAST_OPERATION, its host dies in the storms."""
FAULTY = FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.05)


class Book(BaseModel):
    lines: list[str] = []


class Write(Request[int]):
    """Writes a line, tells the archive, and gives how many there are."""

    line: str


class Filed(Message):
    line: str


class Read(Request[tuple[str, ...]]):
    """All lines, in order."""


effects: dict[str, int] = {}
"""What was done outside, by the key of the step that did it."""


async def effect(line: str, step: Step) -> str:
    effects[step.key] = effects.get(step.key, 0) + 1
    return line


class Clerk(DurableAgent[Book]):
    @on
    async def write(self, request: Write, ctx: DurableContext) -> int:
        self.state.lines.append(await ctx.step("file", effect, request.line, idempotent=True))
        await ctx.tell("desk/archive", Filed(line=request.line))
        return len(self.state.lines)

    @on
    async def read(self, request: Read) -> tuple[str, ...]:
        return tuple(self.state.lines)


class Archive(DurableAgent[Book]):
    @on
    async def filed(self, message: Filed) -> None:
        self.state.lines.append(message.line)

    @on
    async def read(self, request: Read) -> tuple[str, ...]:
        return tuple(self.state.lines)


async def play(seed: int, *, lives: int | None = None, before: bool = False, plan: FaultPlan | None = None) -> int:
    """Clients write lines through a clerk whose host dies; checks that each is there once. Gives the host's calls."""
    effects.clear()
    world = DurableWorld(seed, plan) if plan is not None else DurableWorld(seed)
    first = await world.host("first")
    await world.host("second")
    await world.host("third")
    mortal = world.mortals["first"]
    await world.start_durable(first, "desk/clerk", Clerk)
    await world.start_durable(first, "desk/archive", Archive)
    mortal.calls, mortal.lives, mortal.before = 0, lives, before
    driver = world.node("driver", listens=True)

    counts = await asyncio.gather(*(write(driver, client) for client in range(CLIENTS)))
    await pass_time(5.0)
    lines = await driver.ref("desk/clerk").ask(Read())
    filed = await driver.ref("desk/archive").ask(Read())
    calls = mortal.calls
    await world.close()

    written = {f"{client}.{number}" for client in range(CLIENTS) for number in range(ASKS)}
    assert sorted(lines) == sorted(written)
    assert filed == lines
    assert sorted(count for each in counts for count in each) == list(range(1, len(written) + 1))
    for client in range(CLIENTS):
        own = [line for line in lines if line.startswith(f"{client}.")]
        assert own == [f"{client}.{number}" for number in range(ASKS)]
    return calls


async def write(driver: Node, client: int) -> list[int]:
    """Writes one line after the other; gives what was answered."""
    clerk = driver.ref("desk/clerk")
    return [await clerk.ask(Write(line=f"{client}.{number}"), timeout_s=120) for number in range(ASKS)]


def test_nothing_is_lost_or_doubled_where_nothing_dies() -> None:
    assert run_virtual(play(0)) < LAST_OPERATION


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("lives", range(1, LAST_OPERATION))
def test_a_host_that_dies_at_any_operation_of_the_journal_loses_and_doubles_nothing(lives: int, before: bool) -> None:
    run_virtual(play(1, lives=lives, before=before))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nor_does_it_over_wires_that_lose_and_delay_calls(seed: int) -> None:
    run_virtual(play(seed, lives=5 + 7 * (seed % DEATHS), before=seed % 2 == 0, plan=FAULTY))
