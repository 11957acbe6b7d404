"""Calls that end in other ways than by a reply of the one that was asked are the same on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import AskFailed, AskTimeout, Running
from regrow.runtime import NoReply, Replied
from tests.integration.apps.calls import Answer, AskOther, Die, Door, Front, Open, Ping, Question, app
from tests.integration.conftest import Start, nothing_left
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calls(start: Start, root: Path) -> AsyncIterator[Running]:
    """The app, started once for all tests of an engine."""
    with nothing_left(root):
        async with start(app) as running:
            yield running


async def test_an_agent_in_another_host_answers_for_the_one_that_was_asked(calls: Running) -> None:
    assert await calls.ref(Front).ask(Question(text="why")) == Answer(text="expertly: why")

    async def is_counted() -> bool:
        return dict((await calls.counts()).dead_letters).get("late_reply", 0) >= 1

    await until(is_counted, "the second answer is a dead letter")


async def test_the_asker_fails_when_the_agent_that_deferred_its_reply_dies(calls: Running) -> None:
    asking = asyncio.ensure_future(calls.ref(Front).ask(Question(text="nobody knows")))
    assert await calls.ref(Front).ask(Question(text="behind it")) == Answer(text="expertly: behind it")

    await calls.ref(Front).tell(Die())

    with pytest.raises(AskFailed, match="told to"):
        await asyncio.wait_for(asking, 10.0)


async def test_agents_in_two_hosts_that_ask_each_other_are_a_ring_and_one_of_them_fails(calls: Running) -> None:
    for _ in range(5):
        outcomes = await calls.ask_all(
            [("a", AskOther(other="calls/b")), ("b", AskOther(other="calls/a"))], timeout_s=10.0
        )
        replies = [outcome.result() for outcome in outcomes]

        rings = [reply for reply in replies if reply.startswith("ring")]
        if rings:  # else one of them was done before the other began
            assert rings in (["ring: calls/a calls/b"], ["ring: calls/b calls/a"])
            return
    pytest.fail("two agents asked each other five times, and none had to wait")


async def test_many_are_asked_under_one_deadline(calls: Running) -> None:
    outcomes = await calls.ask_all(["a", "door", "nobody", "b"], Ping(), timeout_s=2.0)

    assert [type(outcome) for outcome in outcomes] == [Replied, NoReply, NoReply, Replied]
    assert isinstance(outcomes[1], NoReply) and isinstance(outcomes[1].error, AskTimeout)
    assert isinstance(outcomes[2], NoReply) and isinstance(outcomes[2].error, AskFailed)
    assert outcomes[3].result() == "served by calls/b"


async def test_what_was_set_aside_is_answered_by_the_next_life(calls: Running) -> None:
    asks = [asyncio.ensure_future(calls.ref(Door).ask(Ping(), timeout_s=20.0)) for _ in range(3)]
    await asyncio.sleep(0)  # they are sent before what follows
    await calls.ref(Door).tell(Die())
    await calls.ref(Door).tell(Open())

    assert await asyncio.gather(*asks) == ["in"] * 3
