"""What stops agents that go round in circles, as a user meets it (decision 0039)."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from regrow import Agent, App, Context, DurableAgent, DurableContext, Message, Refused, Supervisor, child, on
from regrow.runtime import telemetry
from regrow.runtime.envelope import Origin
from regrow.runtime.guard_errors import CausalLoop, GuardTripped, HopsUsedUp
from regrow.runtime.guards import Finding, Guards, Rung, found
from regrow.runtime.testing import virtual
from regrow.supervisors.turn_guard import GROWN_STEPS, MAX_STEPS
from regrow.testing import TestApp
from tests.cluster.guarded import Ask, Seen, exporting, findings
from tests.runtime.recorded import trace_of


class Note(Message):
    text: str = ""
    left: int = 0


class Pass(Message):
    """Pass on what was told."""


turns: list[str] = []
"""The agents whose handlers began, in their order."""


@pytest.fixture(autouse=True)
def _no_turns() -> None:
    turns.clear()


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    return exporting(monkeypatch)


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
        "shown_as": "GUARDRAIL",
        "regrow.guard.name": "CausalLoop",
        "regrow.guard.rung": "refuse",
        "regrow.agent.id": "desk/left",
        "regrow.guard.evidence.rounds": 3,
        "regrow.guard.evidence.agents": 2,
        "regrow.guard.evidence.intent": "Note",
        "regrow.guard.evidence.hops": 6,
    }


@pytest.mark.parametrize("is_current", [True, False])
def test_in_a_trace_that_is_not_recorded_a_finding_has_a_span_in_one_of_its_own(
    exporter: InMemorySpanExporter, is_current: bool
) -> None:
    unrecorded = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    span = trace.NonRecordingSpan(telemetry.span_context_of(unrecorded)) if is_current else trace.INVALID_SPAN
    finding = Finding(error=CausalLoop, text="round and round", evidence={"rounds": 3}, rung=Rung.REFUSE)

    with trace.use_span(span):
        found(finding, Origin(trace=unrecorded), agent="desk/left")

    (told,) = findings(exporter)
    (made,) = exporter.get_finished_spans()
    assert (told["span"], told["shown_as"], told["regrow.guard.name"]) == ("guard", "GUARDRAIL", "CausalLoop")
    assert made.parent is None
    assert not made.links
    assert trace_of(made) != telemetry.span_context_of(unrecorded).trace_id


@virtual
async def test_findings_of_guards_are_counted_by_the_class_of_their_error() -> None:
    async with TestApp(pair()) as t:
        for _ in range(3):
            await t.tell("left", Note())
            await t.settled()

        assert (await t.running.metrics())["total"]["guards"] == {"CausalLoop": 3}


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
async def test_agents_that_keep_what_they_were_told_are_stopped_once_that_is_the_same_for_long() -> None:
    class Keeping(Pair):
        def __init__(self) -> None:
            self.told: list[Note] = []

        @on
        async def note(self, note: Note, ctx: Context) -> None:
            self.told.append(note)
            await super().note(note, ctx)

    class KeepingLeft(Keeping):
        other = "right"

    class KeepingRight(Keeping):
        other = "left"

    app = App("desk", Supervisor(children=[child(KeepingLeft, id="left"), child(KeepingRight, id="right")]))
    async with TestApp(app) as t:
        await t.tell("left", Note())
        await t.settled()

    assert 3 * GROWN_STEPS <= len(turns) <= MAX_STEPS + 2


@virtual
async def test_an_agent_that_ticks_off_what_is_done_goes_on_with_the_same_messages() -> None:
    class Planner(Agent):
        def __init__(self) -> None:
            self.is_done = [False] * 50

        @on
        async def note(self, note: Note, ctx: Context) -> None:
            if not all(self.is_done):
                turns.append(ctx.id)
                self.is_done[self.is_done.index(False)] = True
                await ctx.tell("worker", Note(text="the next one"))

    class Worker(Agent):
        @on
        async def note(self, note: Note, ctx: Context) -> None:
            await ctx.tell("planner", Note(text="done"))

    app = App("desk", Supervisor(children=[child(Planner, id="planner"), child(Worker, id="worker")]))
    async with TestApp(app) as t:
        await t.tell("planner", Note())
        await t.settled()

    assert len(turns) == 50


class Board:
    """State in an object of the app's own."""

    def __init__(self) -> None:
        self.moves = dict.fromkeys(range(1000), "open")


@virtual
async def test_agents_go_on_whose_state_changes_deep_inside_of_an_object_of_theirs() -> None:
    class Player(Agent):
        def __init__(self) -> None:
            self.board = Board()

        @on
        async def note(self, note: Note, ctx: Context) -> None:
            turns.append(ctx.id)
            left = [number for number, move in self.board.moves.items() if move == "open" and number > 950]
            if left:
                self.board.moves[left[0]] = "taken"
                await ctx.tell("black" if ctx.id == "desk/white" else "white", note)

    app = App("desk", Supervisor(children=[child(Player, id="white"), child(Player, id="black")]))
    async with TestApp(app) as t:
        await t.tell("white", Note(text="your move"))
        await t.settled()

    assert len(turns) == 99


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


@pytest.mark.parametrize(("delay_s", "stops"), [(0.1, True), (1.0, False)])
@virtual
async def test_a_timer_that_hardly_waits_breaks_no_circle(delay_s: float, stops: bool) -> None:
    class Later(Pair):
        @on
        async def note(self, note: Note, ctx: Context) -> None:
            turns.append(ctx.id)
            ctx.after(delay_s, Pass())

        @on
        async def pass_on(self, message: Pass, ctx: Context) -> None:
            await ctx.tell("right" if ctx.id == "desk/left" else "left", Note())

    app = App("desk", Supervisor(children=[child(Later, id="left"), child(Later, id="right")]))
    async with TestApp(app) as t:
        await t.tell("left", Note())
        await t.advance(100.0)

        assert ((await t.dead_letters()).total > 0) is stops
        assert (len(turns) < 10) is stops


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
