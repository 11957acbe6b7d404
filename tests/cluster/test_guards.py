"""What stops a runaway in an app, as a user meets it (decision 0039)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Message, Refused, Request, Supervisor, child, on
from regrow.actors.tool import tool
from regrow.actors.tool_approval import ToolApproval
from regrow.actors.tool_errors import NotApproved
from regrow.runtime import telemetry
from regrow.runtime.guard_errors import CausalLoop, GuardTripped, HopsUsedUp, RepeatedCall, Stalled
from regrow.runtime.guards import Guards, Rung
from regrow.runtime.testing import pass_time, virtual
from regrow.testing import TestApp


class Ask(Request[str]):
    text: str = ""
    request_id: str = ""


class Note(Message):
    text: str = ""
    left: int = 0


class Start(Request[str]):
    """From outside."""


turns: list[str] = []
"""The agents whose handlers began, in their order."""


@pytest.fixture(autouse=True)
def _no_turns() -> None:
    turns.clear()


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    found = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("test"))
    return found


def findings(exporter: InMemorySpanExporter) -> Iterator[dict[str, Any]]:
    """The evidence of each finding in the trace."""
    for span in exporter.get_finished_spans():
        for event in span.events:
            if event.name == telemetry.GUARD_TRIPPED:
                yield {"span": span.name, **dict(event.attributes or {})}


class Pair(Agent):
    """Passes what it is told on to the other one."""

    other = ""

    @on
    async def note(self, note: Note, ctx: Context) -> None:
        turns.append(ctx.id)
        await ctx.tell(self.other, note)


class Left(Pair):
    other = "right"


class Right(Pair):
    other = "left"


def pair(guards: Guards | None = None) -> App:
    return App("desk", Supervisor(children=[child(Left, id="left"), child(Right, id="right")]), guards=guards)


@virtual
async def test_two_agents_that_tell_each_other_the_same_are_stopped_and_live() -> None:
    async with TestApp(pair()) as t:
        await t.tell("left", Note())
        await t.settled()

        assert len(turns) == 7
        assert (t.restarts("left"), t.restarts("right")) == (0, 0)
        letters = await t.dead_letters()
        assert letters.counts == (("refused", 1),)
        turns.clear()
        await t.tell("left", Note(text="another run"))
        await t.settled()

    assert len(turns) == 7


def test_its_evidence_stands_in_the_trace(exporter: InMemorySpanExporter) -> None:
    @virtual
    async def run() -> None:
        async with TestApp(pair()) as t:
            await t.tell("left", Note())
            await t.settled()

    run()

    (finding,) = findings(exporter)
    run_id = finding.pop("regrow.run.id")
    assert run_id
    assert finding == {
        "span": "guard",
        "regrow.guard.name": "CausalLoop",
        "regrow.guard.rung": "refuse",
        "regrow.agent.id": "desk/left",
        "regrow.guard.evidence.rounds": 3,
        "regrow.guard.evidence.agents": 2,
        "regrow.guard.evidence.intent": "Note",
        "regrow.guard.evidence.hops": 6,
    }


@virtual
async def test_messages_that_say_something_new_go_on() -> None:
    class Counting(Pair):
        @on
        async def note(self, note: Note, ctx: Context) -> None:
            turns.append(ctx.id)
            if note.left:
                await ctx.tell("right" if ctx.id == "desk/left" else "left", Note(left=note.left - 1))

    app = App("desk", Supervisor(children=[child(Counting, id="left"), child(Counting, id="right")]))
    async with TestApp(app) as t:
        await t.tell("left", Note(left=200))
        await t.settled()

    assert len(turns) == 201


@virtual
async def test_agents_whose_state_changes_go_on_with_the_same_messages() -> None:
    class Boss(Agent):
        def __init__(self) -> None:
            self.todo = list(range(50))

        @on
        async def note(self, note: Note, ctx: Context) -> None:
            turns.append(ctx.id)
            if self.todo:
                self.todo.pop()
                await ctx.tell("worker", Note(text="go"))

    class Worker(Agent):
        @on
        async def note(self, note: Note, ctx: Context) -> None:
            await ctx.tell("boss", Note(text="ready"))

    app = App("desk", Supervisor(children=[child(Boss, id="boss"), child(Worker, id="worker")]))
    async with TestApp(app) as t:
        await t.tell("boss", Note())
        await t.settled()

    assert len(turns) == 51


@virtual
async def test_an_agent_may_tell_itself_to_go_on_and_set_timers_for_ever() -> None:
    class Clock(Agent):
        @on
        async def note(self, note: Note, ctx: Context) -> None:
            turns.append(ctx.id)
            if note.text == "tick":
                ctx.after(1.0, note)
            elif len(turns) < 500:
                await ctx.tell(ctx.self_ref, note)

    app = App("desk", Supervisor(children=[child(Clock, id="clock")]), guards=Guards(hop_limit=5))
    async with TestApp(app) as t:
        await t.tell("clock", Note())
        await t.settled()
        assert len(turns) == 500
        await t.tell("clock", Note(text="tick"))
        await t.advance(300.5)

    assert len(turns) == 801


@virtual
async def test_a_chain_of_asks_is_refused_to_whoever_asked_first() -> None:
    class Passes(Agent):
        @on
        async def ask(self, ask: Ask, ctx: Context) -> str:
            turns.append(ctx.id)
            number = int(ctx.id.removeprefix("desk/"))
            return await ctx.ask(str(number + 1), ask) if number < 9 else "the end"

    app = App(
        "desk",
        Supervisor(children=[child(Passes, id=str(number)) for number in range(10)]),
        guards=Guards(hop_limit=4),
    )
    async with TestApp(app) as t:
        with pytest.raises(HopsUsedUp, match=r"which has come over 5 agents \(hop_limit=4\)") as refused:
            await t.ask("0", Ask())

        assert t.restarts("5") == 0
    assert isinstance(refused.value, GuardTripped) and isinstance(refused.value, Refused)
    assert refused.value.evidence == {"hops": 5, "hop_limit": 4}
    assert turns == [f"desk/{number}" for number in range(6)]


@virtual
async def test_a_handler_may_do_something_else_where_it_is_refused() -> None:
    said: list[str] = []

    class Wise(Pair):
        @on
        async def note(self, note: Note, ctx: Context) -> None:
            try:
                await ctx.tell("right", note)
            except CausalLoop as loop:
                said.append(str(loop))

    app = App("desk", Supervisor(children=[child(Wise, id="left"), child(Right, id="right")]))
    async with TestApp(app) as t:
        await t.tell("left", Note())
        await t.settled()
        assert (await t.dead_letters()).counts == ()

    (text,) = said
    assert text.startswith("desk/left has had the same Note 3 times in a circle of 2 steps")


@virtual
async def test_below_refuse_the_ladder_only_says_what_it_has_seen() -> None:
    class Bounded(Pair):
        @on
        async def note(self, note: Note, ctx: Context) -> None:
            turns.append(ctx.id)
            if len(turns) < 100:
                await ctx.tell("right" if ctx.id == "desk/left" else "left", note)

    children = [child(Bounded, id="left"), child(Bounded, id="right")]
    async with TestApp(App("desk", Supervisor(children=children), guards=Guards(top=Rung.WARN))) as t:
        await t.tell("left", Note())
        await t.settled()

    assert len(turns) == 100


def test_what_goes_on_in_spite_of_a_guard_does_not_fill_the_trace(exporter: InMemorySpanExporter) -> None:
    class Bounded(Pair):
        @on
        async def note(self, note: Note, ctx: Context) -> None:
            turns.append(ctx.id)
            if len(turns) < 2_000:
                await ctx.tell("right" if ctx.id == "desk/left" else "left", note)

    @virtual
    async def run() -> None:
        children = [child(Bounded, id="left"), child(Bounded, id="right")]
        async with TestApp(App("desk", Supervisor(children=children), guards=Guards(top=Rung.ANNOTATE))) as t:
            await t.tell("left", Note())
            await t.settled()

    run()

    assert len(turns) == 2_000
    assert {each["regrow.guard.rung"] for each in findings(exporter)} == {"annotate"}
    assert len(list(findings(exporter))) == 20  # each of both the first, second, fourth and so on to the 512th time


class Seen(BaseModel):
    notes: int = 0


class Keeps(DurableAgent[Seen]):
    """Passes on what it is told, and changes nothing."""

    @on
    async def note(self, note: Note, ctx: DurableContext) -> None:
        turns.append(ctx.id)
        if note.left:
            self.state = Seen(notes=self.state.notes + 1)
        if len(turns) < 60:
            await ctx.tell("right" if ctx.id == "desk/left" else "left", note)


def kept() -> App:
    return App("desk", Supervisor(children=[child(Keeps, id="left"), child(Keeps, id="right")]), journal="memory")


@virtual
async def test_durable_agents_whose_state_stays_the_same_are_stopped_and_those_whose_state_changes_go_on() -> None:
    async with TestApp(kept()) as t:
        await t.tell("left", Note())
        await t.settled()
        stopped = len(turns)
        turns.clear()
        await t.tell("left", Note(left=1))
        await t.settled()

    assert (stopped, len(turns)) == (7, 60)


@virtual
async def test_a_restart_in_the_circle_does_not_reset_it() -> None:
    async with TestApp(kept()) as t:
        t.crash_on(Note, times=2)
        await t.tell("left", Note())
        await t.settled()

        assert t.restarts("left") == 2
    assert len(turns) == 7


looks: list[str] = []


@tool
async def look(at: str, request_id: str = "") -> str:
    """Looks at something."""
    looks.append(at)
    return json.dumps({"at": at, "found": 0, "request_id": request_id})


class Looks(Agent):
    tools = [look]

    @on
    async def ask(self, ask: Ask, ctx: Context) -> str:
        return await ctx.tools.call(look, {"at": ask.text, "request_id": ask.request_id})


class Boss(Agent):
    """Asks the other one the same, again and again."""

    @on
    async def start(self, request: Start, ctx: Context) -> str:
        for number in range(20):
            await ctx.ask("looks", Ask(text="door", request_id=str(number)))
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


@virtual
async def test_what_the_app_polls_is_not_counted() -> None:
    async with TestApp(watching(Guards(polls=frozenset({"look"})))) as t:
        assert await t.ask("boss", Start()) == "done"

    assert len(looks) == 20


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
