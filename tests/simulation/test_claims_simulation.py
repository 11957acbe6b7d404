"""A durable agent that moves between processes that live on, its starts cut anywhere, with late copies of its claims.

Nobody dies and each process keeps its lease. So wherever it is wanted next it starts soon: no process may hold it
that has no life of it.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, on
from regrow.runtime.address import ActorId
from regrow.runtime.durability import LEASE_TTL_MS
from regrow.runtime.lifecycle import Shutdown
from regrow.runtime.message import Request
from regrow.runtime.testing import pass_time, run_virtual
from tests.simulation.durable_world import LATE_S, LOOK_S, DurableWorld, JournalFaults
from tests.simulation.seeds import seeds

if TYPE_CHECKING:
    from tests.simulation.wires import Node

SEEDS = seeds("claims", range(10))
CLERK = ActorId("desk/clerk")
HOSTS = ("first", "second", "third")
MOVES = 12
CUT_S = 0.3
"""By then most starts are over that nobody cuts."""
STEPS = 8
"""So many rounds of the loop a start takes at most, where no answer is lost."""
SOON_S = 10.0
"""More than a few lost answers cost a start, and less than a search for the death of a process."""
GRACE_S = 5.0
FAULTY = JournalFaults(lost_before=0.15, lost_after=0.15, late=0.4)


class Book(BaseModel):
    lines: int = 0


class Write(Request[int]):
    pass


class Clerk(DurableAgent[Book]):
    @on
    async def write(self, request: Write) -> int:
        self.state.lines += 1
        return self.state.lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    cut: int
    """How many starts were."""
    copies: int


async def play(seed: int) -> Played:
    """The agent is started here and there, writes a line where its start is not cut, and is ended; then once more."""
    dice = random.Random(f"claims {seed}")
    world = DurableWorld(seed)
    nodes = [await world.host(name) for name in HOSTS]
    leases = [asyncio.create_task(keep_lease(node)) for node in nodes]
    await world.start_durable(nodes[0], CLERK, Clerk)
    await left(nodes[0], kills=False)
    world.disturb(FAULTY)
    written = cut = 0

    for _ in range(MOVES):
        node = dice.choice(nodes)
        starting = asyncio.create_task(world.attempt(node, CLERK))
        if dice.random() < 0.6:
            cut += 1
            await moment(dice)
        else:
            written = await write(node, starting, written)
        await left(node, kills=dice.random() < 0.5)
        await starting
        await pass_time(dice.choice((0.0, dice.uniform(0.0, LATE_S))))
    world.disturb(JournalFaults())
    node = dice.choice(nodes)
    await write(node, asyncio.create_task(world.attempt(node, CLERK)), written)

    for lease in leases:
        lease.cancel()
    copies = sum(each.copies for each in world.mortals.values())
    await world.close()
    return Played(cut=cut, copies=copies)


async def keep_lease(node: Node) -> None:
    assert node.runtime.durability is not None
    durability = node.runtime.durability
    while True:
        await durability.surely(lambda: durability.journal.renew(durability.host, ttl_ms=LEASE_TTL_MS))
        await pass_time(LEASE_TTL_MS / 4_000)


async def moment(dice: random.Random) -> None:
    """A few rounds of the loop, or some time."""
    if dice.random() < 0.3:
        await pass_time(dice.uniform(0.0, CUT_S))
    for _ in range(dice.randint(1, STEPS)):
        await asyncio.sleep(0)


async def write(node: Node, starting: asyncio.Task[object], written: int) -> int:
    """A line more than there were, by a life whose start nobody cuts."""
    failed = await asyncio.wait_for(starting, SOON_S)
    assert failed is None, failed
    assert await node.ref(CLERK).ask(Write(), timeout_s=60.0) == written + 1
    return written + 1


async def left(node: Node, *, kills: bool) -> None:
    """Ends the agent there, wherever its life is, and no further one of it comes to that process."""
    cell = node.runtime.cells.get(CLERK)
    if cell is None:
        return
    if cell.behavior is not None:
        if kills:
            cell.kill()
        else:
            cell.stop(Shutdown(), GRACE_S)
    while cell.behavior is not None:
        await pass_time(LOOK_S)
    node.runtime.forget(CLERK)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_agent_starts_soon_wherever_it_is_wanted_though_starts_are_cut_and_claims_come_late(seed: int) -> None:
    played = run_virtual(play(seed))

    assert played.cut > 0
    assert played.copies > 0
