"""Two durable agents, of which one tells the other, and both move between processes that live.

They are stopped in order, killed, and started again here or elsewhere; or their processes die, or their mailboxes
reject what does not fit. All the while wires lose
and repeat calls, answers of the journal are lost, and it has no room now and then. What a turn has told arrives once
and in its order: it is in an outbox, in a mailbox, or in the custody of a process that its receiver has left.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.runtime.address import ActorId
from regrow.runtime.errors import AskFailed
from regrow.runtime.journal_entries import partition_of
from regrow.runtime.mailbox import MailboxSettings, Overflow
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import FaultPlan, pass_time, run_virtual
from tests.simulation.durable_world import DurableWorld, JournalFaults
from tests.simulation.seeds import seeds

if TYPE_CHECKING:
    from tests.simulation.wires import Node

R = TypeVar("R")

SEEDS = seeds("moves", ())
MORE = range(10)
CLERK, OTHER = ActorId("desk/clerk"), ActorId("desk/other")
HOMES = "abc"
TURNS = 25
"""So many turns of the clerk tell something."""
GRACE_S = 20.0
AGAIN_S = 0.3
"""Until who heard that its message may be done asks again, under its id."""
CALM_S = 400.0
"""Then nothing goes wrong any more, for longer than all pauses between tries."""
DISTURBED = JournalFaults(lost_before=0.05, lost_after=0.05)
FAULTY = FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.05)


class Notes(BaseModel):
    got: list[int] = []


class Note(Message):
    n: int


class Send(Request[int]):
    """Sends so many notes to the other one."""

    first: int
    notes: int


class Seen(Request[tuple[int, ...]]):
    """The notes."""


class Clerk(DurableAgent[Notes]):
    @on
    async def send(self, request: Send, ctx: DurableContext) -> int:
        for n in range(request.first, request.first + request.notes):
            await ctx.tell(OTHER, Note(n=n))
        return request.notes

    @on
    async def note(self, message: Note) -> None:
        await pass_time(0.005)
        self.state.got.append(message.n)

    @on
    async def seen(self, request: Seen) -> tuple[int, ...]:
        return tuple(self.state.got)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What befalls the agents."""

    moves: bool = True
    """They end and go elsewhere; else their processes die."""
    killed: float = 0.0
    """Which share of the lives that end is killed."""
    mailbox: MailboxSettings | None = None
    """Of both, where it is not as always."""


STOPS, KILLS, DEATHS = Trouble(), Trouble(killed=0.3), Trouble(moves=False)
REJECTS = Trouble(killed=0.3, mailbox=MailboxSettings(capacity=3, overflow=Overflow.REJECT))


class Play:
    """One run: the world, where the agents are, and what befalls them until it is `over`."""

    def __init__(self, seed: int, trouble: Trouble) -> None:
        self.world = DurableWorld(seed, FAULTY)
        self.dice = random.Random(f"moves {seed}")
        self.trouble = trouble
        self.hosts: dict[str, Node] = {}
        self.homes = {CLERK: "a", OTHER: "b"}
        self.over = False

    async def begin(self) -> None:
        """Starts the processes and the agents."""
        for name in HOMES:
            self.hosts[name] = await self.world.host(name)
        for actor, name in self.homes.items():
            await self.world.start_durable(self.hosts[name], actor, Clerk, mailbox=self.trouble.mailbox)
        self.world.disturb(DISTURBED)

    async def tell(self, driver: Node) -> int:
        """Has the clerk tell notes, numbered from 0 on; gives how many."""
        told = 0
        for _ in range(TURNS):
            notes = self.dice.randint(1, 5)
            await surely(driver, CLERK, Send(first=told, notes=notes))
            told += notes
            await pass_time(self.dice.choice([0.0, 0.0, 0.05, 0.5]))
        await pass_time(3.0)
        return told

    async def befall(self) -> None:
        """Makes trouble until it is over."""
        troubles = [self.move(CLERK), self.move(OTHER)] if self.trouble.moves else [self.kill_processes()]
        await asyncio.gather(*troubles, self.fill())
        for mortal in self.world.mortals.values():
            mortal.full = 0

    async def move(self, actor: ActorId) -> None:
        """Ends an agent again and again; then it is started here or elsewhere, at once or later."""
        while not self.over:
            await pass_time(self.dice.uniform(0.0, 1.5))
            node = self.hosts[self.homes[actor]]
            grace_s = None if self.dice.random() < self.trouble.killed else GRACE_S
            if self.over or not await self.world.end(node, actor, grace_s=grace_s):
                continue
            if self.dice.random() < 0.7:
                self.world.leave(node, actor)
                self.homes[actor] = self.dice.choice(HOMES)
                await pass_time(self.dice.choice([0.0, 0.0, 0.01, 0.3, 2.5]))
            await self.world.begin(self.hosts[self.homes[actor]], actor)

    async def kill_processes(self) -> None:
        """Kills processes, whose agents are started elsewhere."""
        while not self.over:
            await pass_time(self.dice.uniform(0.5, 4.0))
            name = self.dice.choice(HOMES)
            self.world.kill(name)
            await pass_time(self.dice.choice([0.0, 0.5, 6.0]))
            self.hosts[name] = await self.world.host(name)
            self.world.disturb(DISTURBED)

    async def fill(self) -> None:
        """The journal takes no messages of one process or another for a few calls."""
        while not self.over:
            await pass_time(self.dice.uniform(0.0, 1.0))
            for mortal in self.world.mortals.values():
                if self.dice.random() < 0.3:
                    mortal.full = self.dice.randint(1, 6)


async def surely(driver: Node, actor: ActorId, request: Request[R]) -> R:
    """Asks until there is an answer, under one id."""
    command = driver.runtime.delivery.new_command()
    async with asyncio.timeout(600.0):
        while True:
            try:
                return await driver.ref(actor).ask(request, timeout_s=600.0, command_id=command)
            except AskFailed:
                await pass_time(AGAIN_S)


async def play(seed: int, trouble: Trouble) -> None:
    """Checks that the other one has seen all notes once and in order, that none is left and none is a dead letter."""
    run = Play(seed, trouble)
    await run.begin()
    driver = run.world.node("driver", listens=True)
    befalling = asyncio.create_task(run.befall())

    told = await run.tell(driver)
    run.over = True
    await befalling
    await pass_time(CALM_S)
    seen = await surely(driver, OTHER, Seen())
    left = await run.world.journal.outbox(partition_of(CLERK))
    dead = [message for node in run.world.living for _, message in node.dead if isinstance(message, Note)]
    await run.world.close()

    assert seen == tuple(range(told))
    assert (left, dead) == ((), [])


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("trouble", [STOPS, KILLS, DEATHS, REJECTS], ids=["stops", "kills", "deaths", "rejects"])
def test_what_a_turn_tells_arrives_once_and_in_order_though_both_agents_move_and_the_journal_is_full_now_and_then(
    trouble: Trouble, seed: int
) -> None:
    run_virtual(play(seed, trouble))


@pytest.mark.slow
@pytest.mark.again
@pytest.mark.parametrize("seed", MORE)
@pytest.mark.parametrize("trouble", [STOPS, KILLS, DEATHS, REJECTS], ids=["stops", "kills", "deaths", "rejects"])
def test_and_with_more_seeds(trouble: Trouble, seed: int) -> None:
    run_virtual(play(seed, trouble))
