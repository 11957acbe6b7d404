"""Calls of models at once, and calls that nobody waits for any more, within the caps of their run (decision 0039)."""

from __future__ import annotations

import asyncio

import pytest

from regrow import Agent, App, Context, Request, Supervisor, child, on
from regrow.router.catalog import ModelCard
from regrow.router.provider import Emit, ProviderReply
from regrow.router.request import ModelRequest, Work
from regrow.runtime.guard_errors import RunUsedUp
from regrow.runtime.guards import Guards
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.run_store import Amounts
from regrow.runtime.testing import pass_time, virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import PRICED, saying

AT_ONCE = 32
CENT = saying("x", 600, 400)
HALF_A_CENT_OUT = 500
"""So many tokens of a model whose million costs ten dollars."""


class Slow(ScriptedModel):
    """Takes a second for each answer."""

    async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
        await pass_time(1.0)
        return await super().complete(request, card)

    async def stream(self, request: ModelRequest, card: ModelCard, emit: Emit) -> ProviderReply:
        await emit("so ")
        return await super().stream(request, card, emit)


class Go(Request[str]):
    times: int = AT_ONCE


class Asks(Agent):
    """Asks its model so many things at once, and says how many answers it got."""

    @on
    async def go(self, go: Go, ctx: Context) -> str:
        asked = [
            ctx.models.complete(Work.REASON, f"question {number}", max_output_tokens=HALF_A_CENT_OUT)
            for number in range(go.times)
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(each) for each in answers if isinstance(each, Exception)} <= {RunUsedUp}
        return str(sum(not isinstance(each, BaseException) for each in answers))


def app_of(agent: type[Agent], guards: Guards) -> App:
    return App("desk", Supervisor(children=[child(agent, id="asks")]), guards=guards)


def counted(t: TestApp) -> list[Amounts]:
    """What the runs of an app have come to."""
    runs = t.running.engine.runtime.guarding.runs
    assert isinstance(runs, MemoryRuns)
    return [run.counts for run in runs._runs.values()]  # pyright: ignore[reportPrivateUsage]


@virtual
@pytest.mark.parametrize(
    ("guards", "answers"),
    [(Guards(max_cost_usd=0.02), "4"), (Guards(max_tokens=2_000), "4"), (Guards(max_cost_usd=10.0), str(AT_ONCE))],
)
async def test_calls_at_once_pass_a_cap_by_no_more_than_one_alone_does(guards: Guards, answers: str) -> None:
    half_a_cent = saying("x", 100, 400)
    model = Slow([half_a_cent], repeat_last=True)
    async with TestApp(app_of(Asks, guards), models=model, settings=PRICED) as t:
        assert await t.ask("asks", Go()) == answers

        assert [each.cost_nusd for each in counted(t)] == [int(answers) * 5_000_000]


@virtual
async def test_what_a_call_did_not_come_to_is_there_for_the_next_one() -> None:
    class AsksTwice(Asks):
        @on
        async def go(self, go: Go, ctx: Context) -> str:
            first = await super().go(go, ctx)
            return f"{first} {await super().go(go, ctx)}"

    async with TestApp(
        app_of(AsksTwice, Guards(max_cost_usd=0.02)),
        models=Slow([saying("x", 1, 1)], repeat_last=True),
        settings=PRICED,
    ) as t:
        assert await t.ask("asks", Go(times=3)) == "3 3"


@virtual
async def test_a_call_that_nobody_waits_for_counts_with_all_that_was_held_back_for_it() -> None:
    class Leaves(Agent):
        @on
        async def go(self, go: Go, ctx: Context) -> str:
            async with ctx.models.stream(Work.REASON, "Think", max_output_tokens=HALF_A_CENT_OUT) as stream:
                async for _ in stream:
                    break
            return "left"

    async with TestApp(
        app_of(Leaves, Guards(max_calls=9)), models=Slow([CENT], may_be_left=True), settings=PRICED
    ) as t:
        assert await t.ask("asks", Go()) == "left"
        await t.advance(0.5)

        (left,) = counted(t)
        assert (left.calls, left.cost_nusd) == (1, 5_020_000)  # five hundred tokens, and the two of the question
        runs = t.running.engine.runtime.guarding.runs
        assert isinstance(runs, MemoryRuns)
        assert [run.open for run in runs._runs.values()] == [{}]  # pyright: ignore[reportPrivateUsage]
