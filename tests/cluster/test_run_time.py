"""The seconds of a run: what is under way when they are over is refused then (decision 0046)."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Message, Supervisor, child, on
from regrow.actors.tool import tool
from regrow.router.catalog import ModelCard
from regrow.router.provider import ProviderReply
from regrow.router.request import ModelRequest, Work
from regrow.runtime.guard_errors import RunUsedUp
from regrow.runtime.guards import Guards, Rung
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.run_store import Amounts, Taken
from regrow.runtime.testing import pass_time, virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import saying
from tests.cluster.guarded import Ask, Start

MAX_S = 45.0
LONG_S = 400.0
GUARDS = Guards(max_s=MAX_S)

log: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_yet() -> None:
    log.clear()


class Sleeps(Agent):
    """Answers after as many seconds as it is asked for."""

    @on
    async def ask(self, ask: Ask, ctx: Context) -> str:
        await pass_time(float(ask.text))
        log.append("awake")
        return "awake"


class Boss(Agent):
    """Asks the other one, which takes its time, twice."""

    @on
    async def start(self, request: Start, ctx: Context) -> str:
        log.append(ctx.run)
        await ctx.ask("sleeps", Ask(text="30"), timeout_s=LONG_S)
        return await ctx.ask("sleeps", Ask(text="300"), timeout_s=LONG_S)


class Chief(Agent):
    """Asks the boss, and learns what came of it."""

    @on
    async def start(self, request: Start, ctx: Context) -> str:
        return await ctx.ask("boss", Start(), timeout_s=LONG_S)


def asking(guards: Guards = GUARDS) -> App:
    children = [child(Boss, id="boss"), child(Sleeps, id="sleeps"), child(Chief, id="chief")]
    return App("desk", Supervisor(children=children), guards=guards)


async def refused_after(t: TestApp, agent: str) -> tuple[float, RunUsedUp]:
    """How many seconds passed until what was asked of an agent was refused, and how."""
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(RunUsedUp, match=r"come to 45\.0 s, and max_s=45\.0 is its cap; what was under way") as refused:
        await t.ask(agent, Start(), timeout_s=LONG_S)
    return asyncio.get_running_loop().time() - began_s, refused.value


@virtual
async def test_an_ask_that_is_under_way_is_refused_when_the_seconds_of_its_run_are_over() -> None:
    async with TestApp(asking()) as t:
        took_s, refused = await refused_after(t, "boss")

        assert MAX_S <= took_s <= MAX_S + 1
        assert (refused.evidence["cap"], refused.evidence["limit"]) == ("max_s", MAX_S)
        assert [t.restarts(each) for each in ("boss", "sleeps")] == [0, 0]
        await t.advance(LONG_S)
        assert log[1:] == ["awake", "awake"]  # a handler that only sleeps is not reached


@virtual
async def test_so_are_the_asks_of_all_agents_of_the_run() -> None:
    async with TestApp(asking()) as t:
        took_s, _ = await refused_after(t, "chief")

    assert MAX_S <= took_s <= MAX_S + 1


@virtual
async def test_a_run_of_which_the_store_knows_that_it_began_earlier_ends_earlier() -> None:
    async with TestApp(asking()) as t:
        asked = asyncio.ensure_future(t.ask("boss", Start(), timeout_s=LONG_S))
        await t.advance(20.0)
        ends = t.running.engine.runtime.guarding.ends
        assert ends is not None
        ends.heard(log[0], Taken(counts=Amounts(), age_s=MAX_S - 5.0))
        await t.advance(4.0)
        assert not asked.done()
        await t.advance(1.5)

        with pytest.raises(RunUsedUp):
            await asked


@virtual
async def test_below_refuse_what_is_under_way_goes_on() -> None:
    async with TestApp(asking(Guards(max_s=MAX_S, top=Rung.WARN))) as t:
        assert await t.ask("boss", Start(), timeout_s=LONG_S) == "awake"


class Go(Message):
    """Has the late one begin."""


class Late(Agent):
    """Is told late in a run, and asks then."""

    @on
    async def go(self, go: Go, ctx: Context) -> None:
        began_s = asyncio.get_running_loop().time()
        try:
            await ctx.ask("sleeps", Ask(text="300"), timeout_s=LONG_S)
        finally:
            log.append(f"{asyncio.get_running_loop().time() - began_s:.0f}")


class Tells(Agent):
    @on
    async def start(self, request: Start, ctx: Context) -> str:
        await ctx.ask("sleeps", Ask(text="0"))
        await pass_time(30.0)
        await ctx.tell("late", Go())
        return "told"


@virtual
async def test_seconds_count_from_the_first_message_and_not_from_the_call() -> None:
    children = [child(Tells, id="tells"), child(Late, id="late"), child(Sleeps, id="sleeps")]
    async with TestApp(App("desk", Supervisor(children=children), guards=GUARDS)) as t:
        await t.ask("tells", Start(), timeout_s=LONG_S)
        await t.advance(LONG_S)

    assert log == ["awake", "15", "awake"]


@tool(timeout_s=900)
async def dig() -> str:
    """Digs for long."""
    try:
        await pass_time(LONG_S)
    except asyncio.CancelledError:
        log.append("cancelled")
        raise
    return "dug"


class Digs(Agent):
    tools = [dig]

    @on
    async def start(self, request: Start, ctx: Context) -> str:
        return await ctx.tools.call(dig)


class Till(BaseModel):
    digs: int = 0


class DigsForGood(DurableAgent[Till]):
    """Goes on where it is refused, and crashes once behind that."""

    tools = [dig]

    @on
    async def start(self, request: Start, ctx: DurableContext) -> str:
        log.append("begun")
        try:
            await ctx.tools.call(dig)
        except RunUsedUp as refused:
            if log.count("begun") == 1:
                raise RuntimeError("behind the refusal") from refused
            return f"{refused.evidence['cap']}"
        return "dug"


@virtual
async def test_a_tool_that_is_under_way_is_cancelled_then() -> None:
    async with TestApp(App("desk", Supervisor(children=[child(Digs, id="digs")]), guards=GUARDS)) as t:
        took_s, _ = await refused_after(t, "digs")

    assert MAX_S <= took_s <= MAX_S + 1
    assert log == ["cancelled"]


@virtual
async def test_a_durable_turn_that_is_run_again_is_refused_the_same_and_calls_nothing_again() -> None:
    app = App("desk", Supervisor(children=[child(DigsForGood, id="digs")]), journal="memory", guards=GUARDS)
    async with TestApp(app) as t:
        assert await t.ask("digs", Start(), timeout_s=LONG_S) == "max_s"

    assert log == ["begun", "cancelled", "begun"]


class Slow(ScriptedModel):
    """Thinks for longer than anybody waits."""

    async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
        await pass_time(LONG_S)
        return await super().complete(request, card)


class Asks(Agent):
    @on
    async def start(self, request: Start, ctx: Context) -> str:
        return (await ctx.models.complete(Work.REASON, "Think")).text


@virtual
async def test_a_model_that_is_under_way_is_cancelled_then_and_counts_with_what_it_may_come_to() -> None:
    app = App("desk", Supervisor(children=[child(Asks, id="asks")]), guards=GUARDS)
    async with TestApp(app, models=Slow([saying("x")], may_be_left=True)) as t:
        took_s, _ = await refused_after(t, "asks")
        await t.settled()
        runs = t.running.engine.runtime.guarding.runs
        assert isinstance(runs, MemoryRuns)
        (run,) = runs._runs.values()  # pyright: ignore[reportPrivateUsage]

        assert MAX_S <= took_s <= MAX_S + 1
        assert run.open == {}
        assert (run.counts.calls, run.counts.tokens > 0) == (1, True)
