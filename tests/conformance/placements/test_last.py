"""The end of the app itself (SEMANTICS 4). These tests run last, since they leave no stage behind."""

from __future__ import annotations

import asyncio

import pytest

from regrow.runtime import AskFailed, RegrowError
from tests.conformance.placements.player import AskNoting, Hold
from tests.conformance.placements.stage import Stages
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

EACH = 5


async def test_a_stop_of_the_app_ends_every_ask_that_is_pending(stages: Stages) -> None:
    """The app stops bob, amy, ann, in this order: ann's ask of bob fails while ann lives; amy's turn is cut short."""
    stage = await stages.as_it_is()
    ann, amy, bob = await stage.fresh("ann", "amy", "bob")
    of_ann = asyncio.create_task(ann.ask(AskNoting(to=bob, request=Hold()), timeout_s=600.0))
    await stage.until_seen("bob", "holds")
    asks = [asyncio.create_task(amy.ask(AskNoting(to=ann, request=Hold()), timeout_s=600.0))]
    await stage.until_seen("amy", "asks")
    asks += [asyncio.create_task(one.ask(Hold(), timeout_s=600.0)) for one in (ann, bob) for _ in range(EACH)]

    async def queued() -> bool:
        return [await stage.mailbox(who) for who in ("ann", "bob")] == [1 + EACH, EACH]

    await until(queued, "all the others wait, that of amy among them")

    with stage.record.lingers("amy"):
        closing = asyncio.create_task(stages.close())
        await stage.until_seen("ann", "its ask ended: AskFailed shutdown")
        assert "stopping" not in stage.record.seen("ann"), "it heard of the end of bob before its own"
    await closing

    assert all(ask.done() for ask in (of_ann, *asks)), "before the stop is over"
    assert of_ann.result().startswith("AskFailed shutdown: "), "what became of its own ask"
    errors = [ask.exception() for ask in asks]
    assert all(isinstance(error, RegrowError) for error in errors), errors
    assert {error.reason.kind for error in errors if isinstance(error, AskFailed)} <= {"shutdown", "noproc", "killed"}
    assert sorted(text for text in stage.record.story("ann", "amy") if " its ask ended: " in text) == [
        "amy its ask ended: cancelled with its turn",
        "ann its ask ended: AskFailed shutdown",
    ], "in the hosts, too, and each once"
