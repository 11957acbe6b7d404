"""A durable agent whose turns park, fire and are set aside, and which ends in every way at every point between.

Its process dies at any operation of its journal, and it is stopped in order or killed at any time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.runtime.address import ActorId
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.journal_answers import SettleVerdict
from regrow.runtime.journal_entries import OperationId, partition_of
from regrow.runtime.lifecycle import Shutdown
from regrow.runtime.message import Message, Request
from regrow.runtime.signals import NewMail
from regrow.runtime.testing import FaultPlan, pass_time, run_virtual
from tests.simulation.durable_world import DurableWorld
from tests.simulation.seeds import seeds
from tests.simulation.wires import Node

SEEDS = seeds("durable ends", range(6))
DESK = ActorId("desk/desk")
REMIND_S = 3.0
WORK_S = 0.3
"""How long each turn takes, so that ends come into its middle."""
LAST_OPERATION = 90
"""A host that holds the agent all the time makes fewer calls of the journal."""
ENDS = 6
"""So often the agent is stopped or killed in the storms."""
FAULTY = FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.05)


class Book(BaseModel):
    lines: list[str] = []


class Approval(Message):
    pass


class Pay(Request[int]):
    """Waits for an approval."""


class Set(Request[bool]):
    """Sets a reminder."""


class Ring(Message):
    pass


class Spoil(Message):
    """Its handler crashes until somebody has mended it."""


class Read(Request[tuple[str, ...]]):
    pass


class World:
    is_mended = False


class Desk(DurableAgent[Book]):
    @on
    async def pay(self, request: Pay, ctx: DurableContext) -> int:
        await pass_time(WORK_S)
        self.state.lines.append("asked")
        await ctx.wait_for(Approval)
        await pass_time(WORK_S)
        self.state.lines.append("paid")
        return len(self.state.lines)

    @on
    async def set(self, request: Set, ctx: DurableContext) -> bool:
        ctx.remind("later", Ring(), after_s=REMIND_S)
        await pass_time(WORK_S)
        self.state.lines.append("set")
        return True

    @on
    async def ring(self, ring: Ring) -> None:
        await pass_time(WORK_S)
        self.state.lines.append("rang")

    @on
    async def spoil(self, message: Spoil) -> None:
        await pass_time(WORK_S)
        if not World.is_mended:
            raise ValueError("as the test wants it")
        self.state.lines.append("mended")

    @on
    async def read(self, request: Read) -> tuple[str, ...]:
        return tuple(self.state.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    calls: int
    has_died: bool
    ends: int


async def play(
    seed: int, *, lives: int | None = None, before: bool = False, ends: int = 0, plan: FaultPlan | None = None
) -> Played:
    """One message waits, one is set aside and put back, and a reminder comes; checks that each is done once."""
    World.is_mended = False
    world = DurableWorld(seed, plan) if plan is not None else DurableWorld(seed)
    first = await world.host("first")
    await world.host("second")
    await world.host("third")
    mortal = world.mortals["first"]
    await world.start_durable(first, DESK, Desk)
    mortal.calls, mortal.lives, mortal.before = 0, lives, before
    driver = world.node("driver", listens=True)
    ending = asyncio.create_task(end_now_and_then(world, ends))
    desk = driver.ref(DESK)

    await desk.ask(Set(), timeout_s=120)
    paying = asyncio.create_task(desk.ask(Pay(), timeout_s=300))
    await asyncio.sleep(0)
    await desk.tell(Spoil(), send_timeout_s=120)
    await put_back(world, driver)
    await desk.tell(Approval(), send_timeout_s=120)
    await paying
    await ending
    await pass_time(2 * REMIND_S)
    lines = await desk.ask(Read(), timeout_s=120)
    quarantined = await world.journal.quarantined(partition_of(DESK))
    played = Played(calls=mortal.calls, has_died=mortal.is_dead, ends=len(world.ends))
    await world.close()

    assert sorted(lines) == ["asked", "mended", "paid", "rang", "set"]
    assert quarantined == ()
    return played


async def put_back(world: DurableWorld, driver: Node) -> None:
    """Waits until the message that crashes is set aside, mends it and requeues it, as a person does."""
    async with asyncio.timeout(60.0):
        while not (rows := await world.journal.quarantined(partition_of(DESK))):
            await pass_time(0.1)
    World.is_mended = True
    [row] = rows
    settled = await world.journal.requeue(DESK, row.command, operation=OperationId("put back"))
    assert settled is SettleVerdict.SETTLED
    driver.runtime.delivery.send(Envelope(Kind.SIGNAL, DESK, NewMail(), driver.runtime.origin))


async def end_now_and_then(world: DurableWorld, times: int) -> None:
    """Stops the agent in order, or kills it, wherever it is by then."""
    for _ in range(times):
        await pass_time(world.wires.random.uniform(0.0, 2 * REMIND_S / ENDS))
        for node in world.living:
            cell = node.runtime.cells.get(DESK)
            if cell is None or cell.behavior is None:
                continue
            if world.wires.random.random() < 0.5:
                cell.stop(Shutdown(), 10.0)
            else:
                cell.kill()


def test_where_nothing_dies_all_is_done_within_so_many_operations() -> None:
    assert 20 < run_virtual(play(0)).calls < LAST_OPERATION


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("lives", range(1, LAST_OPERATION))
def test_what_waits_is_set_aside_or_due_is_done_once_at_whatever_operation_its_host_dies(
    lives: int, before: bool
) -> None:
    played = run_virtual(play(1, lives=lives, before=before))

    assert played.has_died or played.calls < lives


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_so_is_it_where_the_agent_is_stopped_and_killed_now_and_then(seed: int) -> None:
    assert run_virtual(play(seed, ends=ENDS)).ends > ENDS // 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_and_where_its_host_dies_among_that_over_wires_that_lose_calls(seed: int) -> None:
    played = run_virtual(play(seed, lives=5 + 7 * (seed % 9), before=seed % 2 == 0, ends=ENDS, plan=FAULTY))

    assert played.ends
