"""The control lane: nothing that an agent does, or has still to do, holds up a stop or a kill (SEMANTICS 3 and 5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from regrow import ActorRef, AskFailed
from tests.conformance.placements.player import Block, Hold, Life, Note, Pid
from tests.conformance.placements.stage import Stage
from tests.conformance.placements.troupe import ALONE_GRACE_S, BOUND, QUEUE
from tests.integration.belongings import alive
from tests.integration.waiting import until, within

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

SEEN_WITHIN_S = 1.0

AT_ONCE = 500
"""How many tells wait for their host at a time while a mailbox is filled."""

WAITING = 1_000
"""How many wait for room in a mailbox that has hardly any."""


async def test_a_stop_is_seen_within_a_second_behind_10000_messages_and_a_handler_that_waits(stage: Stage) -> None:
    """And so is an ordered restart: the first of those messages has the next life wait as well."""
    await within(SEEN_WITHIN_S, lambda: _late_behind_many_s(stage))


async def _late_behind_many_s(stage: Stage) -> float:
    (busy,) = await stage.fresh("busy")
    waiting = [await _holding(stage, busy), asyncio.create_task(busy.ask(Hold(), timeout_s=600.0))]
    await until(lambda: _is_full(stage, "busy", 1), "the second ask is behind the first")
    numbers = [str(number) for number in range(QUEUE - 1)]
    for batch in (numbers[first : first + AT_ONCE] for first in range(0, QUEUE, AT_ONCE)):
        await asyncio.gather(*(busy.tell(Note(text=number)) for number in batch))
    await until(lambda: _is_full(stage, "busy", QUEUE), "all of them wait")

    stopped_s = await _ended(waiting[0], busy.stop())
    await stage.until_seen("busy", "holds", 2)
    restarted_s = await _ended(waiting[1], _restarted(stage, "busy"))

    await busy.ask(Life(), timeout_s=60.0)  # behind them all
    assert stage.record.seen("busy") == [*["holds", "stopping", "started"] * 2, *numbers], "they are for the next life"
    return max(stopped_s, restarted_s)


async def test_a_stop_passes_those_that_wait_for_room_in_a_full_mailbox(stage: Stage) -> None:
    await within(SEEN_WITHIN_S, lambda: _late_beside_many_s(stage))


async def _late_beside_many_s(stage: Stage) -> float:
    (ref,) = await stage.fresh("block")
    holding = await _holding(stage, ref)
    tells = [asyncio.create_task(ref.tell(Note(text=str(n)), send_timeout_s=60.0)) for n in range(WAITING)]
    await until(lambda: _is_full(stage, "block", BOUND), "the mailbox is full")

    stopped_s = await _ended(holding, ref.stop())

    await asyncio.gather(*tells)
    await stage.until_seen("block", str(WAITING - 1))
    assert stage.record.seen("block") == ["holds", "stopping", "started", *map(str, range(WAITING))]
    return stopped_s


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("deed", "grace_s"), [("restart", ALONE_GRACE_S), ("kill", 0.0)])
async def test_blocking_code_is_killed_and_its_process_gone_within_the_grace_and_a_second(
    stage: Stage, deed: str, grace_s: float
) -> None:
    await within(grace_s + SEEN_WITHIN_S, lambda: _gone_after_s(stage, deed))


async def _gone_after_s(stage: Stage, deed: str) -> float:
    _, alone = await stage.fresh_group("pair", "trigger", "alone")
    pid = await alone.ask(Pid())
    blocking = asyncio.create_task(alone.ask(Block(file=str(stage.record.file())), timeout_s=600.0))
    await stage.until_seen("pair/alone", "blocks")

    told_at_s = time.monotonic()
    order = stage.running.restart if deed == "restart" else stage.running.kill
    ordered = asyncio.create_task(order("pair/alone"))
    await until(lambda: not alive(pid), "the process is gone")
    gone_after_s = time.monotonic() - told_at_s
    done = await ordered

    assert done.before is not None
    assert done.after is not None
    assert done.before.pid == pid != done.after.pid
    with pytest.raises(AskFailed) as failed:
        await blocking
    assert failed.value.reason.kind == "killed"
    return gone_after_s


async def _holding(stage: Stage, ref: ActorRef) -> asyncio.Task[str]:
    """An ask whose handler waits without end."""
    holding = asyncio.create_task(ref.ask(Hold(), timeout_s=600.0))
    await stage.until_seen(ref.id.partition("/")[2], "holds")
    return holding


async def _ended(holding: asyncio.Task[str], order: Coroutine[Any, Any, None]) -> float:
    """Gives an order that ends the handler; how long it took until it had ended."""
    told_at_s = time.monotonic()
    ordered = asyncio.create_task(order)
    with pytest.raises(AskFailed) as failed:
        await holding
    took_s = time.monotonic() - told_at_s
    assert failed.value.reason.kind == "shutdown"
    await ordered
    return took_s


async def _restarted(stage: Stage, id: str) -> None:
    assert (await stage.running.restart(id)).state == "running"


async def _is_full(stage: Stage, id: str, bound: int) -> bool:
    return await stage.mailbox(id) == bound
