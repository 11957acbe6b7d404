"""Calls that block are done in a thread, one after the other in their order, and the event loop goes on."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from regrow.cluster.blocking_calls import BlockingCalls
from regrow.cluster.high_water import HighWater


async def test_the_event_loop_goes_on_while_a_call_blocks_and_the_next_waits_for_its_end() -> None:
    calls, may_end, done = BlockingCalls(), threading.Event(), list[int]()

    def slow() -> None:
        may_end.wait()
        done.append(1)

    first = asyncio.ensure_future(calls.do(slow))
    second = asyncio.ensure_future(calls.do(lambda: done.append(2)))
    for _ in range(10):
        await asyncio.sleep(0)
    done_meanwhile = list(done)
    may_end.set()
    await asyncio.gather(first, second)

    assert done_meanwhile == []
    assert done == [1, 2]


async def test_a_call_whose_caller_is_cancelled_is_done_and_overtaken_by_none() -> None:
    calls, may_end, done = BlockingCalls(), threading.Event(), list[int]()

    def slow() -> None:
        may_end.wait()
        done.append(1)

    first = asyncio.ensure_future(calls.do(slow))
    await asyncio.sleep(0)
    first.cancel()
    second = asyncio.ensure_future(calls.do(lambda: done.append(2)))
    await asyncio.sleep(0)
    may_end.set()
    await second

    assert done == [1, 2]


async def test_who_waits_hears_what_a_call_raises_and_later_calls_are_done() -> None:
    calls, done = BlockingCalls(), list[int]()

    with pytest.raises(FileNotFoundError):
        await calls.do(Path("/nowhere/at/all").touch)
    await calls.do(lambda: done.append(1))
    await calls.done()

    assert done == [1]


async def test_marks_that_rise_while_one_is_written_are_kept_and_the_file_has_the_highest(tmp_path: Path) -> None:
    water = HighWater(tmp_path / "mark")

    keeping: list[asyncio.Task[None]] = []
    for mark in range(1, 20):
        water.rise(mark, asked_at=mark - 1, address="redis")
        keeping.append(asyncio.create_task(water.keep()))
    await asyncio.gather(*keeping)

    assert HighWater(tmp_path / "mark").seen == 19


async def test_who_waits_for_all_calls_to_end_waits_no_longer_than_it_likes() -> None:
    calls, may_end = BlockingCalls(), threading.Event()
    assert await calls.done(within_s=0.0)

    def slow() -> None:
        may_end.wait()

    doing = asyncio.ensure_future(calls.do(slow))
    await asyncio.sleep(0)
    meanwhile = await calls.done(within_s=0.0)
    may_end.set()

    assert not meanwhile
    assert await calls.done()
    await doing
