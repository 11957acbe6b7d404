"""The tests of shop.py: `pytest`. The same on Ray: `pytest --regrow-engine=ray`."""

import asyncio

import pytest
from shop import Clerk, Complaint, Decision, app, bank

from regrow.actors import TurnsUsedUp
from regrow.router import ToolCall, ToolResult
from regrow.testing import ScriptedModel, TestApp

LOOK = ToolCall(id="1", name="find_order", arguments='{"order": "A-1"}')
PAY = ToolCall(id="2", name="refund", arguments='{"order": "A-1", "cents": 4500}')
DONE = '{"refunded_cents": 4500, "reason": "it came late"}'


def told(model: ScriptedModel) -> list[str]:
    """What the model was told of its calls by the end."""
    return [each.content for each in model.requests[-1].messages if isinstance(each, ToolResult)]


async def test_what_came_late_is_refunded(test_app: type[TestApp]) -> None:
    model = ScriptedModel([LOOK, PAY, DONE])
    async with test_app(app, models=model) as t:
        decision = await t.ask(Clerk, Complaint(text="A-1 came late!"))

    assert decision == Decision(refunded_cents=4500, reason="it came late")
    assert told(model) == ["A-1: 4500 cents, late", "4500 cents are on their way"]


async def test_mistakes_of_the_model_are_told_to_it_and_it_goes_on(test_app: type[TestApp]) -> None:
    wrong = (
        ToolCall(id="1", name="delete_order", arguments='{"order": "A-1"}'),
        ToolCall(id="2", name="refund", arguments='{"order": "A-1"'),
        ToolCall(id="3", name="find_order", arguments='{"order": "B-9"}'),
    )
    model = ScriptedModel([wrong, "I would refund it", '{"refunded_cents": 0, "reason": "I can not find it"}'])
    async with test_app(app, models=model) as t:
        decision = await t.ask(Clerk, Complaint(text="B-9 came late!"))

    assert decision.refunded_cents == 0
    unknown, broken, failed = told(model)
    assert unknown.startswith("shop/clerk has no tool called 'delete_order'; it has find_order, refund")
    assert broken.startswith("refund was not run, since its arguments are not what it takes")
    assert failed == "find_order failed (LookupError: there is no order B-9)"


async def test_a_model_that_never_stops_is_stopped_and_the_clerk_lives(test_app: type[TestApp]) -> None:
    looks = [ToolCall(id="1", name="find_order", arguments=f'{{"order": "A-{number}"}}') for number in range(8)]
    async with test_app(app, models=ScriptedModel(looks)) as t:
        with pytest.raises(TurnsUsedUp, match="has called its model 8 times and got no answer"):
            await t.ask(Clerk, Complaint(text="A-1 came late!"))

        assert t.restarts("clerk") == 0


@pytest.mark.regrow(engine="inline")  # it looks into the bank, which on Ray is in another process
async def test_a_kill_while_it_pays_pays_once(test_app: type[TestApp]) -> None:
    bank.clear()
    model = ScriptedModel([LOOK, PAY, DONE])
    async with test_app(app, models=model) as t:
        asking = asyncio.create_task(t.ask("careful", Complaint(text="A-1 came late!")))
        await t.advance(0.5)
        await t.kill("careful")

        assert (await asking).refunded_cents == 4500
    assert list(bank.values()) == [4500]
    assert len(model.requests) == 3
