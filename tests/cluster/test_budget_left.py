"""What `ctx.budget` says is left: of the loop on whose behalf a turn runs, of its run, of the app, and of its time."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Request, Supervisor, child, on
from regrow.actors import BudgetLeft
from regrow.actors.tool import tool
from regrow.cluster.config import Settings
from regrow.router.conversation import ToolCall
from regrow.router.request import Work
from regrow.runtime.guards import Guards
from regrow.runtime.testing import pass_time, virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import PRICED, calling, saying

CENT = {"input_tokens": 900, "output_tokens": 100}


class Look(Request[BudgetLeft]):
    """Has the agent call its model so many times, and look then."""

    calls: int = 0


class Looker(Agent):
    @on
    async def look(self, request: Look, ctx: Context) -> BudgetLeft:
        for _ in range(request.calls):
            await ctx.models.complete(Work.REASON, "Think")
        return await ctx.budget.left()


def desk(guards: Guards | None = None) -> App:
    return App("desk", Supervisor(children=[child(Looker, id="looker")]), guards=guards)


def with_budget(usd: float) -> Settings:
    return PRICED.model_copy(update={"models": PRICED.models.model_copy(update={"budget_usd": usd})})


@virtual
async def test_where_nothing_limits_a_turn_its_deadline_alone_is_told() -> None:
    async with TestApp(desk(), models=ScriptedModel([])) as t:
        left = await t.ask("looker", Look(), timeout_s=20)

    assert left.model_copy(update={"time_s": None}) == BudgetLeft()
    assert left.time_s == pytest.approx(20, abs=0.1)


@virtual
async def test_of_a_run_is_told_what_its_caps_leave() -> None:
    guards = Guards(max_calls=5, max_tokens=3_000, max_cost_usd=0.05, max_s=15)
    async with TestApp(desk(guards), models=ScriptedModel([saying("x", **CENT)] * 2), settings=PRICED) as t:
        left = await t.ask("looker", Look(calls=2), timeout_s=20)

    assert (left.calls, left.tokens) == (3, 1_000)
    assert left.cost_usd == pytest.approx(0.03)
    assert left.time_s == pytest.approx(15, abs=0.1)


@virtual
async def test_the_budget_of_the_app_is_told_where_it_is_the_least_and_never_below_nothing() -> None:
    guards = Guards(max_cost_usd=0.05)
    async with TestApp(desk(guards), models=ScriptedModel([saying("x", **CENT)]), settings=with_budget(0.03)) as t:
        left = await t.ask("looker", Look(calls=1))
        assert left.cost_usd == pytest.approx(0.02)
    async with TestApp(desk(), models=ScriptedModel([]), settings=with_budget(0.0)) as t:
        assert (await t.ask("looker", Look())).cost_usd == 0


@tool
async def think(ctx: Context) -> str:
    """Has a model say something, and tells what is left then."""
    await ctx.models.complete(Work.REASON, "Think")
    left = await ctx.budget.left()
    return f"${left.cost_usd:.2f} and {left.tokens} tokens"


@virtual
async def test_inside_of_a_loop_it_is_what_the_loop_has_left() -> None:
    class Loops(Looker):
        tools = [think]

        @on
        async def look(self, request: Look, ctx: Context) -> BudgetLeft:
            answer = await ctx.models.run("Go", max_cost=0.10, max_tokens=10_000)
            told.append(answer.calls[0].told)
            return BudgetLeft()

    told: list[str] = []
    script = [calling(ToolCall(id="1", name="think", arguments="{}"), **CENT), saying("x", **CENT), saying("x", **CENT)]
    app = App("desk", Supervisor(children=[child(Loops, id="looker")]))
    async with TestApp(app, models=ScriptedModel(script), settings=PRICED) as t:
        await t.ask("looker", Look())

    assert told == ["$0.08 and 8000 tokens"]


class Nothing(BaseModel):
    pass


class Clerk(DurableAgent[Nothing]):
    @on
    async def look(self, request: Look, ctx: DurableContext) -> BudgetLeft:
        seen.append(await ctx.budget.left())
        await pass_time(1)
        if len(seen) == 1:
            raise ValueError("it faints")
        return seen[-1]


seen: list[BudgetLeft] = []


@virtual
async def test_a_durable_turn_that_is_run_again_sees_what_it_has_seen_before() -> None:
    seen.clear()
    app = App("desk", Supervisor(children=[child(Clerk, id="clerk")]), journal="memory", guards=Guards(max_s=100))
    async with TestApp(app, models=ScriptedModel([])) as t:
        left = await t.ask("clerk", Look())

    assert seen == [left, left]
    assert left.time_s is not None


class LoopingClerk(DurableAgent[Nothing]):
    tools = [think]

    @on
    async def look(self, request: Look, ctx: DurableContext) -> BudgetLeft:
        answer = await ctx.models.run("Go", max_cost=0.10, max_tokens=10_000)
        told_in_durable.append(answer.calls[0].told)
        if len(told_in_durable) == 1:
            raise ValueError("it faints")
        return BudgetLeft()


told_in_durable: list[str] = []


@virtual
async def test_a_tool_of_a_durable_loop_may_look_and_its_turn_be_run_again() -> None:
    told_in_durable.clear()
    script = [calling(ToolCall(id="1", name="think", arguments="{}"), **CENT), saying("x", **CENT), saying("x", **CENT)]
    app = App("desk", Supervisor(children=[child(LoopingClerk, id="clerk")]), journal="memory")
    async with TestApp(app, models=ScriptedModel(script), settings=PRICED) as t:
        await t.ask("clerk", Look())

    assert told_in_durable == ["$0.08 and 8000 tokens"] * 2
