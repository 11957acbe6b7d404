"""The agent loop in a durable turn: each call of model and tools is made once, whatever ends its agent in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import DurableAgent, DurableContext, Request, on
from regrow.actors.durable_errors import InQuarantine
from regrow.actors.durable_wait import subject_of
from regrow.actors.loop_errors import RecordsUsedUp, TurnsUsedUp
from regrow.actors.tool import tool
from regrow.actors.tool_approval import ToolApproval
from regrow.actors.turn_history import read_about
from regrow.router.conversation import ToolCall, ToolResult
from regrow.router.request import FinishReason, ModelReply, ModelRequest, Tier, Usage, Work
from regrow.router.usage import SpentOnTab, TabTotals
from regrow.runtime.address import ActorId
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import Misuse
from regrow.runtime.journal_answers import Assume
from regrow.runtime.journal_entries import JournalLimits, OperationId, partition_of
from regrow.runtime.signals import NewMail
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time

CLERK = ActorId("desk/clerk")
MODELS = ActorId("desk:models")
DAY_S = 86_400.0


class Nothing(BaseModel):
    done: int = 0


class Do(Request[str]):
    text: str = ""


class World:
    """What is outside of the agents: what was done, how often, and the script of the model."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.runs = 0
        self.crashes = 0
        self.asked: list[ModelRequest] = []
        self.script: list[str | tuple[ToolCall, ...]] = []
        self.gate: asyncio.Event | None = None

    def crash(self) -> None:
        if self.runs <= self.crashes:
            raise ValueError("as the test wants it")


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


@tool
async def post(text: str) -> str:
    """Posts a letter."""
    await pass_time(0.5 if text == "slow" else 0.1)
    world.done.append(f"post {text}")
    if world.gate is not None:
        await world.gate.wait()
    return f"number {len(world.done)}"


@tool(idempotent=True)
async def count(ctx: DurableContext, text: str) -> int:
    """Counts by steps of its own."""
    found = [await ctx.step("one", _one, text, number, idempotent=True) for number in range(2)]
    if world.gate is not None and text == "b":
        await world.gate.wait()
    return sum(found)


async def _one(text: str, number: int) -> int:
    await pass_time(0.3 if text == "a" else 0.2)
    world.done.append(f"one {text} {number}")
    return 1


@tool(approval=lambda call: call.cents > 100)
async def pay(cents: int) -> str:
    """Pays."""
    world.done.append(f"pay {cents}")
    return f"paid {cents}"


@tool(idempotent=True)
async def misuse() -> str:
    """Uses something wrongly, the first time."""
    if world.runs == 1:
        raise Misuse("as a library may")
    return "well"


class Model(DurableAgent[Nothing]):
    """Stands for the models: says what the test wrote down."""

    @on
    async def complete(self, request: ModelRequest) -> ModelReply:
        said = world.script[len(world.asked)]
        world.asked.append(request)
        return ModelReply(
            text=said if isinstance(said, str) else "",
            tool_calls=() if isinstance(said, str) else said,
            finish=FinishReason.STOP,
            tier=Tier.LARGE,
            provider="p",
            model="m",
            usage=Usage(input_tokens=1, output_tokens=1),
            cost_usd=0.0,
            latency_s=0.0,
        )

    @on
    async def spent(self, request: SpentOnTab) -> TabTotals:
        return TabTotals(usage=Usage(input_tokens=0, output_tokens=0), cost_usd=0.0)


class Clerk(DurableAgent[Nothing]):
    tools = [post, count, pay, misuse]

    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        world.runs += 1
        answer = await ctx.models.run("Do it", max_turns=6)
        world.crash()
        self.state.done += 1
        return f"{answer.text} after {[(each.name, each.told) for each in answer.calls]}"


def call(name: str, id: str = "1", **arguments: object) -> ToolCall:
    return ToolCall(id=id, name=name, arguments=json.dumps(arguments))


