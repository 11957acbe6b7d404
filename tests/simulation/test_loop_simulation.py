"""An agent loop in a durable turn whose process dies at every operation of its journal, and which is killed anywhen.

The loop has two tools at once, one that needs consent, and the model's word between them.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from regrow.actors import Agent, DurableAgent, DurableContext, Step, ToolApproval, on, tool
from regrow.actors.durable_errors import InQuarantine
from regrow.actors.durable_wait import subject_of
from regrow.router.conversation import Role, Said, ToolCall
from regrow.router.request import ModelReply, ModelRequest, Tier, Usage
from regrow.runtime.address import ActorId
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.journal_answers import Assume
from regrow.runtime.journal_entries import OperationId, partition_of
from regrow.runtime.message import Request
from regrow.runtime.signals import NewMail
from regrow.runtime.testing import FaultPlan, pass_time, run_virtual
from tests.simulation.durable_world import DurableWorld
from tests.simulation.seeds import seeds
from tests.simulation.wires import Node

SEEDS = seeds("loop", range(6))
DESK = ActorId("desk/desk")
MODELS = ActorId("desk:models")
LAST_OPERATION = 45
"""A host that holds the agent all the time makes fewer calls of the journal."""
KILLS = 5
"""So often the agent is killed in the storms."""
FAULTY = FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.05)


class Book(BaseModel):
    lines: list[str] = []


class Serve(Request[str]):
    pass


class Read(Request[tuple[str, ...]]):
    pass


class World:
    """What is outside: how often each effect was caused, under which keys, and what the model was asked."""

    effects: Counter[str] = Counter()
    keys: set[str] = set()
    asked: Counter[int] = Counter()


@tool
async def post(text: str) -> str:
    """Posts a letter, each time that it is run."""
    await pass_time(0.05)
    World.effects[f"post {text}"] += 1
    await pass_time(0.05)
    return "posted"


@tool(idempotent=True)
async def file(text: str, step: Step) -> str:
    """Files a text under its key."""
    await pass_time(0.08)
    World.keys.add(f"{text} {step.key}")
    return "filed"


@tool(approval=True)
async def pay(cents: int) -> str:
    """Pays."""
    World.effects[f"pay {cents}"] += 1
    await pass_time(0.05)
    return "paid"


SCRIPT: list[tuple[ToolCall, ...]] = [
    (
        ToolCall(id="1", name="file", arguments='{"text": "a"}'),
        ToolCall(id="2", name="post", arguments='{"text": "b"}'),
        ToolCall(id="3", name="file", arguments='{"text": "c"}'),
    ),
    (ToolCall(id="4", name="pay", arguments='{"cents": 5}'),),
    (ToolCall(id="5", name="file", arguments="{"), ToolCall(id="6", name="post", arguments='{"text": "d"}')),
]


class Model(Agent):
    """Says what comes next in the script, by how often it has spoken in the conversation."""

    @on
    async def complete(self, request: ModelRequest) -> ModelReply:
        await pass_time(0.05)
        spoken = sum(isinstance(each, Said) and each.role is Role.ASSISTANT for each in request.messages)
        World.asked[spoken] += 1
        return ModelReply(
            text="served" if spoken == len(SCRIPT) else "",
            tool_calls=SCRIPT[spoken] if spoken < len(SCRIPT) else (),
            tier=Tier.LARGE,
            provider="p",
            model="m",
            usage=Usage(input_tokens=1, output_tokens=1),
            cost_usd=0.0,
            latency_s=0.0,
        )


class Desk(DurableAgent[Book]):
    tools = [post, file, pay]

    @on
    async def serve(self, request: Serve, ctx: DurableContext) -> str:
        answer = await ctx.models.run("Serve")
        self.state.lines.append(json.dumps([each.outcome for each in answer.calls]))
        return answer.text

    @on
    async def read(self, request: Read) -> tuple[str, ...]:
        return tuple(self.state.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    calls: int
    has_died: bool
    settled: int
    kills: int


async def play(
    seed: int, *, lives: int | None = None, before: bool = False, kills: int = 0, plan: FaultPlan | None = None
) -> Played:
    """One message is served by a loop; checks that each of its calls was made once, whatever dies."""
    World.effects, World.keys, World.asked = Counter(), set(), Counter()
    world = DurableWorld(seed, plan) if plan is not None else DurableWorld(seed)
    first = await world.host("first")
    for node in (first, await world.host("second"), await world.host("third"), await world.host("fourth")):
        node.runtime.services["models"] = MODELS
    mortal = world.mortals["first"]
    await world.start_durable(first, DESK, Desk)
    mortal.calls, mortal.lives, mortal.before = 0, lives, before
    driver = world.node("driver", listens=True)
    await world.start(driver, MODELS, lambda: Model.made(None))
    person = Person(world, driver)
    watching, killing = asyncio.create_task(person.watch()), asyncio.create_task(kill_now_and_then(world, kills))

    try:
        assert await driver.ref(DESK).ask(Serve(), timeout_s=600) == "served"
    except InQuarantine:
        pass  # a person has to look, and then it goes on without its asker
    await killing
    async with asyncio.timeout(600):
        while not (lines := await driver.ref(DESK).ask(Read(), timeout_s=120)):
            await pass_time(1)
            assert not watching.done(), watching.result()
    watching.cancel()
    quarantined = await world.journal.quarantined(partition_of(DESK))
    played = Played(calls=mortal.calls, has_died=mortal.is_dead, settled=person.settled, kills=len(world.ends))
    await world.close()

    assert quarantined == ()
    assert World.effects == {"post b": 1, "pay 5": 1, "post d": 1}
    assert len(World.keys) == 2, "each text has one key, however often it was filed"
    assert set(World.asked) == {0, 1, 2, 3}
    assert sum(World.asked.values()) <= 4 + (played.kills + played.has_died), "recorded words are not asked for again"
    (line,) = lines
    outcomes = json.loads(line)
    known = [outcome for outcome in outcomes if outcome != "ResultUnknown"]
    assert set(known) <= {"done", "InvalidArguments"}
    assert len(outcomes) - len(known) <= played.settled
    assert outcomes[4] == "InvalidArguments"
    return played


class Person:
    """Consents, and settles what nobody else can know: whether a call was made that was under way at a death."""

    def __init__(self, world: DurableWorld, driver: Node) -> None:
        self._world = world
        self._driver = driver
        self.settled = 0

    async def watch(self) -> None:
        journal, numbers = self._world.journal, 0
        while True:
            await pass_time(0.5)
            for row in await journal.waiting(partition_of(DESK)):
                await self._driver.ref(DESK).tell(ToolApproval(about=subject_of(row.wait.name)), send_timeout_s=120)
            for quarantined in await journal.quarantined(partition_of(DESK)):
                numbers += 1
                self.settled += 1
                assume = Assume.DONE if self._was_done() else Assume.UNDONE
                operation = OperationId(f"settle {numbers}")
                await journal.requeue(DESK, quarantined.command, operation=operation, assume=assume)
                self._driver.runtime.delivery.send(Envelope(Kind.SIGNAL, DESK, NewMail(), self._driver.runtime.origin))

    def _was_done(self) -> bool:
        """By how far the conversation has come: each turn of the model has one call that must not be repeated."""
        effect = "post d" if World.asked[2] else "pay 5" if World.asked[1] else "post b"
        return World.effects[effect] > 0


async def kill_now_and_then(world: DurableWorld, times: int) -> None:
    """Kills the agent wherever it is by then."""
    for _ in range(times):
        await pass_time(world.wires.random.uniform(0.0, 0.3))
        for node in world.living:
            cell = node.runtime.cells.get(DESK)
            if cell is not None and cell.behavior is not None:
                cell.kill()


def test_where_nothing_dies_a_loop_is_done_within_so_many_operations() -> None:
    assert 20 < run_virtual(play(0)).calls < LAST_OPERATION


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("lives", range(1, LAST_OPERATION))
def test_each_call_of_a_loop_is_made_once_at_whatever_operation_its_host_dies(lives: int, before: bool) -> None:
    played = run_virtual(play(1, lives=lives, before=before))

    assert played.has_died or played.calls < lives


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_so_it_is_where_the_agent_is_killed_now_and_then(seed: int) -> None:
    assert run_virtual(play(seed, kills=KILLS)).kills > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_and_where_its_host_dies_among_that_over_wires_that_lose_calls(seed: int) -> None:
    run_virtual(play(seed, lives=3 + 5 * (seed % 8), before=seed % 2 == 0, kills=KILLS, plan=FAULTY))
