"""A conversation that is handed to another agent: what that one may, spends and answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Request, Supervisor, child, on
from regrow.actors.handed_back import HandedBack
from regrow.actors.handoff import Handoff, HandoffFailed
from regrow.actors.loop_answer import LoopAnswer
from regrow.actors.loop_errors import CostUsedUp, LoopEnded, OutputInvalid, TimeUsedUp, TokensUsedUp, TurnsUsedUp
from regrow.actors.tool import tool
from regrow.actors.tool_approval import ToolApproval
from regrow.router.conversation import Role, Said, ToolResult
from regrow.runtime.errors import Misuse
from regrow.runtime.testing import pass_time, virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import PRICED, Do, call, calling, looped, saying

done: list[str] = []
seen: list[tuple[Handoff, float | None]] = []


@pytest.fixture(autouse=True)
def _nothing_is_done() -> None:
    done.clear()
    seen.clear()


@tool
async def find(order: str) -> str:
    """Finds an order."""
    return f"{order} is late"


@tool
async def refund(order: str) -> str:
    """Refunds an order."""
    done.append(order)
    return "refunded"


@tool(cost_usd=0.01)
async def buy() -> str:
    """Buys."""
    return "bought"


@tool(approval=True)
async def pay() -> str:
    """Pays."""
    done.append("paid")
    return "paid"


class Refunds(Agent):
    """Takes conversations about refunds."""

    tools = [refund]

    @on
    async def take(self, handoff: Handoff, ctx: Context) -> HandedBack:
        seen.append((handoff, ctx.deadline))
        answer = await ctx.models.run(handoff)
        return answer.handed_back()


class Busy(Agent):
    """Takes none."""

    @on
    async def other(self, request: Do) -> str:
        return ""


class Slow(Agent):
    """Takes its time."""

    @on
    async def take(self, handoff: Handoff, ctx: Context) -> HandedBack:
        await pass_time(10_000)
        raise AssertionError


HAND = call("hand_off_to_refunds", '{"reason": "it is late"}', "9")
REFUND = call("refund", '{"order": "A"}')


async def handing(ctx: Context) -> LoopAnswer[None]:
    return await ctx.models.run("Refund A", handoff=["desk/refunds"])


@virtual
async def test_the_other_agent_answers_with_its_own_tools_and_the_whole_conversation() -> None:
    script = [call("find", '{"order": "A"}'), HAND, call("refund", '{"order": "A"}', "2"), "It is refunded"]
    stand = await looped(handing, script, tools=[find], others=[Refunds])

    answer = stand.answer
    assert (answer.text, answer.answered_by, answer.turns) == ("It is refunded", "desk/refunds", 4)
    assert done == ["A"]
    assert [(each.name, each.told) for each in answer.calls] == [
        ("find", "A is late"),
        ("hand_off_to_refunds", "the conversation is handed over"),
    ]
    own, other = stand.model.requests[0], stand.model.requests[2]
    assert [schema.name for schema in own.tools] == ["find", "hand_off_to_refunds"]
    assert own.tools[1].description == "Hands this conversation to desk/refunds, which answers in your place."
    assert [schema.name for schema in other.tools] == ["refund"]
    assert (own.agent, other.agent) == ("desk/shop", "desk/refunds")
    assert other.messages[0] == Said(role=Role.USER, text="Refund A")
    assert [each.content for each in other.messages if isinstance(each, ToolResult)] == [
        "A is late",
        "the conversation is handed over",
    ]
    assert answer.messages[-1] == Said(role=Role.ASSISTANT, text="It is refunded")
    assert len(answer.messages) == 1 + 4 + 3


@virtual
async def test_it_has_the_deadline_of_the_message_and_what_is_left_of_turns_money_and_tokens() -> None:
    async def capped(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Refund A", handoff=["refunds"], max_turns=5, max_cost=0.05, max_tokens=10_000)

    script = [
        calling(call("find", '{"order": "A"}'), input_tokens=900, output_tokens=100),
        calling(HAND, input_tokens=900, output_tokens=100),
        saying("done", 900, 100),
    ]
    stand = await looped(capped, script, tools=[find], others=[Refunds], settings=PRICED, timeout_s=50)

    [(handoff, deadline)] = seen
    assert (handoff.max_turns, handoff.max_tokens) == (3, 8_000)
    assert handoff.max_cost == pytest.approx(0.03)
    assert deadline is not None
    assert deadline <= 50
    assert stand.answer.cost == pytest.approx(0.03)
    assert stand.answer.usage.input_tokens == 2_700


@pytest.mark.parametrize(
    ("caps", "ended"),
    [({"max_turns": 4}, TurnsUsedUp), ({"max_cost": 0.04}, CostUsedUp), ({"max_tokens": 4_000}, TokensUsedUp)],
    ids=["turns", "money", "tokens"],
)
def test_it_can_spend_no_more_than_is_left_and_its_end_is_told_with_what_it_spent(
    caps: dict[str, Any], ended: type[LoopEnded]
) -> None:
    @virtual
    async def run() -> None:
        async def capped(ctx: Context) -> LoopAnswer[None]:
            return await ctx.models.run("Refund A", handoff=["refunds"], **caps)

        # each of $0.01
        hand, again = (calling(each, input_tokens=900, output_tokens=100) for each in (HAND, REFUND))
        stand = await looped(
            capped, [hand, again], tools=[find], others=[Refunds], settings=PRICED, repeat_last=True, fails=True
        )

        assert isinstance(stand.error, ended)
        assert (stand.error.turns, stand.error.cost) == (4, pytest.approx(0.04))
        assert stand.error.calls[0].outcome == "HandoffFailed"
        assert ended.__name__ in stand.error.calls[0].told
        assert len(stand.model.requests) == 4

    run()


@virtual
async def test_of_many_hand_offs_in_one_reply_the_first_is_tried_and_nothing_is_spent_that_is_not_left() -> None:
    async def capped(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Refund A", handoff=["refunds"], max_turns=3, max_cost=0.05)

    hands = [call("hand_off_to_refunds", "{}", str(number)) for number in range(20)]
    stand = await looped(
        capped, [calling(*hands), calling(REFUND)], others=[Refunds], settings=PRICED, repeat_last=True, fails=True
    )

    assert isinstance(stand.error, TurnsUsedUp)
    assert (len(seen), len(stand.model.requests), stand.error.turns) == (1, 3, 3)
    assert [each.told[:8] for each in stand.error.calls[1:]] == ["not done"] * 19


@virtual
async def test_nothing_is_handed_over_where_tools_beside_it_have_used_up_what_was_left() -> None:
    async def capped(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Refund A", handoff=["refunds"], max_cost=0.02)

    reply = calling(call("buy", "{}", "1"), HAND, input_tokens=900, output_tokens=100)
    stand = await looped(capped, [reply], tools=[buy], others=[Refunds], settings=PRICED, fails=True)

    assert isinstance(stand.error, CostUsedUp)
    assert (seen, len(stand.model.requests)) == ([], 1)


@virtual
async def test_it_may_run_no_tool_that_the_message_does_not_allow() -> None:
    async def limited(ctx: Context) -> LoopAnswer[None]:
        with ctx.tools.only(find):
            return await ctx.models.run("Refund A", handoff=["refunds"])

    script = [HAND, call("refund", '{"order": "A"}', "2"), "I may not"]
    stand = await looped(limited, script, tools=[find], others=[Refunds])

    assert done == []
    assert stand.model.requests[1].tools == ()
    assert stand.answer.text == "I may not"


@virtual
async def test_an_agent_that_takes_none_is_told_of_and_the_model_goes_on() -> None:
    async def use(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Refund A", handoff=["busy", "nobody"])

    script = [call("hand_off_to_busy"), call("hand_off_to_nobody"), "Then I say it: no"]
    stand = await looped(use, script, tools=[find], others=[Busy])

    assert [each.outcome for each in stand.answer.calls] == ["HandoffFailed", "HandoffFailed"]
    assert all("go on yourself, or do without" in each.told for each in stand.answer.calls)
    assert "\n" not in "".join(each.told for each in stand.answer.calls)
    assert (stand.answer.text, stand.answer.answered_by) == ("Then I say it: no", "")


@virtual
async def test_a_chain_that_would_come_back_is_told_and_the_model_goes_on() -> None:
    async def use(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Refund A", handoff=["shop"])

    stand = await looped(use, [call("hand_off_to_shop"), "I do it"], tools=[find])

    assert "CallingSelf" in stand.answer.calls[0].told
    assert stand.answer.text == "I do it"


@virtual
async def test_broken_json_and_a_second_hand_off_are_told() -> None:
    script = [call("hand_off_to_refunds", "{"), calling(call("find", '{"order": "A"}'), HAND, HAND), "done"]
    stand = await looped(handing, script, tools=[find], others=[Refunds])

    assert [each.outcome for each in stand.answer.calls] == ["HandoffFailed", "done", "done", "HandoffFailed"]
    assert stand.answer.calls[3].told.startswith("not done: a reply hands a conversation over once")
    assert len(seen) == 1


@virtual
async def test_its_answer_is_of_the_type_that_was_asked_for() -> None:
    class Decision(BaseModel):
        cents: int

    async def use(ctx: Context) -> LoopAnswer[Decision]:
        return await ctx.models.run("Refund A", handoff={"refunds": "It refunds."}, output=Decision)

    stand = await looped(use, [HAND, '{"cents": 5}'], tools=[find], others=[Refunds])
    assert stand.answer.output == Decision(cents=5)
    assert "Decision" in stand.model.requests[1].instructions
    assert stand.model.requests[0].tools[-1].description.endswith("in your place. It refunds.")

    stand = await looped(use, [HAND, "five"], tools=[find], others=[Refunds], fails=True)
    assert isinstance(stand.error, OutputInvalid)
    assert "desk/refunds, to which it handed over, wrote 'five'" in str(stand.error)


@virtual
async def test_names_that_a_model_could_not_tell_apart_are_a_misuse() -> None:
    async def use(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Refund A", handoff=["desk/a/x", "desk/b/x"])

    stand = await looped(use, ["never"], tools=[find], fails=True)

    assert isinstance(stand.error, Misuse)
    assert "hand_off_to_x" in str(stand.error)


@virtual
async def test_an_agent_that_never_answers_ends_with_the_deadline() -> None:
    async def use(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Refund A", handoff=["slow"])

    stand = await looped(
        use, [call("hand_off_to_slow"), "never"], tools=[find], others=[Slow], timeout_s=20, fails=True
    )

    assert type(stand.error).__name__ == "TimeUsedUp"


@virtual
async def test_one_that_has_it_and_takes_too_long_goes_on_with_it_and_nobody_else_does_it() -> None:
    async def use(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Refund A", handoff=["slow"])

    stand = await looped(use, [call("hand_off_to_slow"), "never"], others=[Slow], timeout_s=900, fails=True)

    assert isinstance(stand.error, TimeUsedUp)
    assert "desk/slow has the conversation of desk/shop and has not answered it in time" in str(stand.error)
    assert "do not have it done by another" in str(stand.error)
    assert (stand.error.turns, len(stand.model.requests)) == (1, 1)


# ---- in a durable turn ---------------------------------------------------------------------------


class Nothing(BaseModel):
    runs: int = 0


runs: list[int] = []


class Desk(DurableAgent[Nothing]):
    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        runs.append(1)
        answer: LoopAnswer[Any] = await ctx.models.run("Refund A", handoff=["refunds", "busy"])
        if len(runs) < 3:
            raise ValueError("as the test wants it")
        return json.dumps([answer.text, answer.answered_by, [each.outcome for each in answer.calls], answer.turns])


class Ask(Request[str]):
    pass


@virtual
async def test_in_a_durable_turn_a_hand_off_is_made_once_and_so_is_one_that_failed() -> None:
    runs.clear()
    model = ScriptedModel([call("hand_off_to_busy"), HAND, call("refund", '{"order": "A"}', "2"), "done"])
    children = [child(Desk, id="desk"), child(Refunds, id="refunds"), child(Busy, id="busy")]
    app = App("desk", Supervisor(children=children, max_restarts=5))
    async with TestApp(app, models=model, journal="memory") as t:
        reply: str = await t.ask("desk", Do())

    said = json.loads(reply)

    assert said == ["done", "desk/refunds", ["HandoffFailed", "done"], 4]
    assert (len(runs), done, len(seen)) == (3, ["A"], 1)
    assert len(model.requests) == 4


class Careful(DurableAgent[Nothing]):
    """Takes conversations, and does once what it does."""

    tools = [refund]

    @on
    async def take(self, handoff: Handoff, ctx: DurableContext) -> HandedBack:
        seen.append((handoff, None))
        await ctx.step("look", pass_time, 5.0, idempotent=True)
        answer = await ctx.models.run(handoff)
        return answer.handed_back()


class Giver(DurableAgent[Nothing]):
    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        answer = await ctx.models.run("Refund A", handoff=["careful"])
        return f"{answer.text} by {answer.answered_by}"


@virtual
async def test_a_kill_of_either_agent_during_a_hand_off_loses_and_repeats_nothing() -> None:
    model = ScriptedModel([call("hand_off_to_careful"), call("refund", '{"order": "A"}', "2"), "done"])
    children = [child(Giver, id="giver"), child(Careful, id="careful")]
    async with TestApp(App("desk", Supervisor(children=children)), models=model, journal="memory") as t:
        asking = asyncio.create_task(t.ask("giver", Do(), timeout_s=60))
        await t.advance(2)
        await t.kill("giver")
        await t.advance(1)
        await t.kill("careful")

        assert await asking == "done by desk/careful"

    assert done == ["A"]
    assert len(model.requests) == 3
    assert all(handoff == seen[0][0] for handoff, _ in seen), "both lives of the giver hand over the same"


class Boss(DurableAgent[Nothing]):
    """Takes conversations, and asks a person before it does anything."""

    tools = [pay]

    @on
    async def take(self, handoff: Handoff, ctx: DurableContext) -> HandedBack:
        return (await ctx.models.run(handoff)).handed_back()


class Clerk(DurableAgent[Nothing]):
    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        answer = await ctx.models.run("Pay A", handoff=["boss"])
        return f"{answer.text} by {answer.answered_by}"


@virtual
async def test_a_durable_turn_waits_for_one_that_waits_for_consent_however_long() -> None:
    model = ScriptedModel([call("hand_off_to_boss"), call("pay", id="2"), "paid"])
    children = [child(Clerk, id="clerk"), child(Boss, id="boss")]
    async with TestApp(App("desk", Supervisor(children=children)), models=model, journal="memory") as t:
        asking = asyncio.create_task(t.ask("clerk", Do(), timeout_s=10_000))
        await t.advance(1_500)
        waits = [
            wait for who in ("desk/clerk", "desk/boss") for wait in await t.running.waits(t.ref(who).address.actor)
        ]
        [wait] = waits
        await t.running.answer(wait["id"], ToolApproval())

        assert await asking == "paid by desk/boss"
    assert done == ["paid"]


def test_a_failure_of_a_hand_off_says_what_was_spent() -> None:
    error = HandoffFailed("x")

    assert (error.turns, error.cost, error.usage.input_tokens) == (0, 0.0, 0)