async def desk(*script: str | tuple[ToolCall, ...], journal: Any = None) -> Host:
    world.script = list(script)
    host = await Host.on(journal if journal is not None else memory_journal())
    assert await host.start(Model, MODELS) is None
    host.runtime.services.update(models=MODELS)
    assert await host.start(Clerk, CLERK) is None
    return host


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await pass_time(0.01)


@on_virtual_time
async def test_a_turn_that_is_run_again_asks_no_model_and_calls_no_tool_again() -> None:
    journal = memory_journal()
    world.crashes = 2
    calls = (call("post", text="b"), call("post", "2", text="c"))
    host = await desk((call("post", text="a"),), calls, "done", journal=journal)

    said = await host.ref(CLERK).ask(Do())

    assert said == "done after [('post', 'number 1'), ('post', 'number 2'), ('post', 'number 3')]"
    assert (world.runs, len(world.asked), world.done) == (3, 3, ["post a", "post b", "post c"])
    turn = next(turn for turn in await journal.history(CLERK))
    assert [step.name for step in read_about(turn.about).steps] == [
        "models:ModelRequest",
        "tool:post",
        "models:ModelRequest",
        "tool:post",
        "tool:post",
        "models:ModelRequest",
    ]


@on_virtual_time
async def test_calls_side_by_side_have_their_places_by_the_order_of_the_model_whichever_ends_first() -> None:
    world.crashes = 2
    host = await desk((call("post", text="slow"), call("post", "2", text="b"), call("post", "3", text="c")), "done")

    said = await host.ref(CLERK).ask(Do())

    assert sorted(world.done) == ["post b", "post c", "post slow"]
    assert world.done[-1] == "post slow"
    assert said.startswith("done after [('post', 'number 3')")


@on_virtual_time
async def test_a_failure_beside_a_call_that_must_not_be_repeated_lets_it_end() -> None:
    host = await desk((call("post", text="slow"), call("misuse", "2")), "done")

    said = await host.ref(CLERK).ask(Do())

    assert said == "done after [('post', 'number 1'), ('misuse', 'well')]"
    assert (world.runs, world.done) == (2, ["post slow"])
    assert not await host.quarantined(CLERK)


@on_virtual_time
async def test_a_kill_between_two_tools_repeats_neither_them_nor_the_model() -> None:
    host = await desk((call("post", text="a"),), (call("count", text="b"),), "done")
    world.gate = asyncio.Event()
    world.gate.set()
    asking = asyncio.create_task(host.ref(CLERK).ask(Do()))
    await until(lambda: len(world.asked) == 2)

    host.runtime.cells[CLERK].kill()

    assert (await asking).startswith("done after")
    assert world.done.count("post a") == 1
    assert len(world.asked) == 3


@on_virtual_time
async def test_steps_inside_of_tools_side_by_side_are_counted_for_each_tool_alone() -> None:
    host = await desk((call("count", text="a"), call("count", "2", text="b")), "done")
    world.gate = asyncio.Event()
    asking = asyncio.create_task(host.ref(CLERK).ask(Do()))
    await until(lambda: len(world.done) == 4)  # the first tool is done, the second waits with both of its steps done
    await pass_time(1)

    host.runtime.cells[CLERK].kill()
    world.gate.set()

    assert await asking == "done after [('count', '2'), ('count', '2')]"
    assert sorted(world.done) == ["one a 0", "one a 1", "one b 0", "one b 1"]
    assert await host.quarantined(CLERK) == ()


async def waits(host: Host) -> list[str]:
    assert host.runtime.durability is not None
    rows = await host.runtime.durability.journal.waiting(partition_of(CLERK))
    return [subject_of(row.wait.name) for row in rows]


