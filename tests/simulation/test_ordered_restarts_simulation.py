"""Durable siblings that ask each other are restarted in order, now and then, wherever their turns are by then.

Steps that must not be repeated are cut by none of these stops, so each is done once and nothing is set aside. Where a
process dies as well its steps may be repeated, and what is stored is still done once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, Step, on
from regrow.runtime.address import ActorId
from regrow.runtime.journal_entries import partition_of
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import CALM, FaultPlan, pass_time, run_virtual
from tests.simulation.durable_world import DurableWorld, JournalFaults
from tests.simulation.seeds import seeds

SEEDS = seeds("ordered restarts", range(6))
PAYER, CLERK, ARCHIVE = ActorId("desk/payer"), ActorId("desk/clerk"), ActorId("desk/archive")
AGENTS = (PAYER, CLERK, ARCHIVE)
PAYMENTS = 6
RESTARTS = 8
WORK_S = 0.3
GRACE_S = 20.0
FAULTY = FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.05)
CUTS = JournalFaults(lost_before=0.05, lost_after=0.05)


class Book(BaseModel):
    lines: tuple[int, ...] = ()


class Pay(Request[int]):
    number: int
    may_repeat: bool


class Write(Request[int]):
    number: int


class File(Message):
    number: int


class Read(Request[tuple[int, ...]]):
    pass


class World:
    """What was done outside, by the key of its step, and how often a step was cut."""

    done: Counter[str]
    cut: int


async def send_money(step: Step) -> str:
    try:
        await pass_time(WORK_S)
    except asyncio.CancelledError:
        World.cut += 1
        raise
    World.done[step.key] += 1
    return step.key


class Payer(DurableAgent[Book]):
    """Asks, takes steps side by side and in a task that it leaves alone for a while, and tells."""

    @on
    async def pay(self, request: Pay, ctx: DurableContext) -> int:
        repeats = request.may_repeat
        first = asyncio.create_task(ctx.step("first", send_money, idempotent=repeats))
        place = await ctx.ask(CLERK, Write(number=request.number), timeout_s=120.0)
        await first
        await asyncio.gather(
            ctx.step("half", send_money, idempotent=repeats), ctx.step("half", send_money, idempotent=repeats)
        )
        await ctx.tell(ARCHIVE, File(number=request.number))
        self.state.lines = (*self.state.lines, request.number)
        return place

    @on
    async def read(self, request: Read) -> tuple[int, ...]:
        return self.state.lines


class Clerk(DurableAgent[Book]):
    """Asks the archive in its turn, and writes."""

    @on
    async def write(self, request: Write, ctx: DurableContext) -> int:
        await pass_time(WORK_S)
        await ctx.ask(ARCHIVE, Read(), timeout_s=120.0)
        self.state.lines = (*self.state.lines, request.number)
        return len(self.state.lines)

    @on
    async def read(self, request: Read) -> tuple[int, ...]:
        return self.state.lines


class Archive(DurableAgent[Book]):
    @on
    async def file(self, message: File) -> None:
        await pass_time(WORK_S)
        self.state.lines = (*self.state.lines, message.number)

    @on
    async def read(self, request: Read) -> tuple[int, ...]:
        await pass_time(WORK_S / 3)
        return self.state.lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    ends: int
    has_died: bool
    done: Counter[str]
    cut: int


async def play(seed: int, *, plan: FaultPlan = CALM, lives: int | None = None) -> Played:
    """Payments one after the other, among restarts; checks that each is written, filed and counted once, in order."""
    World.done, World.cut = Counter(), 0
    world = DurableWorld(seed, plan)
    first, second, third = [await world.host(name) for name in ("first", "second", "third")]
    for node, actor, kind in ((first, PAYER, Payer), (second, CLERK, Clerk), (third, ARCHIVE, Archive)):
        await world.start_durable(node, actor, kind)
    mortal = world.mortals["first"]
    mortal.calls, mortal.lives = 0, lives
    if plan is not CALM:
        world.disturb(CUTS)
    driver = world.node("driver", listens=True)
    restarting = asyncio.create_task(restart_now_and_then(world))

    places = [
        await driver.ref(PAYER).ask(Pay(number=number, may_repeat=lives is not None), timeout_s=600)
        for number in range(PAYMENTS)
    ]
    await restarting
    await pass_time(10.0)
    books = [await driver.ref(actor).ask(Read(), timeout_s=120) for actor in AGENTS]
    quarantined = [await world.journal.quarantined(partition_of(actor)) for actor in AGENTS]
    played = Played(ends=len(world.ends), has_died=mortal.is_dead, done=World.done, cut=World.cut)
    await world.close()

    assert places == [number + 1 for number in range(PAYMENTS)]
    assert books == [tuple(range(PAYMENTS))] * 3
    assert quarantined == [()] * 3
    return played


async def restart_now_and_then(world: DurableWorld) -> None:
    """Some of them, in either order."""
    dice = world.wires.random
    for _ in range(RESTARTS):
        await pass_time(dice.uniform(0.0, 4 * WORK_S))
        actors = dice.sample(AGENTS, dice.randint(1, len(AGENTS)))
        await world.restart_in_order(actors, grace_s=GRACE_S)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [CALM, FAULTY], ids=["calm", "faulty"])
@pytest.mark.parametrize("seed", SEEDS)
def test_steps_that_must_not_be_repeated_are_done_once_whenever_their_agents_are_restarted_in_order(
    seed: int, plan: FaultPlan
) -> None:
    played = run_virtual(play(seed, plan=plan))

    assert played.cut == 0
    assert len(played.done) == 3 * PAYMENTS
    assert set(played.done.values()) == {1}
    assert played.ends >= RESTARTS


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_and_what_is_stored_is_done_once_where_a_process_dies_among_that(seed: int) -> None:
    played = run_virtual(play(seed, plan=FAULTY, lives=20 + 13 * (seed % 7)))

    assert played.has_died
    assert len(played.done) == 3 * PAYMENTS
