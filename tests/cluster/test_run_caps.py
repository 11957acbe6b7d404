"""The caps of a run, as a user meets them: messages, calls, tokens, money and time (decision 0039)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    Context,
    DurableAgent,
    DurableContext,
    Message,
    OutOfBudget,
    Request,
    Supervisor,
    child,
    on,
)
from regrow.actors.tool import tool
from regrow.cluster.config import GuardSettings, Settings
from regrow.router.conversation import ToolCall
from regrow.router.errors import BudgetExceeded, ProviderFailed, ProviderTimedOut
from regrow.router.request import Work
from regrow.runtime import message_count
from regrow.runtime.envelope import Origin
from regrow.runtime.errors import InvalidDefinition
from regrow.runtime.guard_errors import RunUsedUp
from regrow.runtime.guards import Guards, Rung
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.run_store import NOTHING, Amounts, Taken
from regrow.runtime.testing import pass_time, virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import PRICED, calling, saying

done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


class Note(Message):
    number: int


class Do(Request[str]):
    """Has the agent do what the test has set."""

    times: int = 0


class Listener(Agent):
    @on
    async def note(self, note: Note) -> None:
        done.append(f"note {note.number}")


class Speaker(Agent):
    """Tells the other one so many notes."""

    @on
    async def do(self, request: Do, ctx: Context) -> str:
        for number in range(request.times):
            await ctx.tell("listener", Note(number=number))
            await pass_time(0.001)
        return "said"


def speaking(guards: Guards) -> App:
    return App(
        "desk", Supervisor(children=[child(Speaker, id="speaker"), child(Listener, id="listener")]), guards=guards
    )


@virtual
async def test_a_run_may_send_so_many_messages_and_the_next_run_as_many() -> None:
    async with TestApp(speaking(Guards(max_messages=10))) as t:
        for _ in range(2):
            done.clear()
            with pytest.raises(RunUsedUp, match=r"has come to 10 messages, and max_messages=10 is its cap") as refused:
                await t.ask("speaker", Do(times=50))
            await t.settled()
            assert len(done) == 10
            assert isinstance(refused.value, OutOfBudget)
            assert refused.value.evidence["cap"] == "max_messages"
            assert (refused.value.evidence["messages"], refused.value.evidence["refused"]) == (10, 1)
        assert await t.ask("speaker", Do(times=10)) == "said"
        assert t.restarts("speaker") == 0


@virtual
async def test_who_goes_on_sending_behind_a_cap_is_told_how_much_of_it_went_nowhere() -> None:
    class Stubborn(Speaker):
        @on
        async def do(self, request: Do, ctx: Context) -> str:
            for _ in range(request.times):
                with suppress(RunUsedUp):
                    await ctx.tell("listener", Note(number=0))
            await ctx.tell("listener", Note(number=1))
            return "said"

    children = [child(Stubborn, id="speaker"), child(Listener, id="listener")]
    async with TestApp(App("desk", Supervisor(children=children), guards=Guards(max_messages=10))) as t:
        with pytest.raises(RunUsedUp, match=r"come to 10 messages.*so 21 messages more went nowhere from here") as told:
            await t.ask("speaker", Do(times=30))

    assert (told.value.evidence["messages"], told.value.evidence["refused"]) == (10, 21)
    assert len(done) == 10


@virtual
async def test_the_run_that_was_silent_for_longest_is_forgotten_and_not_the_one_that_began_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(message_count, "MAX_RUNS", 3)
    async with TestApp(speaking(Guards(max_messages=3))) as t:
        messages = t.running.engine.runtime.guarding.messages
        assert messages is not None
        for run in ("first", "second", "third", "first", "first", "fourth"):  # at once, before the store answers
            messages.sent(Origin(run=run))

        with pytest.raises(RunUsedUp):
            messages.sent(Origin(run="first"))


@virtual
async def test_a_run_may_take_so_long_by_its_first_count() -> None:
    class Slow(Speaker):
        @on
        async def do(self, request: Do, ctx: Context) -> str:
            for number in range(request.times):
                await ctx.tell("listener", Note(number=number))
                await pass_time(10.0)
            return "said"

    app = App(
        "desk",
        Supervisor(children=[child(Slow, id="speaker"), child(Listener, id="listener")]),
        guards=Guards(max_s=45.0),
    )
    async with TestApp(app) as t:
        with pytest.raises(RunUsedUp, match=r"has come to 50\.0 s, and max_s=45\.0 is its cap"):
            await t.ask("speaker", Do(times=50), timeout_s=1_000)

    assert len(done) == 5


@virtual
async def test_below_refuse_a_cap_only_says_that_it_is_passed() -> None:
    async with TestApp(speaking(Guards(max_messages=10, top=Rung.WARN))) as t:
        assert await t.ask("speaker", Do(times=50)) == "said"

    assert len(done) == 50


@tool
async def look(at: int) -> int:
    """Looks at something."""
    done.append(f"look {at}")
    return at


class Looker(Agent):
    tools = [look]

    @on
    async def do(self, request: Do, ctx: Context) -> str:
        await ctx.tools.call(look, {"at": request.times})
        return "seen"


class Boss(Agent):
    """Has the other one look, which is killed between any two looks."""

    @on
    async def do(self, request: Do, ctx: Context) -> str:
        for number in range(request.times):
            await ctx.ask("looker", Do(times=number))
            await stage[-1].kill("looker")
        return "done"


stage: list[TestApp] = []


def looking(guards: Guards) -> App:
    children = [child(Boss, id="boss"), child(Looker, id="looker")]
    return App("desk", Supervisor(children=children, max_restarts=1000), guards=guards)


@virtual
async def test_calls_of_a_run_are_counted_over_the_restarts_of_its_agents() -> None:
    async with TestApp(looking(Guards(max_calls=5))) as t:
        stage.append(t)
        with pytest.raises(RunUsedUp, match="has come to 5 calls, and max_calls=5 is its cap"):
            await t.ask("boss", Do(times=20))

        assert t.restarts("looker") == 5
    assert len(done) == 5


class Asks(Agent):
    """Asks its model, so many times."""

    tools = [look]

    @on
    async def do(self, request: Do, ctx: Context) -> str:
        for number in range(request.times):
            await ctx.models.complete(Work.REASON, f"question {number}")
            done.append(f"answer {number}")
        return "answered"


def asking(guards: Guards) -> App:
    return App("desk", Supervisor(children=[child(Asks, id="asks")]), guards=guards)


@virtual
async def test_no_model_is_called_once_a_run_has_come_to_its_tokens() -> None:
    model = ScriptedModel([saying("x", 60, 40)], repeat_last=True)
    async with TestApp(asking(Guards(max_tokens=350)), models=model) as t:
        with pytest.raises(RunUsedUp, match=r"has come to \d+ tokens, and max_tokens=350 is its cap"):
            await t.ask("asks", Do(times=20))

    assert len(done) == len(model.requests) == 4  # 300 leave room for the question of the fourth, which comes to 400


@virtual
async def test_no_model_is_called_once_a_run_has_come_to_its_money() -> None:
    model = ScriptedModel([saying("x", 600, 400)], repeat_last=True)  # a cent each
    async with TestApp(asking(Guards(max_cost_usd=0.03)), models=model, settings=PRICED) as t:
        with pytest.raises(RunUsedUp) as refused:
            await t.ask("asks", Do(times=20))

    assert refused.value.evidence["cap"] == "max_cost_usd"
    assert len(done) == 4


@virtual
async def test_calls_of_models_and_tools_count_together() -> None:
    class Loops(Asks):
        @on
        async def do(self, request: Do, ctx: Context) -> str:
            return (await ctx.models.run("Go on")).text

    app = App("desk", Supervisor(children=[child(Loops, id="asks")]), guards=Guards(max_calls=5))
    script = [calling(ToolCall(id="1", name="look", arguments=f'{{"at": {number}}}')) for number in range(9)]
    async with TestApp(app, models=ScriptedModel(script, may_be_left=True)) as t:
        with pytest.raises(RunUsedUp, match="has come to 5 calls"):
            await t.ask("asks", Do())

    assert done == ["look 0", "look 1"]  # three calls of the model, and two of the tool


class Till(BaseModel):
    looks: int = 0


class Clerk(DurableAgent[Till]):
    tools = [look]

    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        for number in range(request.times):
            await ctx.tools.call(look, {"at": number})
        return "seen"


@virtual
async def test_a_durable_turn_that_is_run_again_goes_on_counting_where_it_was() -> None:
    app = App("desk", Supervisor(children=[child(Clerk, id="clerk")]), journal="memory", guards=Guards(max_calls=5))
    async with TestApp(app) as t:
        t.crash_on(Do, times=2)
        with pytest.raises(RunUsedUp):
            await t.ask("clerk", Do(times=20))
        assert t.restarts("clerk") == 2

    assert done == [f"look {number}" for number in range(5)]


@virtual
async def test_settings_win_over_the_app_and_may_turn_a_guard_off() -> None:
    settings = Settings(guards=GuardSettings(max_messages="off", hop_limit=7))
    async with TestApp(speaking(Guards(max_messages=10)), settings=settings) as t:
        assert await t.ask("speaker", Do(times=50)) == "said"
        assert t.running.engine.runtime.guarding.guards.hop_limit == 7


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_calls": -1}, "max_calls=-1: give a whole number from 0"),
        ({"max_cost_usd": float("nan")}, "max_cost_usd=nan: give a number, 0 or more"),
        ({"hop_limit": 0}, "hop_limit=0: give a whole number from 1"),
        ({"hop_limit": True}, "hop_limit=True: give a whole number from 1"),
        ({"loop_rounds": 1}, "loop_rounds=1: give a whole number from 2"),
        ({"repeats_warn": 9}, "repeats_warn=9: give a whole number from 2 to repeats_end=5"),
        ({"retry_share": 1.5}, "retry_share=1.5: give a share from 0 to 1"),
        ({"stall_s": 0}, "stall_s=0: give seconds above 0"),
        ({"polls": "look"}, "polls='look': give several names"),
        ({"top": 2}, "top=2: give one of Rung.ANNOTATE, Rung.WARN, Rung.REFUSE, Rung.SUSPEND"),
    ],
)
def test_what_is_no_limit_is_refused_where_it_is_written(fields: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidDefinition, match=said):
        Guards(**fields)  # type: ignore[arg-type]


@virtual
async def test_a_call_that_the_budget_of_the_app_refuses_does_not_count_for_its_run() -> None:
    settings = PRICED.model_copy(update={"models": PRICED.models.model_copy(update={"budget_usd": 0.0})})
    async with TestApp(asking(Guards(max_calls=100)), models=ScriptedModel([]), settings=settings) as t:
        with pytest.raises(BudgetExceeded):
            await t.ask("asks", Do(times=1))
        runs = t.running.engine.runtime.guarding.runs

        assert isinstance(runs, MemoryRuns)
        assert [run.counts.calls for run in runs._runs.values()] == [0]  # pyright: ignore[reportPrivateUsage]


class Tries(Agent):
    """Calls a model that fails."""

    @on
    async def do(self, request: Do, ctx: Context) -> str:
        for _ in range(request.times):
            with suppress(ProviderFailed):
                await ctx.models.complete(Work.REASON, "Think")
        return "gave up"


def test_a_call_that_failed_and_may_have_cost_counts_as_what_it_was_taken_for_and_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, closed = dict[str, Amounts](), dict[str, Amounts]()
    take, settle = MemoryRuns.take, MemoryRuns.settle

    async def taken(
        self: MemoryRuns, run: str, amounts: Amounts, guards: Guards, *, id: str = "", held: Amounts = NOTHING
    ) -> Taken:
        if id:
            opened[id] = amounts.plus(held)
        return await take(self, run, amounts, guards, id=id, held=held)

    async def settled(self: MemoryRuns, run: str, id: str, amounts: Amounts) -> None:
        closed[id] = amounts
        await settle(self, run, id, amounts)

    monkeypatch.setattr(MemoryRuns, "take", taken)
    monkeypatch.setattr(MemoryRuns, "settle", settled)

    @virtual
    async def run() -> None:
        app = App("desk", Supervisor(children=[child(Tries, id="agent")]), guards=Guards(max_calls=20))
        broken = ProviderTimedOut("no answer", may_have_cost=True)
        async with TestApp(app, models=ScriptedModel([broken], repeat_last=True)) as t:
            assert await t.ask("agent", Do(times=2)) == "gave up"

    run()

    assert len(opened) >= 2
    assert closed == opened