@on_virtual_time
async def test_a_call_that_needs_consent_waits_for_it_behind_those_that_do_not() -> None:
    calls = (
        call("pay", cents=500),
        call("post", "2", text="a"),
        call("pay", "3", cents=7),
        call("pay", "4", cents=900),
    )
    host = await desk(calls, "done")
    asking = asyncio.create_task(host.ref(CLERK).ask(Do(), timeout_s=100 * DAY_S))
    await pass_time(5)
    assert sorted(world.done) == ["pay 7", "post a"]
    assert await host.ref(MODELS).ask(ModelRequest(work=Work.REASON, prompt="others are served")) is not None
    world.asked.pop()

    host.runtime.cells[CLERK].kill()
    await pass_time(3 * DAY_S)
    [about] = await waits(host)
    await host.ref(CLERK).tell(ToolApproval(about=about, by="Ada"))
    await pass_time(5)
    [about] = await waits(host)
    await host.ref(CLERK).tell(ToolApproval(about=about, approved=False, by="Ada", reason="too much"))

    said = await asking
    assert sorted(world.done) == ["pay 500", "pay 7", "post a"]
    assert said.startswith("done after [('pay', 'paid 500'), ('post', 'number ")
    assert said.endswith("('pay', 'paid 7'), ('pay', 'pay was not run: Ada has refused it (too much); do without')]")


@on_virtual_time
async def test_what_may_be_made_again_is_made_though_a_person_says_of_the_call_beside_it_that_it_was_done() -> None:
    journal = memory_journal()
    host = await desk((call("count", text="b"), call("post", "2", text="a")), "done", journal=journal)
    world.gate = asyncio.Event()
    asking = asyncio.create_task(host.ref(CLERK).ask(Do()))
    await until(lambda: "post a" in world.done)
    host.runtime.cells[CLERK].kill()
    world.gate.set()
    with pytest.raises(InQuarantine):
        await asking
    [row] = await host.quarantined(CLERK)

    await journal.requeue(CLERK, row.command, operation=OperationId("1"), assume=Assume.DONE)
    host.runtime.delivery.send(Envelope(Kind.SIGNAL, CLERK, NewMail(), host.runtime.origin))
    await pass_time(5)

    told = [each.content for each in world.asked[-1].messages if isinstance(each, ToolResult)]
    assert told[0] == "2"
    assert told[1].startswith("post was done, by word of a person who has settled this message")
    assert world.done.count("post a") == 1


@on_virtual_time
async def test_an_end_of_the_loop_refuses_the_message_once() -> None:
    host = await desk(*[(call("post", text=str(n)),) for n in range(6)])

    with pytest.raises(TurnsUsedUp) as ended:
        await host.ref(CLERK).ask(Do())

    assert (ended.value.turns, len(world.asked), len(world.done)) == (6, 6, 5)
    assert host.ends == []


@on_virtual_time
async def test_a_deadline_that_passes_cuts_no_call_off_that_must_not_be_repeated() -> None:
    world.gate = asyncio.Event()
    host = await desk((call("post", text="a"),), "done")
    asking = asyncio.create_task(host.ref(CLERK).ask(Do(), timeout_s=5))
    await until(lambda: world.done == ["post a"])
    await pass_time(10)

    world.gate.set()

    with pytest.raises(Exception, match=r"did not answer|deadline"):
        await asking
    await pass_time(5)
    assert await host.quarantined(CLERK) == ()
    assert len(world.asked) == 1, "nobody waits for the next word of the model"


@on_virtual_time
async def test_a_loop_that_would_fill_the_records_of_its_message_ends_by_name() -> None:
    world.crashes = 0
    calls = tuple(call("post", str(number), text=str(number)) for number in range(5))
    host = await desk(calls, calls, calls, calls, "never", journal=memory_journal(JournalLimits(steps=30)))

    with pytest.raises(RecordsUsedUp, match="was to make 5 calls at once, and its message keeps 17 more records"):
        await host.ref(CLERK).ask(Do())

    assert (world.runs, len(world.asked), len(world.done)) == (1, 3, 10)
    assert await host.quarantined(CLERK) == ()
