"""The tests of support.py, as a user writes them: `pytest examples/test_support.py`."""

from __future__ import annotations

import pytest
from support import Clerk, File, Question, Remind, app

from regrow import AskFailed, Refused
from regrow.testing import ScriptedModel, TestApp


async def test_a_question_is_answered(test_app: type[TestApp]) -> None:
    model = ScriptedModel(["Turn it off and on again"])
    async with test_app(app, models=model, journal="memory") as t:
        assert await t.ask("clerk", Question(text="It hangs")) == "Turn it off and on again"

    assert [request.prompt for request in model.requests] == ["It hangs"]


async def test_what_the_model_does_not_know_becomes_a_ticket(test_app: type[TestApp]) -> None:
    async with test_app(app, models=ScriptedModel(["I do not know"]), journal="memory") as t:
        assert await t.ask(Clerk, Question(text="Why me?")) == "this is ticket 1"
        assert [filed.about for filed in t.seen(File)] == ["Why me?"]


async def test_tickets_survive_a_kill(test_app: type[TestApp]) -> None:
    async with test_app(app, journal="memory") as t:
        assert await t.ask("book", File(about="a leak")) == 1
        await t.kill("book")
        assert await t.ask("book", File(about="a flood")) == 2
        assert t.restarts("book") == 1


async def test_a_clerk_that_crashes_is_back_for_the_next_question(test_app: type[TestApp]) -> None:
    async with test_app(app, models=ScriptedModel(["42"]), journal="memory") as t:
        t.crash_on(Question, times=2)
        for _ in range(2):
            with pytest.raises(AskFailed, match="not retried, since Agent delivers at most once"):
                await t.ask("clerk", Question(text="?"))
        await t.settled()

        assert t.restarts("clerk") == 2
        assert await t.ask("clerk", Question(text="?")) == "42"


async def test_a_crash_loses_no_ticket(test_app: type[TestApp]) -> None:
    async with test_app(app, journal="memory") as t:
        t.crash_on(File)

        assert await t.ask("book", File(about="a leak")) == 1, "its next life has filed it"


@pytest.mark.regrow(engine="inline")  # an hour takes an hour on Ray
async def test_an_open_ticket_is_reminded_of_after_an_hour(test_app: type[TestApp]) -> None:
    async with test_app(app, journal="memory") as t:
        await t.ask("book", File(about="a leak"))
        await t.advance(3_599)
        assert t.seen(Remind) == ()

        await t.advance(2)

        assert [reminder.ticket for reminder in t.seen(Remind)] == [1]


async def test_an_empty_question_is_refused(test_app: type[TestApp]) -> None:
    async with test_app(app, journal="memory") as t:
        with pytest.raises(Refused, match="ask something"):
            await t.ask("clerk", Question(text=" "))
        assert t.restarts("clerk") == 0
