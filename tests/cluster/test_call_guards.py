"""What stops calls that repeat and turns that hang, as a user meets it (decision 0039)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Supervisor, child, on
from regrow.actors.tool import tool
from regrow.actors.tool_approval import ToolApproval
from regrow.actors.tool_errors import NotApproved
from regrow.cluster.guarding import keep_guard
from regrow.router.catalog import ModelCard
from regrow.router.conversation import ToolCall
from regrow.router.provider import ProviderReply
from regrow.router.request import ModelRequest
from regrow.runtime.fallback_runs import ANSWER_LIMIT_S
from regrow.runtime.guard_errors import RepeatedCall, Stalled
from regrow.runtime.guards import Guards, Rung
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.run_store import CallNote, Calls
from regrow.runtime.testing import pass_time, virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import calling
from tests.cluster.guarded import Ask, Seen, Start, exporting, findings


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    return exporting(monkeypatch)


looks: list[str] = []


@tool
async def look(at: str) -> str:
    """Looks at something."""
    looks.append(at)
    return json.dumps({"at": at, "found": 0})


class Looks(Agent):
    tools = [look]

    @on
    async def ask(self, ask: Ask, ctx: Context) -> str:
        return await ctx.tools.call(look, {"at": ask.text})


class Boss(Agent):
    """Asks the other one the same, again and again."""

    @on
    async def start(self, request: Start, ctx: Context) -> str:
        for _ in range(20):
            await ctx.ask("looks", Ask(text="door"))
        return "done"


def watching(guards: Guards | None = None) -> App:
    looks.clear()
    return App("desk", Supervisor(children=[child(Boss, id="boss"), child(Looks, id="looks")]), guards=guards)


@virtual
async def test_the_same_call_with_the_same_outcome_is_refused_for_the_fifth_time_in_a_run() -> None:
    async with TestApp(watching()) as t:
        with pytest.raises(RepeatedCall, match="desk/looks calls look with the same arguments again, 5 times") as found:
            await t.ask("boss", Start())
        assert (len(looks), t.restarts("looks")) == (4, 0)

        with pytest.raises(RepeatedCall):  # another message from outside is another run, and is counted from 0
            await t.ask("boss", Start())

    assert len(looks) == 8
    assert found.value.evidence == {"tool": "look", "times": 5, "period": 1}


def test_its_evidence_stands_on_the_span_of_the_call(exporter: InMemorySpanExporter) -> None:
    @virtual
    async def run() -> None:
        async with TestApp(watching()) as t:
            with pytest.raises(RepeatedCall):
                await t.ask("boss", Start())

    run()

    told = [
        (each["span"], each["regrow.guard.rung"], each["regrow.guard.evidence.times"]) for each in findings(exporter)
    ]
    assert told == [
        ("execute_tool look", "warn", 3),
        ("execute_tool look", "warn", 4),
        ("execute_tool look", "refuse", 5),
    ]


@virtual
async def test_a_restart_of_the_agent_that_calls_does_not_reset_its_count() -> None:
    class Kills(Boss):
        @on
        async def start(self, request: Start, ctx: Context) -> str:
            for _ in range(20):
                await ctx.ask("looks", Ask(text="door"))
                await killed.kill("looks")
            return "done"

    looks.clear()
    app = App("desk", Supervisor(children=[child(Kills, id="boss"), child(Looks, id="looks")], max_restarts=100))
    async with TestApp(app) as killed:
        with pytest.raises(RepeatedCall):
            await killed.ask("boss", Start())

    assert len(looks) == 4


class Silent(MemoryRuns):
    """A store that takes no call and gives none."""

    async def note(self, run: str, agent: str, call: CallNote) -> None:
        await asyncio.Event().wait()

    async def calls(self, run: str, agent: str) -> Calls:
        await asyncio.Event().wait()
        raise AssertionError("it hangs")


@virtual
async def test_while_the_store_of_runs_hangs_tools_are_called_without_it_and_their_loops_ended() -> None:
    async with TestApp(watching()) as t:
        runtime = t.running.engine.runtime
        keep_guard(runtime, Guards(), Silent(runtime.loop.time))
        began_s = runtime.loop.time()
        with pytest.raises(RepeatedCall, match="5 times with this one"):
            await t.ask("boss", Start())

        assert runtime.loop.time() - began_s < 2 * ANSWER_LIMIT_S
    assert len(looks) == 4


class AtOnce(Agent):
    """Looks at the same five times at once, again and again."""

    tools = [look]

    @on
    async def ask(self, ask: Ask, ctx: Context) -> str:
        for _ in range(int(ask.text)):
            await asyncio.gather(*(ctx.tools.call(look, {"at": "door"}) for _ in range(5)))
        return "done"


@virtual
async def test_what_a_handler_calls_at_once_is_one_round_and_round_after_round_is_ended_at_five() -> None:
    looks.clear()
    async with TestApp(App("desk", Supervisor(children=[child(AtOnce, id="looks")]))) as t:
        assert await t.ask("looks", Ask(text="4")) == "done"
        assert len(looks) == 20

        with pytest.raises(RepeatedCall, match="5 times with this one"):
            await t.ask("looks", Ask(text="5"))

    assert len(looks) == 40


@virtual
async def test_what_the_app_polls_is_not_counted() -> None:
    async with TestApp(watching(Guards(polls=frozenset({"look"})))) as t:
        assert await t.ask("boss", Start()) == "done"

    assert len(looks) == 20


class Ticks(Agent):
    """Looks again by a timer, and has another one look as well."""

    @on
    async def start(self, request: Start, ctx: Context) -> str:
        ctx.after(1.0, Ask(text="door"))
        return "set"

    @on
    async def tick(self, ask: Ask, ctx: Context) -> str:
        ctx.after(1.0, ask)
        return await ctx.ask("looks", ask)


@virtual
async def test_who_looks_again_by_a_timer_has_waited_and_is_not_stopped_before_a_cap_is_used_up() -> None:
    looks.clear()
    app = App(
        "desk", Supervisor(children=[child(Ticks, id="ticks"), child(Looks, id="looks")]), guards=Guards(max_calls=12)
    )
    async with TestApp(app) as t:
        await t.ask("ticks", Start())
        await t.advance(8.5)
        assert len(looks) == 8
        await t.advance(30.0)

    assert len(looks) == 12


@virtual
async def test_each_time_of_a_reminder_is_judged_by_itself_also_where_its_agent_is_killed() -> None:
    class Minds(DurableAgent[Seen]):
        tools = [look]

        @on
        async def start(self, request: Start, ctx: DurableContext) -> str:
            ctx.remind("look", Ask(text="door"), every_s=1.0)
            return "set"

        @on
        async def ask(self, ask: Ask, ctx: DurableContext) -> str:
            return await ctx.tools.call(look, {"at": ask.text})

    looks.clear()
    app = App("desk", Supervisor(children=[child(Minds, id="minds")]), journal="memory")
    async with TestApp(app) as t:
        await t.ask("minds", Start())
        await t.advance(4.5)
        await t.kill("minds")
        await t.advance(6.0)

    assert len(looks) >= 8


@virtual
async def test_what_one_message_of_a_timer_leads_to_is_judged_like_any_other() -> None:
    class Sticks(Ticks):
        @on
        async def tick(self, ask: Ask, ctx: Context) -> str:
            for _ in range(20):
                await ctx.ask("looks", ask)
            return "done"

    looks.clear()
    app = App("desk", Supervisor(children=[child(Sticks, id="ticks"), child(Looks, id="looks")]))
    async with TestApp(app) as t:
        await t.ask("ticks", Start())
        await t.advance(30.0)

    assert len(looks) == 4


pressed: list[str] = []


@tool
async def press(button: str) -> str:
    """Presses a button."""
    pressed.append(button)
    return "ok"


class Packs(Agent):
    """Presses the same button for each thing that it takes off a list of its own."""

    tools = [press]

    def __init__(self) -> None:
        self.left: list[str] = []
        self.turns = 0

    def packed(self) -> None:
        self.left.pop()

    @on
    async def ask(self, ask: Ask, ctx: Context) -> str:
        pressed.clear()
        self.left = [chr(ord("a") + at % 26) * (1 + at // 26) for at in range(50)]
        for _ in range(50):
            self.packed()
            await ctx.tools.call(press, {"button": "next"})
        return "packed"


class Counts(Packs):
    """Does as much, and changes nothing but a count."""

    def packed(self) -> None:
        self.turns += 1


class Shelf(BaseModel):
    left: list[str] = ["tea", "rice", "salt", "milk", "oats", "figs", "kale", "leek"]


shelves: list[PacksForGood] = []


@tool
async def save() -> str:
    """Does something to what its caller stores."""
    del shelves[-1].state.left[-1:]
    pressed.append("save")
    return "saved"


class PacksForGood(DurableAgent[Shelf]):
    """The same, with the list in what it stores, which its tool makes shorter."""

    tools = [save]

    @on
    async def ask(self, ask: Ask, ctx: DurableContext) -> str:
        shelves.append(self)
        while self.state.left:
            await ctx.tools.call(save)
        for _ in range(20):
            await ctx.tools.call(save)
        return "packed"


@virtual
async def test_who_calls_the_same_for_each_thing_on_a_list_of_its_own_is_not_stopped() -> None:
    async with TestApp(App("desk", Supervisor(children=[child(Packs, id="packs")]))) as t:
        assert await t.ask("packs", Ask()) == "packed"

    assert len(pressed) == 50


@virtual
async def test_a_tool_that_changes_what_its_durable_agent_stores_may_be_called_again_until_nothing_changes() -> None:
    pressed.clear()
    app = App("desk", Supervisor(children=[child(PacksForGood, id="packs")]), journal="memory")
    async with TestApp(app) as t:
        with pytest.raises(RepeatedCall):
            await t.ask("packs", Ask())

    assert len(pressed) == 8 + 14  # as often as a key may be pressed while nothing changes


@virtual
async def test_who_only_counts_its_calls_is_stopped_all_the_same() -> None:
    guards = Guards(repeats_warn=2, repeats_end=2)
    async with TestApp(App("desk", Supervisor(children=[child(Counts, id="counts")]), guards=guards)) as t:
        with pytest.raises(RepeatedCall, match="of its state only numbers have changed"):
            await t.ask("counts", Ask())

    assert len(pressed) == 7 * 2 - 1


class Thinks(ScriptedModel):
    """Decides for the same look again and again, and takes its time."""

    async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
        await pass_time(40.0)
        return await super().complete(request, card)


class Loops(Agent):
    tools = [look]

    @on
    async def start(self, request: Start, ctx: Context) -> str:
        return (await ctx.models.run("Is the door open?", max_turns=12)).text


@virtual
async def test_the_time_that_a_model_takes_is_no_wait_for_a_change() -> None:
    looks.clear()
    door = calling(ToolCall(id="1", name="look", arguments='{"at": "door"}'))
    app = App("desk", Supervisor(children=[child(Loops, id="loops")]))
    async with TestApp(app, models=Thinks([door] * 5)) as t:
        with pytest.raises(RepeatedCall):
            await t.ask("loops", Start(), timeout_s=1_000)

    assert len(looks) == 4


class Clerk(DurableAgent[Seen]):
    """Looks on and on, and goes on as a person says."""

    tools = [look]

    @on
    async def start(self, request: Start, ctx: DurableContext) -> str:
        for _ in range(6):
            await ctx.tools.call(look, {"at": "door"})
        return "done"


def suspending() -> App:
    looks.clear()
    guards = Guards(top=Rung.SUSPEND)
    return App("desk", Supervisor(children=[child(Clerk, id="clerk")]), journal="memory", guards=guards)


async def wait_of(t: TestApp) -> dict[str, Any]:
    """The one wait that there is."""
    while not (rows := await t.running.waits()):
        await t.advance(0.1)
    (row,) = rows
    return row


@virtual
async def test_on_the_highest_rung_a_durable_turn_waits_for_a_person_before_each_call_that_repeats() -> None:
    async with TestApp(suspending()) as t:
        asked = asyncio.ensure_future(t.ask("clerk", Start(), timeout_s=1_000))
        first = await wait_of(t)
        assert len(looks) == 4
        assert first["call"]["tool"] == "look"
        assert first["call"]["why"].startswith("desk/clerk calls look with the same arguments again, 5 times")
        await t.kill("clerk")
        await t.running.answer(first["id"], ToolApproval(approved=True))
        second = await wait_of(t)
        assert len(looks) == 5
        await t.running.answer(second["id"], ToolApproval(approved=True))

        assert await asked == "done"
    assert len(looks) == 6


@virtual
async def test_a_person_may_refuse_what_a_guard_has_suspended() -> None:
    async with TestApp(suspending()) as t:
        asked = asyncio.ensure_future(t.ask("clerk", Start(), timeout_s=1_000))
        wait = await wait_of(t)
        await t.running.answer(wait["id"], ToolApproval(approved=False, by="Ada", reason="enough"))

        with pytest.raises(NotApproved, match="Ada has refused it"):
            await asked
        assert t.restarts("clerk") == 0
    assert len(looks) == 4


@virtual
async def test_a_plain_agent_can_not_wait_and_is_refused_on_the_highest_rung_too() -> None:
    async with TestApp(watching(Guards(top=Rung.SUSPEND))) as t:
        with pytest.raises(RepeatedCall):
            await t.ask("boss", Start())

    assert len(looks) == 4


class Hangs(Agent):
    """Waits for something that nobody knows of, for as long as the request says."""

    tools = [look]

    @on
    async def ask(self, ask: Ask, ctx: Context) -> str:
        await pass_time(float(ask.text))
        return "awake"


class Waits(Agent):
    @on
    async def ask(self, ask: Ask, ctx: Context) -> str:
        return await ctx.ask("hangs", ask, timeout_s=500)


def hanging(guards: Guards) -> App:
    return App("desk", Supervisor(children=[child(Hangs, id="hangs"), child(Waits, id="waits")]), guards=guards)


@virtual
async def test_who_waits_for_a_turn_that_hangs_is_told_before_the_deadline_and_the_agent_lives() -> None:
    async with TestApp(hanging(Guards(stall_s=60.0))) as t:
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(Stalled, match="desk/hangs has handled Ask for") as told:
            await t.ask("waits", Ask(text="300"), timeout_s=500)
        took_s = asyncio.get_running_loop().time() - began_s
        assert 60 <= took_s <= 90
        assert await t.ask("waits", Ask(text="1"), timeout_s=500) == "awake"  # behind what hung
        assert (t.restarts("hangs"), t.restarts("waits")) == (0, 0)

    assert told.value.evidence["message"] == "Ask"


@virtual
async def test_turns_that_take_no_longer_and_those_that_wait_for_others_or_tools_are_not_stalled() -> None:
    @tool(timeout_s=900)
    async def dig() -> str:
        """Digs for long."""
        await pass_time(400)
        return "dug"

    class Digs(Agent):
        tools = [dig]

        @on
        async def ask(self, ask: Ask, ctx: Context) -> str:
            return await ctx.tools.call(dig)

    app = App(
        "desk",
        Supervisor(children=[child(Hangs, id="hangs"), child(Waits, id="waits"), child(Digs, id="digs")]),
        guards=Guards(stall_s=60.0),
    )
    async with TestApp(app) as t:
        assert await t.ask("waits", Ask(text="55"), timeout_s=500) == "awake"
        assert await t.ask("digs", Ask(), timeout_s=900) == "dug"
