"""The end of the app itself (SEMANTICS 4). These tests run last, since they leave no stage behind."""

from __future__ import annotations

import asyncio

import pytest

from regrow.runtime import AskFailed, RegrowError
from tests.conformance.placements.player import AskFor, Hold
from tests.conformance.placements.stage import Stages
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

EACH = 5


async def test_a_stop_of_the_app_ends_every_ask_that_is_pending(stages: Stages) -> None:
    stage = await stages.as_it_is()
    ann, bob = await stage.fresh("ann", "bob")
    asks = [asyncio.create_task(one.ask(Hold(), timeout_s=600.0)) for one in (ann, bob) for _ in range(EACH)]
    asks.append(asyncio.create_task(stage.ref("amy").ask(AskFor(to=bob, request=Hold()), timeout_s=600.0)))
    for who in ("ann", "bob"):
        await stage.until_seen(who, "holds")

    async def queued() -> bool:
        return [await stage.mailbox(who) for who in ("ann", "bob")] == [EACH - 1, EACH]

    await until(queued, "all the others wait")

    await stages.close()

    ended = [task.done() for task in asks]
    assert all(ended), "each of them, and before the stop is over"
    errors = [task.exception() for task in asks]
    assert all(isinstance(error, RegrowError) for error in errors), errors
    assert {error.reason.kind for error in errors if isinstance(error, AskFailed)} <= {"shutdown", "noproc", "killed"}
