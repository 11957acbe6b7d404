"""Models and memory that die, hang or refuse for a while: agents live, and a durable turn asks again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Supervisor, child, on
from regrow.actors.errors import ServiceLost
from regrow.actors.loop_errors import CostUsedUp, LoopEnded, ModelFailed, model_failed
from regrow.actors.tool import tool
from regrow.memory.requests import Recall, Recalled
from regrow.router.errors import BudgetExceeded, ProviderFailed, RateLimited
from regrow.router.provider import ProviderReply
from regrow.runtime.address import ActorId
from regrow.runtime.errors import Refused
from regrow.runtime.testing import pass_time, virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import Do, call, looped

AGENTS = 8
MODELS = "desk:services/models"
LOOKED: list[str] = []


@tool(idempotent=True)
async def look() -> str:
    """Looks."""
    await pass_time(1)
    LOOKED.append("look")
    return "seen"


class Nothing(BaseModel):
    done: int = 0


class Plain(Agent):
    tools = [look]

    @on
    async def do(self, request: Do, ctx: Context) -> str:
        return (await ctx.models.run("Go")).text


class Telling(Agent):
    """Hands on what its model writes."""

    @on
    async def do(self, request: Do, ctx: Context) -> str:
        async def take(text: str) -> None:
            await pass_time(1)

        return (await ctx.models.run("Go", on_text=take)).text


class Durable(DurableAgent[Nothing]):
    tools = [look]

    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        answer = await ctx.models.run("Go")
        self.state.done += 1
        return f"{answer.text} after {[each.told for each in answer.calls]}"


class SlowModel(ScriptedModel):
    """Takes some time for each call."""

    def __init__(self, script: list[Any], seconds: float) -> None:
        super().__init__(script, may_be_left=True, repeat_last=True)
        self.seconds = seconds

    async def complete(self, request: Any, card: Any) -> ProviderReply:
        await pass_time(self.seconds)
        return await super().complete(request, card)


def app_of(agent: type[Agent], *, agents: int = AGENTS) -> App:
    return App("desk", Supervisor(children=[child(agent, id=f"a{number}") for number in range(agents)]))


def asks(t: TestApp, timeout_s: float, *, agents: int = AGENTS) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(t.ask(f"a{number}", Do(), timeout_s=timeout_s)) for number in range(agents)]


def restarts(t: TestApp, *, agents: int = AGENTS) -> int:
    return sum(t.restarts(f"a{number}") for number in range(agents))


@pytest.mark.parametrize("plain", [Plain, Telling])
@virtual
async def test_a_death_of_the_models_ends_no_plain_agent_that_waits_for_them(plain: type[Agent]) -> None:
    async with TestApp(app_of(plain), models=SlowModel(["fine"], 10)) as t:
        waiting = asks(t, 100)
        await t.advance(3)
        await t.kill(MODELS)
        ended = await asyncio.gather(*waiting, return_exceptions=True)

        assert all(isinstance(each, ModelFailed) and each.failure == "ServiceLost" for each in ended)
        assert "desk:services/models gave desk/a0 no answer" in str(ended[0])
        assert await t.ask("a1", Do(), timeout_s=50) == "fine"
        assert restarts(t) == 0


@virtual
async def test_a_durable_turn_asks_the_next_life_of_the_models() -> None:
    async with TestApp(app_of(Durable), models=SlowModel(["fine"], 10), journal="memory") as t:
        waiting = asks(t, 100)
        await t.advance(3)
        await t.kill(MODELS)

        assert await asyncio.gather(*waiting) == ["fine after []"] * AGENTS
        assert restarts(t) == 0


@virtual
async def test_a_model_that_takes_longer_than_a_service_may_ends_no_agent() -> None:
    async with TestApp(app_of(Plain), models=SlowModel(["late"], 130)) as t:
        ended = await asyncio.gather(*asks(t, 500), return_exceptions=True)

        assert {type(each) for each in ended} == {ModelFailed}
        assert "did not answer ModelRequest within 120 s" in str(ended[0])
        assert restarts(t) == 0


@pytest.mark.slow
@virtual
async def test_at_each_moment_the_models_may_die_and_a_durable_loop_has_one_answer() -> None:
    for tenths in range(1, 36, 5):
        LOOKED.clear()
        model = SlowModel([(call("look", id="1"), call("look", id="2")), "done"], 1.0)
        async with TestApp(app_of(Durable, agents=1), models=model, journal="memory") as t:
            waiting = asks(t, 100, agents=1)
            await t.advance(tenths / 10)
            await t.kill(MODELS)

            assert await asyncio.gather(*waiting) == ["done after ['seen', 'seen']"], tenths
            assert LOOKED == ["look", "look"], tenths
            assert restarts(t, agents=1) == 0


@virtual
async def test_what_a_provider_refuses_for_a_while_is_asked_again_in_a_durable_turn() -> None:
    script: list[Any] = [RateLimited("too many calls", retry_after_s=7.0), RateLimited("too many calls"), "fine"]
    loop = asyncio.get_running_loop()
    async with TestApp(app_of(Durable, agents=1), models=ScriptedModel(script), journal="memory") as t:
        began_s = loop.time()

        assert await t.ask("a0", Do(), timeout_s=100) == "fine after []"
        assert 9.0 <= loop.time() - began_s < 10.0


@virtual
async def test_a_provider_that_goes_on_to_refuse_or_says_to_come_back_too_late_refuses_the_message() -> None:
    for script, asked in (([RateLimited("no")], 5), ([RateLimited("no", retry_after_s=3_600.0)], 1)):
        model = ScriptedModel(script, repeat_last=True)
        async with TestApp(app_of(Durable, agents=1), models=model, journal="memory") as t:
            with pytest.raises(ModelFailed, match="RateLimited: no") as ended:
                await t.ask("a0", Do(), timeout_s=200)

            assert len(model.requests) == asked
            assert ended.value.failure == "RateLimited"


@virtual
async def test_what_a_provider_refuses_for_good_is_asked_once() -> None:
    model = ScriptedModel([ProviderFailed("never")], repeat_last=True)
    async with TestApp(app_of(Durable, agents=1), models=model, journal="memory") as t:
        with pytest.raises(ModelFailed):
            await t.ask("a0", Do(), timeout_s=200)

        assert len(model.requests) == 1


@virtual
async def test_a_loop_that_its_provider_ends_says_what_was_spent_said_and_called_and_can_be_gone_on_with() -> None:
    ends: list[LoopEnded] = []

    async def use(ctx: Context) -> Any:
        try:
            return await ctx.models.run("Go")
        except LoopEnded as error:
            ends.append(error)
            return await ctx.models.run(error.messages)

    script = [call("look"), RateLimited("429", retry_after_s=3.0), "done"]
    stand = await looped(use, script, tools=[look])

    [end] = ends
    assert isinstance(end, ModelFailed)
    assert isinstance(end.__cause__, RateLimited)
    assert (end.turns, end.failure, end.retry_after_s, [each.told for each in end.calls]) == (
        1,
        "RateLimited",
        3.0,
        ["seen"],
    )
    assert (stand.answer.text, len(stand.model.requests[-1].messages)) == ("done", 3)


def test_the_budget_of_the_app_ends_a_loop_as_its_own_cap_does() -> None:
    assert isinstance(model_failed("desk/a", BudgetExceeded("it is spent")), CostUsedUp)
    assert isinstance(model_failed("desk/a", Refused("no")), ModelFailed)


# ---- memory --------------------------------------------------------------------------------------


class Oblivious(Agent):
    """Stands for the memory."""

    @on
    async def recall(self, request: Recall) -> Recalled:
        return Recalled(hits=())


class Plain2(Agent):
    @on
    async def do(self, request: Do, ctx: Context) -> str:
        ctx.runtime.services["memory"] = ActorId("desk/memory")
        return str(len(await ctx.memory.recall("rivers")))


class Durable2(DurableAgent[Nothing]):
    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        ctx.runtime.services["memory"] = ActorId("desk/memory")
        return str(len(await ctx.memory.recall("rivers")))


@virtual
async def test_memory_that_dies_refuses_a_plain_agent_and_answers_a_durable_one_in_its_next_life() -> None:
    children = [child(Oblivious, id="memory"), child(Plain2, id="plain"), child(Durable2, id="durable")]
    async with TestApp(App("desk", Supervisor(children=children)), journal="memory") as t:
        t.crash_on(Recall, times=1)
        with pytest.raises(ServiceLost, match="desk/memory gave desk/plain no answer"):
            await t.ask("plain", Do())

        t.crash_on(Recall, times=1)
        assert await t.ask("durable", Do()) == "0"
        assert (t.restarts("memory"), t.restarts("plain"), t.restarts("durable")) == (2, 0, 0)
