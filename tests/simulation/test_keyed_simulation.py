"""Agents with keys that start and end again and again under the messages to them, in hosts that die, over bad wires."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, keyed, on
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import CALM, FaultPlan, pass_time, run_virtual
from regrow.supervisors import Supervisor
from tests.simulation.keyed_world import KeyedWorld
from tests.simulation.seeds import seeds
from tests.simulation.wires import Node

SEEDS = seeds("keyed", range(5))
STORMS = seeds("keyed storms", range(4))
KEYS = ("ada", "bob", "eve")
CLIENTS = 3
ROUNDS = 24
IDLE_S = 0.04
"""About what a message and its answer take, so that ends and messages meet."""
LIVES = 10
"""More than that many lives have had turns."""
PATIENCE_S = 300.0
FAULTY = FaultPlan(request_lost=0.05, reply_lost=0.05, doubled=0.1, slow=0.02)


class Book(BaseModel):
    lines: list[str] = []


class Write(Request[int]):
    line: str


class Line(Message):
    line: str


class HandOn(Request[bool]):
    """Has a line written by another key."""

    key: str
    line: str


class Read(Request[tuple[str, ...]]):
    pass


lives: dict[str, list[int]] = defaultdict(list)
"""By agent, the incarnation of each turn as it ran."""


class Clerk(DurableAgent[Book]):
    @on
    async def write(self, request: Write, ctx: DurableContext) -> int:
        lives[ctx.id].append(ctx.incarnation)
        self.state.lines.append(request.line)
        return len(self.state.lines)

    @on
    async def line(self, message: Line, ctx: DurableContext) -> None:
        lives[ctx.id].append(ctx.incarnation)
        self.state.lines.append(message.line)

    @on
    async def hand_on(self, request: HandOn, ctx: DurableContext) -> bool:
        await ctx.tell(f"desk/clerk/{request.key}", Line(line=request.line))
        return True

    @on
    async def read(self, request: Read) -> tuple[str, ...]:
        return tuple(self.state.lines)


async def play(seed: int, plan: FaultPlan, *, kills: int) -> None:
    """Clients write lines to keys while their agents end for want of work and their hosts die."""
    lives.clear()
    world = KeyedWorld(seed, plan, kind="desk/clerk")
    max_active = 2 + seed % 2
    kind = keyed(Clerk, idle_s=IDLE_S, max_active=max_active, max_restarts=1_000)
    await world.with_app("desk", Supervisor(children=[kind]))
    for name in ("first", "second"):
        await world.host(name)
    dice = random.Random(seed)
    clients = [client(world.node(f"driver{n}", listens=True), n, random.Random(f"{seed} {n}")) for n in range(CLIENTS)]
    killing = asyncio.create_task(kill_some(world, dice, kills))
    watching = asyncio.create_task(watch(world))

    sent: dict[str, set[str]] = defaultdict(set)
    for each in await asyncio.gather(*clients):
        for key, lines in each.items():
            sent[key] |= lines
    await killing
    assert not watching.done(), watching.exception()
    watching.cancel()
    assert len({life for each in lives.values() for life in each}) > LIVES, "agents ended and started again meanwhile"
    await pass_time(10.0)
    assert all(world.active(f"desk/clerk/{key}") == 0 for key in KEYS), "who has nothing to do has ended"
    reader = world.node("reader", listens=True)
    for key in KEYS:
        found = await reader.ref(f"desk/clerk/{key}").ask(Read(), timeout_s=PATIENCE_S)
        assert sorted(found) == sorted(sent[key]), "each line is there, and once"
        for number in range(CLIENTS):
            own = [line for line in found if line.startswith(f"{number}.direct.")]
            assert own == sorted(own), "in the order in which they were sent"
        assert lives[f"desk/clerk/{key}"] == sorted(lives[f"desk/clerk/{key}"]), "no life runs beside a later one"
    await world.close()


async def client(node: Node, number: int, dice: random.Random) -> dict[str, set[str]]:
    """Sends lines to keys, now and then after a pause; gives what was accepted, by key."""
    sent: dict[str, set[str]] = defaultdict(set)
    for turn in range(ROUNDS):
        key, other = dice.choice(KEYS), dice.choice(KEYS)
        ref, line = node.ref(f"desk/clerk/{key}"), f"{number}.direct.{turn:03}"
        match dice.randrange(3):
            case 0:
                await ref.ask(Write(line=line), timeout_s=PATIENCE_S)
                sent[key].add(line)
            case 1:
                await ref.tell(Line(line=line), send_timeout_s=PATIENCE_S)
                sent[key].add(line)
            case _:
                line = f"{number}.handed.{turn:03}"
                await ref.ask(HandOn(key=other, line=line), timeout_s=PATIENCE_S)
                sent[other].add(line)
        if dice.random() < 0.7:
            await pass_time(dice.uniform(0.5, 2.0) * IDLE_S)
    return sent


async def kill_some(world: KeyedWorld, dice: random.Random, kills: int) -> None:
    for number in range(kills):
        await pass_time(dice.uniform(0.05, 0.4))
        await world.host(f"next{number}")
        victims = [name for name, node in world.nodes.items() if node in world.hosts and not node.is_dead]
        world.kill(dice.choice(victims[:-1]))


async def watch(world: KeyedWorld) -> None:
    """Looks again and again whether an agent runs in two processes."""
    while True:
        await pass_time(0.001)
        for key in KEYS:
            assert world.active(f"desk/clerk/{key}") <= 1, f"{key} runs twice"


@pytest.mark.parametrize("seed", SEEDS)
def test_keys_that_end_while_messages_come_lose_and_double_nothing(seed: int) -> None:
    run_virtual(play(seed, CALM, kills=0))


@pytest.mark.heavy
@pytest.mark.parametrize("seed", STORMS)
def test_nor_do_they_in_hosts_that_die_over_wires_that_lose_and_delay_calls(seed: int) -> None:
    run_virtual(play(seed, FAULTY, kills=4))
