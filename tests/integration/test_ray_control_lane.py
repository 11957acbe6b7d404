"""The control lane on Ray: nothing that an agent does, or has still to do, holds up a stop or a kill (SEMANTICS 3)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import ActorRef, AskFailed, Running
from regrow.cluster.app import EngineName
from tests.integration.apps.operated import BLOCKED_GRACE_S, QUEUE, lane
from tests.integration.apps.victims import Block, Hold, Note, Notes, Pid
from tests.integration.belongings import alive
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import asked
from tests.integration.lives import node_of
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.asyncio(loop_scope="module")]

SEEN_WITHIN_S = 1.0

AT_ONCE = 500
"""How many tells wait for their host at a time while a mailbox is filled."""


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there another process to wait for."""
    return "ray"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    with nothing_left(root):
        async with start(lane) as app:
            yield app


async def test_a_stop_is_seen_within_a_second_behind_10000_messages_and_a_handler_that_waits(
    running: Running, tmp_path: Path
) -> None:
    busy = running.ref("busy")
    holding = await asked(busy, Hold(begun=str(tmp_path / "begun")))
    await _fill(busy, QUEUE)
    assert (await node_of(running, "lane/busy")).mailbox == QUEUE

    told_at_s = time.monotonic()
    await busy.stop()
    with pytest.raises(AskFailed, match="Shutdown"):
        await holding

    assert time.monotonic() - told_at_s < SEEN_WITHIN_S
    assert await busy.ask(Notes(), timeout_s=60) == tuple(range(QUEUE))  # they wait in order for the next life


async def test_the_same_stop_passes_those_that_wait_for_room_in_a_full_mailbox(
    running: Running, tmp_path: Path
) -> None:
    full = running.ref("full")
    holding = await asked(full, Hold(begun=str(tmp_path / "begun")))
    waiting = [asyncio.create_task(full.tell(Note(number=n), send_timeout_s=60)) for n in range(QUEUE)]
    await until(lambda: _is_full(running), "the mailbox is full")

    told_at_s = time.monotonic()
    await full.stop()
    with pytest.raises(AskFailed, match="Shutdown"):
        await holding

    assert time.monotonic() - told_at_s < SEEN_WITHIN_S
    await asyncio.gather(*waiting)
    assert await full.ask(Notes(), timeout_s=60) == tuple(range(QUEUE))


async def test_an_ordered_restart_is_as_quick(running: Running, tmp_path: Path) -> None:
    busy = running.ref("busy")
    holding = await asked(busy, Hold(begun=str(tmp_path / "begun")))
    await _fill(busy, QUEUE)

    told_at_s = time.monotonic()
    restarting = asyncio.create_task(running.restart("busy"))
    with pytest.raises(AskFailed, match="Shutdown"):
        await holding

    assert time.monotonic() - told_at_s < SEEN_WITHIN_S
    assert (await restarting).state == "running"


async def test_blocking_code_is_killed_and_its_process_gone_within_the_grace_and_a_second(
    running: Running, tmp_path: Path
) -> None:
    blocked = running.ref("blocked")
    pid = await blocked.ask(Pid())
    blocking = await asked(blocked, Block(begun=str(tmp_path / "begun")))

    told_at_s = time.monotonic()
    restarting = asyncio.create_task(running.restart("blocked"))
    await until(lambda: not alive(pid), "the process is gone")
    gone_after_s = time.monotonic() - told_at_s
    done = await restarting

    assert gone_after_s < BLOCKED_GRACE_S + 1.0
    assert done.before is not None
    assert done.after is not None
    assert done.before.pid == pid != done.after.pid
    with pytest.raises(AskFailed, match="Killed"):
        await blocking


async def test_a_kill_of_blocking_code_needs_no_grace(running: Running, tmp_path: Path) -> None:
    blocked = running.ref("blocked")
    pid = await blocked.ask(Pid())
    blocking = await asked(blocked, Block(begun=str(tmp_path / "begun")))

    told_at_s = time.monotonic()
    killing = asyncio.create_task(running.kill("blocked"))
    await until(lambda: not alive(pid), "the process is gone")

    assert time.monotonic() - told_at_s < SEEN_WITHIN_S
    assert (await killing).state == "running"
    with pytest.raises(AskFailed, match="Killed"):
        await blocking


async def _fill(ref: ActorRef, count: int) -> None:
    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(ref.tell(Note(number=n)) for n in range(first, min(first + AT_ONCE, count))))


async def _is_full(running: Running) -> bool:
    return (await node_of(running, "lane/full")).mailbox == 1_000
