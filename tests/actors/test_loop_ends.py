"""How an agent loop ends without an answer: named, with what was spent, and nothing hangs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from regrow import Agent, App, AskFailed, AskTimeout, Context, OutOfBudget, Refused, Request, on
from regrow.actors.loop_answer import LoopAnswer
from regrow.actors.loop_errors import CostUsedUp, LoopEnded, RecordsUsedUp, TimeUsedUp, TokensUsedUp, TurnsUsedUp
from regrow.actors.loop_limits import Limits, Spent, why_no_more, why_no_records
from regrow.actors.tool import tool
from regrow.router.catalog import ModelCard
from regrow.router.provider import ProviderReply
from regrow.router.request import ModelRequest
from regrow.runtime.guard_errors import RepeatedCall
from regrow.runtime.testing import pass_time, virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import PRICED, call, calling, looped, saying

done: list[str] = []


class Unheard(Request[str]):
    """What nobody sends."""


@pytest.fixture(autouse=True)
def _nothing_is_done() -> None:
    done.clear()
    errors.clear()


@tool
async def look() -> str:
    """Looks."""
    await pass_time(1)
    done.append("look")
    return "nothing"


@tool(cost_usd=0.01)
async def buy() -> str:
    """Buys."""
    done.append("buy")
    return "bought"


@tool(timeout_s=100)
async def wait() -> str:
    """Waits long."""
    try:
        await pass_time(60)
    except asyncio.CancelledError:
        done.append("cancelled")
        raise
    return ""


TOOLS = [look, buy, wait]


class Do(Request[str]):
    pass


class Shop(Agent):
    """Loops at most twice, and keeps why it ended."""

    tools = [look, wait]

    @on
    async def do(self, request: Do, ctx: Context) -> str:
        try:
            return (await ctx.models.run("Go on", max_turns=2)).text
        except LoopEnded as error:
            errors.append(error)
            raise


errors: list[LoopEnded] = []


def loop(**limits: Any) -> Any:
    async def use(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Go on", **limits)

    return use


@virtual
async def test_a_model_that_never_stops_ends_at_its_turns_with_what_was_spent() -> None:
    stand = await looped(loop(max_turns=3), [calling(call("look"))], tools=TOOLS, repeat_last=True, fails=True)

    error = stand.error
    assert isinstance(error, TurnsUsedUp)
    assert str(error).startswith("desk/shop has called its model 3 times and got no answer, and may not once more")
    assert (error.turns, error.input_tokens, error.output_tokens, error.cost) == (3, 30, 30, 0.0)
    assert [each.outcome for each in error.calls] == ["done", "done"]
    assert len(error.messages) == 6
    assert done == ["look", "look"], "those of the last turn are not run, since nobody would hear of them"


@virtual
async def test_without_a_limit_it_ends_all_the_same() -> None:
    pages = [calling(call("listed", f'{{"folder": "{number}"}}')) for number in range(20)]

    stand = await looped(loop(), pages, tools=[listed], fails=True)

    assert isinstance(stand.error, TurnsUsedUp)
    assert len(stand.model.requests) == 16


@virtual
async def test_an_answer_in_the_last_turn_is_one() -> None:
    stand = await looped(loop(max_turns=2), [call("look"), "done"], tools=TOOLS)

    assert (stand.answer.text, stand.answer.turns) == ("done", 2)


@virtual
async def test_no_call_begins_that_would_pass_the_cap_of_money_if_it_cost_what_the_last_one_did() -> None:
    script = [calling(call("look"), input_tokens=900, output_tokens=100)]  # $0.01 each
    stand = await looped(loop(max_cost=0.05), script, tools=TOOLS, settings=PRICED, repeat_last=True, fails=True)

    error = stand.error
    assert isinstance(error, CostUsedUp)
    assert isinstance(error, OutOfBudget)
    assert (error.turns, error.cost) == (5, pytest.approx(0.05))
    assert "$0.050000" in str(error)
    assert len(done) == 4


@virtual
async def test_what_tools_cost_counts_before_they_run() -> None:
    script = [
        calling(call("look"), input_tokens=900, output_tokens=100),
        calling(*[call("buy", id=str(n)) for n in range(3)]),
    ]
    stand = await looped(loop(max_cost=0.04), script, tools=TOOLS, settings=PRICED, fails=True)

    assert isinstance(stand.error, CostUsedUp)
    assert done == ["look"]


@virtual
async def test_what_tools_have_cost_is_in_the_cost_of_the_answer() -> None:
    script = [calling(call("buy"), input_tokens=900, output_tokens=100), saying("done", 900, 100)]
    stand = await looped(loop(max_cost=0.04), script, tools=TOOLS, settings=PRICED)

    assert stand.answer.cost == pytest.approx(0.03)


@virtual
async def test_no_call_begins_that_would_pass_the_cap_of_tokens() -> None:
    script = [calling(call("look"), input_tokens=60, output_tokens=40)]
    stand = await looped(loop(max_tokens=350), script, tools=TOOLS, repeat_last=True, fails=True)

    error = stand.error
    assert isinstance(error, TokensUsedUp)
    assert (error.turns, error.input_tokens + error.output_tokens) == (3, 300)


@pytest.mark.parametrize(
    ("prompt", "caps", "ended"),
    [
        ("Go", {"max_cost": 0.0}, CostUsedUp),
        ("Go", {"max_tokens": 1}, TokensUsedUp),
        ("word " * 8_000, {"max_tokens": 9_000}, TokensUsedUp),  # of some 10,000 tokens
        ("word " * 8_000, {"max_cost": 0.09}, CostUsedUp),
    ],
    ids=["no money", "one token", "tokens", "money"],
)
def test_the_first_call_is_not_made_where_what_it_sends_alone_would_pass_a_cap(
    prompt: str, caps: dict[str, Any], ended: type[LoopEnded]
) -> None:
    @virtual
    async def run() -> None:
        async def use(ctx: Context) -> LoopAnswer[None]:
            return await ctx.models.run(prompt, **caps)

        stand = await looped(use, ["never"], settings=PRICED, fails=True)

        assert isinstance(stand.error, ended)
        assert (stand.error.turns, stand.model.requests) == (0, [])

    run()


@virtual
async def test_a_tool_that_is_under_way_at_the_deadline_is_cancelled_and_the_agent_lives() -> None:
    stand = await looped(loop(), [calling(call("wait"))], tools=TOOLS, timeout_s=10, fails=True)

    assert isinstance(stand.error, TimeUsedUp)
    assert done == ["cancelled"]
    assert stand.error.turns == 1


@virtual
async def test_a_model_that_never_answers_ends_at_the_deadline() -> None:
    class Slow(ScriptedModel):
        async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
            await pass_time(1_000)
            raise AssertionError("nobody waits for this")

    async with TestApp(App("desk", Shop), models=Slow([])) as t:
        with pytest.raises((TimeUsedUp, AskTimeout)):
            await t.ask("shop", Do(), timeout_s=20)
        await t.advance(1)

        assert [type(error) for error in errors] == [TimeUsedUp]
        assert t.restarts("shop") == 0


@virtual
async def test_who_asked_the_agent_is_told_what_was_spent_and_the_agent_lives() -> None:
    model = ScriptedModel([calling(call("look"))], repeat_last=True)
    async with TestApp(App("desk", Shop), models=model) as t:
        with pytest.raises(TurnsUsedUp) as ended:
            await t.ask("shop", Do())

        assert (ended.value.turns, ended.value.input_tokens) == (2, 20)
        assert t.restarts("shop") == 0


@virtual
async def test_an_agent_that_is_stopped_in_a_loop_cancels_its_tools() -> None:
    model = ScriptedModel([calling(call("wait"), call("wait", id="2"))], may_be_left=True)
    async with TestApp(App("desk", Shop), models=model) as t:
        asking = asyncio.create_task(t.ask("shop", Do()))
        await t.advance(5)
        await t.kill("shop")
        with pytest.raises(AskFailed):
            await asking

    assert done == ["cancelled", "cancelled"]


# ---- the decider ---------------------------------------------------------------------------------


def test_a_price_that_is_not_known_can_not_be_capped() -> None:
    spent = Spent(turns=1, unpriced="gpt-x")

    error = why_no_more("desk/shop", Limits(max_cost=1.0), spent)

    assert isinstance(error, CostUsedUp)
    assert "no price is known for gpt-x" in str(error)
    assert spent.known_cost is None
    assert why_no_more("desk/shop", Limits(), spent) is None


def test_records_are_counted_before_calls_are_made() -> None:
    assert why_no_records("desk/a", 100, None) is None
    assert why_no_records("desk/a", 2, 10) is None
    assert "2 calls at once, and its message keeps 9 more records" in str(why_no_records("desk/a", 2, 9))
    assert why_no_records("desk/a", 0, 4) is None
    assert isinstance(why_no_records("desk/a", 0, 3), RecordsUsedUp)


def test_five_calls_of_a_cent_fit_into_five_cents() -> None:
    spent = Spent(turns=4, cost=0.01 + 0.01 + 0.01 + 0.01, last_cost=0.01)

    assert why_no_more("desk/shop", Limits(max_cost=0.05), spent) is None
    assert isinstance(why_no_more("desk/shop", Limits(max_cost=0.05), spent, tools_cost=0.001), CostUsedUp)


def test_the_narrower_of_two_limits_counts_in_each() -> None:
    mine, theirs = Limits(max_turns=8, max_cost=None, max_tokens=100), Limits(max_turns=9, max_cost=0.5, max_tokens=50)

    assert mine.within(theirs) == Limits(max_turns=8, max_cost=0.5, max_tokens=50)
    assert mine.within(theirs) == theirs.within(mine)


def test_every_end_of_a_loop_is_a_refusal_that_says_what_was_spent() -> None:
    for error in LoopEnded.__subclasses__():
        assert issubclass(error, Refused)
        assert error("x").turns == 0


async def unbounded(ctx: Context) -> LoopAnswer[None]:
    return await ctx.models.run("Go on")


class Nobody(Agent):
    """Takes no conversation."""

    @on
    async def other(self, request: Unheard) -> str:
        return ""


@tool
async def listed(folder: str) -> str:
    """Lists a folder."""
    return "nothing"


@virtual
async def test_a_model_that_calls_the_same_again_is_warned_at_three_and_ended_at_five() -> None:
    stand = await looped(unbounded, [call("listed", '{"folder": "a"}')], tools=[listed], repeat_last=True, fails=True)

    assert isinstance(stand.error, RepeatedCall)
    assert stand.error.evidence == {"tool": "listed", "times": 5, "period": 1}
    assert len(stand.model.requests) == 5
    told = stand.told()
    assert told[:2] == ["nothing", "nothing"]
    assert told[2].startswith("nothing\n\n[3 times now the same calls have given the same results.")
    assert told[3].startswith("nothing\n\n[4 times now")


@pytest.mark.parametrize(
    "stubborn",
    [call("listed", '{"folder": '), call("listed", '{"wrong": "a"}'), call("erase"), call("hand_off_to_nobody")],
    ids=["broken arguments", "other arguments", "no such tool", "nobody to hand over to"],
)
@virtual
async def test_a_model_that_asks_again_for_what_can_not_be_begun_is_warned_at_three_and_ended_at_five(
    stubborn: Any,
) -> None:
    async def use(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Go on", handoff=["desk/nobody"])

    stand = await looped(use, [stubborn], tools=[listed], others=[Nobody], repeat_last=True, fails=True)

    assert isinstance(stand.error, RepeatedCall)
    assert stand.error.evidence == {"tool": stubborn.name, "times": 5}
    assert len(stand.model.requests) == 5
    assert ["times now" in told for told in stand.told()] == [False, False, True, True]


@virtual
async def test_a_model_that_mends_what_could_not_be_begun_goes_on() -> None:
    wrong = [call("listed", f'{{"wrong": {number}}}') for number in range(8)]

    stand = await looped(unbounded, [*wrong, call("listed", '{"folder": "a"}'), "done"], tools=[listed])

    assert stand.answer.text == "done"


@virtual
async def test_a_model_that_goes_through_pages_and_looks_at_one_thing_in_between_is_not_stopped() -> None:
    pages = [
        each
        for page in range(6)
        for each in (call("listed", '{"folder": "a"}'), call("listed", f'{{"folder": "page {page}"}}'))
    ]

    stand = await looped(unbounded, [*pages, "done"], tools=[listed])

    assert stand.answer.text == "done"
    assert all("times now" not in told for told in stand.told())


@virtual
async def test_the_same_call_many_times_at_once_is_one() -> None:
    many = calling(*(call("listed", '{"folder": "a"}', id=str(number)) for number in range(20)))

    stand = await looped(unbounded, [many, "done"], tools=[listed])

    assert stand.answer.text == "done"
    assert stand.told() == ["nothing"] * 20


@virtual
async def test_the_same_call_many_times_at_once_and_round_after_round_is_ended_at_five() -> None:
    many = calling(*(call("listed", '{"folder": "a"}', id=str(number)) for number in range(12)))

    stand = await looped(unbounded, [many], tools=[listed], repeat_last=True, fails=True)

    assert isinstance(stand.error, RepeatedCall)
    assert stand.error.evidence == {"tool": "listed", "times": 5, "period": 1}
