"""Messages that kill their process, among hosts with neighbours and other deaths: what is poison, and what is not."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_attempts import PROCESS_DIED
from regrow.cluster.suspects import Suspects
from regrow.runtime import ActorId, Packed
from regrow.runtime.errors import AskFailed
from regrow.runtime.journal_entries import partition_of
from regrow.runtime.message import Message, Request
from regrow.runtime.starter import StartRequest, Suspicion
from regrow.runtime.testing import FaultPlan, pass_time, run_virtual
from tests.simulation.durable_world import DurableWorld
from tests.simulation.seeds import seeds

if TYPE_CHECKING:
    from regrow.runtime.journal_answers import Quarantined
    from tests.simulation.wires import Node

SEEDS = seeds("poison", range(8))
FAULTY = FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.05)
AGENTS = ("desk/a", "desk/b", "desk/c")
MESSAGES = 8
PATIENCE_S = 600.0


class Book(BaseModel):
    numbers: list[int] = []


class Entry(Message):
    number: int


class Deadly(Message):
    """Its process dies of it."""


class Numbers(Request[tuple[int, ...]]):
    pass


class DeadlyLook(Request[int]):
    """Only reads, and its process dies of it."""


class Clerk(DurableAgent[Book]):
    @on
    async def entry(self, message: Entry) -> None:
        await pass_time(0.02)  # so that neighbours are in a turn when somebody kills their process
        self.state.numbers.append(message.number)

    @on
    async def deadly(self, message: Deadly, ctx: DurableContext) -> None:
        here.deaths += 1
        here.kill(ctx.runtime.host.partition("#")[0])
        await asyncio.get_running_loop().create_future()

    @on
    async def numbers(self, request: Numbers) -> tuple[int, ...]:
        return tuple(self.state.numbers)


class Reader(Clerk):
    @on(read_only=True)
    async def deadly_look(self, request: DeadlyLook, ctx: DurableContext) -> int:
        await self.deadly(Deadly(), ctx)
        return 0


class PoisonWorld(DurableWorld):
    """A world whose guardian suspects, tells and isolates as the one on Ray does."""

    def __init__(self, seed: int, plan: FaultPlan | None) -> None:
        super().__init__(seed, *(() if plan is None else (plan,)))
        self.deaths = 0
        self.suspects = Suspects()
        self.pool: list[str] = []
        self._alone = itertools.count(1)

    async def pool_host(self, name: str) -> Node:
        """A process for several."""
        self.pool.append(name)
        return await self.host(name)

    def _host_died(self, node: Node) -> None:
        there = [actor for actor, (_, host) in self._begun.items() if host == node.host]
        self.suspects.host_died(there, shared=len(there) > 1)
        super()._host_died(node)

    def _request(self, actor: ActorId) -> StartRequest:
        suspicion = self.suspects.suspicion(actor)
        self.suspects.told(actor)
        return replace(super()._request(actor), suspicion=suspicion)

    def _restart(self, node: Node | None, actor: ActorId) -> None:
        if node is None:
            self._spawn(self._started_elsewhere(actor))
        else:
            super()._restart(node, actor)

    async def _started_elsewhere(self, actor: ActorId) -> None:
        if self.suspects.suspicion(actor) is not Suspicion.NONE and not self.suspects.runs_alone(actor):
            if await self.journal.depth(actor):
                self.suspects.isolate(actor, Packed("desk"), ())
        if self.suspects.runs_alone(actor):
            await self._start(await self.host(f"alone-{next(self._alone)}"), actor)
        else:
            homes = [self.nodes[name] for name in self.pool if name in self.nodes]
            await self._start(self.wires.random.choice(homes), actor)

    async def set_aside(self, actor: str) -> list[Quarantined]:
        """What is in quarantine of an agent."""
        rows = await self.journal.quarantined(partition_of(ActorId(actor)))
        found = [await self.journal.show_quarantined(row.agent, row.command) for row in rows if row.agent == actor]
        return [each for each in found if each is not None]


here: Any = None
"""The world that runs, for its agents to kill their process in."""


async def play(seed: int, plan: FaultPlan | None = None, *, together: bool = True, other_kill: bool = False) -> None:
    """One of three agents gets a message that kills its process; checks that it is set aside, and all else done."""
    global here
    world = here = PoisonWorld(seed, plan)
    nodes = [await world.pool_host(name) for name in ("first", "second", "third")]
    for place, actor in enumerate(AGENTS):
        await world.start_durable(nodes[0 if together else place], actor, Clerk)
    driver = world.node("driver", listens=True)

    await asyncio.gather(
        *(send(driver, actor, poison_at=MESSAGES // 2 if actor == AGENTS[0] else None) for actor in AGENTS),
        *([kill_later(world, "first")] if other_kill else []),
    )
    seen = {actor: await driver.ref(actor).ask(Numbers(), timeout_s=PATIENCE_S) for actor in AGENTS}
    aside = {actor: await world.set_aside(actor) for actor in AGENTS}
    await world.close()

    assert seen == {actor: tuple(range(MESSAGES)) for actor in AGENTS}
    assert [len(aside[actor]) for actor in AGENTS] == [1, 0, 0]
    (poison,) = aside[AGENTS[0]]
    assert poison.attempts == Clerk.poison_after
    assert {note.text.decode() for note in poison.notes} == {PROCESS_DIED}
    # Once with others, and then alone; another kill may make the first death one with others, or be an attempt itself.
    expected = {0, 1, -1} if other_kill else {int(together)}
    assert world.deaths - Clerk.poison_after in expected


async def send(driver: Node, actor: str, *, poison_at: int | None) -> None:
    """Tells an agent its messages in order, and among them the one that kills."""
    for number in range(MESSAGES):
        if number == poison_at:
            await driver.ref(actor).tell(Deadly(), send_timeout_s=PATIENCE_S)
        await driver.ref(actor).tell(Entry(number=number), send_timeout_s=PATIENCE_S)


async def kill_later(world: PoisonWorld, name: str) -> None:
    """Something else kills a process."""
    await pass_time(0.05)
    if name in world.nodes:
        world.kill(name)


@pytest.mark.parametrize("together", [True, False], ids=["neighbours", "alone"])
def test_a_message_that_kills_its_process_is_set_aside_and_no_message_of_its_neighbours_is(together: bool) -> None:
    run_virtual(play(1, together=together))


@pytest.mark.parametrize("where", ["elsewhere", "with who asks"])
def test_a_message_that_only_reads_and_kills_its_process_is_not_given_to_the_next_life(where: str) -> None:
    run_virtual(look(in_own_process=where == "with who asks"))


async def look(*, in_own_process: bool) -> None:
    """An ask that only reads kills the process in which another message has begun; the next life may be where it is."""
    global here
    world = here = PoisonWorld(1, None)
    first = await world.pool_host("first")
    driver = await world.host("driver") if in_own_process else world.node("driver", listens=True)
    await world.start_durable(first, AGENTS[0], Reader)
    for number in range(MESSAGES):
        driver.ref(AGENTS[0]).tell_nowait(Entry(number=number))
    world.pool += ["driver"] if in_own_process else []
    if not in_own_process:
        await world.pool_host("second")
    asking = asyncio.ensure_future(driver.ref(AGENTS[0]).ask(DeadlyLook(), timeout_s=5.0))

    with pytest.raises(AskFailed, match="may have run DeadlyLook in a process that died"):
        await asking
    numbers = await driver.ref(AGENTS[0]).ask(Numbers(), timeout_s=PATIENCE_S)
    aside = await world.set_aside(AGENTS[0])
    await world.close()

    assert world.deaths == 1
    assert (numbers, aside) == (tuple(range(MESSAGES)), [])


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nor_is_one_where_processes_die_of_something_else_and_wires_lose_calls(seed: int) -> None:
    run_virtual(play(seed, FAULTY, together=seed % 2 == 0, other_kill=True))
