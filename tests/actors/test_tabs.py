"""What the tools of a loop spend, and whom they ask: it is part of what the loop spends, and capped by what is left."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Request, Supervisor, Work, child, on
from regrow.actors.loop_answer import LoopAnswer
from regrow.actors.loop_errors import CostUsedUp, LoopEnded, TokensUsedUp
from regrow.actors.tool import tool
from regrow.router.errors import BudgetExceeded
from regrow.router.request import ModelReply, ModelRequest, Tier, Usage
from regrow.router.tabs import MAX_TABS, Tabs
from regrow.runtime.capability import narrowed, reaches
from regrow.runtime.tab import Tab, tabs_of, with_tab
from regrow.runtime.testing import virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import PRICED, Do, call, calling, looped, saying


class Ask(Request[str]):
    """A question."""

    text: str = ""


@tool
async def look() -> str:
    """Looks."""
    return "seen"


class Analyst(Agent):
    """Answers by its model."""

    tools = [look]

    @on
    async def answer(self, request: Ask, ctx: Context) -> str:
        return (await ctx.models.run("Analyse", max_turns=50)).text


class Middle(Agent):
    """Has another answer."""

    @on
    async def answer(self, request: Ask, ctx: Context) -> str:
        return await ctx.ask("desk/analyst", request)


@tool
async def think(ctx: Context) -> str:
    """Has a model say something."""
    return (await ctx.models.complete(Work.REASON, "Think")).text


ANALYST, MIDDLE = Analyst.as_tool(), Middle.as_tool()
CENT = {"input_tokens": 900, "output_tokens": 100}
DONE = saying("done", **CENT)


def going(**caps: Any) -> Any:
    async def use(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Go", **caps)

    return use


@pytest.mark.parametrize("through", ["analyst", "middle", "think"])
def test_what_a_tool_has_models_do_however_far_away_is_part_of_what_its_loop_has_spent(through: str) -> None:
    @virtual
    async def run() -> None:
        script = [calling(call(through), **CENT), DONE, DONE]
        stand = await looped(going(), script, tools=[ANALYST, MIDDLE, think], settings=PRICED, others=[Analyst, Middle])

        answer = stand.answer
        assert (answer.cost, answer.turns) == (pytest.approx(0.03), 2)
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2_700, 300)

    run()


@pytest.mark.parametrize(
    ("caps", "ended"),
    [({"max_cost": 0.05}, CostUsedUp), ({"max_tokens": 5_000}, TokensUsedUp)],
    ids=["money", "tokens"],
)
@pytest.mark.parametrize("calls", [1, 3])
def test_agents_that_are_asked_spend_no_more_than_their_caller_has_left(
    caps: dict[str, Any], ended: type[LoopEnded], calls: int
) -> None:
    @virtual
    async def run() -> None:
        asked = calling(*[call("middle", id=str(number)) for number in range(calls)], **CENT)
        stand = await looped(
            going(**caps),
            [asked, calling(call("look"), **CENT)],  # the analyst never comes to an end by itself
            tools=[MIDDLE],
            settings=PRICED,
            others=[Analyst, Middle],
            repeat_last=True,
            fails=True,
        )

        assert isinstance(stand.error, ended)
        assert len(stand.model.requests) == 5
        assert stand.error.cost == pytest.approx(0.05)
        assert all("was asked on behalf of a loop" in each.told for each in stand.error.calls)

    run()


@virtual
async def test_what_an_agent_has_spent_that_failed_counts_as_well() -> None:
    class Poor(Agent):
        """Fails behind its model."""

        @on
        async def answer(self, request: Ask, ctx: Context) -> str:
            await ctx.models.complete(Work.REASON, "Think")
            raise ValueError("as the test wants it")

    stand = await looped(
        going(), [calling(call("poor"), **CENT), DONE, DONE], tools=[Poor.as_tool()], settings=PRICED, others=[Poor]
    )

    assert stand.answer.calls[0].outcome == "ToolFailed"
    assert stand.answer.cost == pytest.approx(0.03)


class Nothing(BaseModel):
    runs: int = 0


RUNS: list[int] = []


class Clerk(DurableAgent[Nothing]):
    tools = [ANALYST]

    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        RUNS.append(1)
        answer = await ctx.models.run("Go", max_cost=1.0)
        if len(RUNS) < 3:
            raise ValueError("as the test wants it")
        return json.dumps([answer.text, answer.cost, answer.usage.input_tokens])


@virtual
async def test_in_a_durable_turn_it_is_the_same_whenever_the_turn_is_run() -> None:
    RUNS.clear()
    model = ScriptedModel(
        [calling(call("analyst"), **CENT), DONE, calling(call("analyst", id="2"), **CENT), DONE, DONE]
    )
    children = [child(Clerk, id="clerk"), child(Analyst, id="analyst")]
    app = App("desk", Supervisor(children=children, max_restarts=5))
    async with TestApp(app, models=model, journal="memory", settings=PRICED) as t:
        reply: str = await t.ask("clerk", Do())
    text, cost, tokens = json.loads(reply)

    assert (text, cost, tokens, len(RUNS)) == ("done", pytest.approx(0.05), 4_500, 3)


# ---- the words -----------------------------------------------------------------------------------


def test_a_tab_travels_in_a_capability_and_no_narrowing_loses_it() -> None:
    one, other = Tab(account="desk/a#1/7", max_cost_usd=1e-07, max_tokens=5), Tab(account="b")

    words = with_tab(with_tab(None, one), other)

    assert tabs_of(words) == (one, other)
    assert tabs_of(narrowed(words, ["look"])) == (one, other)
    assert with_tab(words, other) == words
    assert reaches(words, "desk/x")
    assert not reaches(with_tab((), one), "desk/x")
    assert tabs_of(None) == ()


@pytest.mark.parametrize("word", ["$a", "$a x 5", "$a 1 ", "$", "$a 1 2 3"])
def test_a_tab_that_can_not_be_read_lets_nothing_be_spent(word: str) -> None:
    [tab] = tabs_of((word,))

    assert (tab.max_cost_usd, tab.max_tokens) == (0.0, 0)


REQUEST = ModelRequest(work=Work.REASON, prompt="x", agent="desk/a")


def reply(cost_usd: float | None) -> ModelReply:
    return ModelReply(
        text="x",
        tier=Tier.LARGE,
        provider="p",
        model="m",
        usage=Usage(input_tokens=10, output_tokens=10),
        cost_usd=cost_usd,
        latency_s=0.0,
    )


def test_the_least_that_is_left_on_any_tab_counts_and_a_price_that_is_not_known_ends_it() -> None:
    tabs, wide, narrow = Tabs(), Tab(account="a", max_cost_usd=1.0), Tab(account="b", max_cost_usd=0.5)
    tabs.add(reply(0.2), [wide, narrow])

    assert tabs.capped(REQUEST, [wide, narrow]).max_cost_usd == pytest.approx(0.3)
    assert tabs.capped(REQUEST, []) == REQUEST

    tabs.add(reply(None), [wide])
    with pytest.raises(BudgetExceeded, match="a price is not known"):
        tabs.capped(REQUEST, [wide])
    assert tabs.totals("a").cost_usd is None


def test_the_tab_that_was_used_longest_ago_is_forgotten_for_another() -> None:
    tabs = Tabs()
    for number in range(MAX_TABS + 1):
        tabs.add(reply(0.1), [Tab(account=str(number))])

    assert (tabs.totals("0").cost_usd, tabs.totals("1").cost_usd) == (0.0, 0.1)
