"""Ray's calls on a loop end within their last step, so that nothing that blocks the loop can come in between."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import pytest

from regrow.cluster.ray_loop import RAYS_CALL, end_calls_at_once


async def called(how: str, over: list[bool], waiting: list[Future[Any]]) -> str:
    """A call that ends in the way that is said, after asking for a step of the loop in which to look whether it has."""
    asyncio.get_running_loop().call_soon(lambda: over.append(waiting[0].done()))
    if how == "raises":
        raise ValueError("no")
    if how == "is cancelled":
        raise asyncio.CancelledError
    return how


async def run(how: str, *, as_ray: bool) -> tuple[Future[Any], list[bool]]:
    """The call, run as Ray runs its own, and whether it was over in the step of the loop right behind it."""
    over: list[bool] = []
    waiting: list[Future[Any]] = []
    call: Any = called(how, over, waiting)
    if as_ray:
        call.__qualname__ = RAYS_CALL
    waiting.append(asyncio.run_coroutine_threadsafe(call, asyncio.get_running_loop()))
    await asyncio.wait((asyncio.wrap_future(waiting[0]),))
    return waiting[0], over


async def test_without_it_a_call_is_over_one_turn_of_the_loop_too_late() -> None:
    _, over = await run("returns", as_ray=True)

    assert over == [False]


async def test_a_call_of_ray_is_over_before_the_loop_does_anything_else() -> None:
    end_calls_at_once(asyncio.get_running_loop())

    call, over = await run("returns", as_ray=True)

    assert over == [True]
    assert call.result() == "returns"


async def test_what_a_call_raises_arrives() -> None:
    end_calls_at_once(asyncio.get_running_loop())

    call, over = await run("raises", as_ray=True)

    assert over == [True]
    with pytest.raises(ValueError, match="no"):
        call.result()


async def test_a_cancelled_call_arrives_as_cancelled() -> None:
    end_calls_at_once(asyncio.get_running_loop())

    call, over = await run("is cancelled", as_ray=True)

    assert over == [True]
    assert call.cancelled()


async def test_a_call_that_is_cancelled_before_it_begins_arrives_as_cancelled() -> None:
    loop = asyncio.get_running_loop()
    end_calls_at_once(loop)
    call: Any = called("returns", [], [])
    call.__qualname__ = RAYS_CALL
    waiting = asyncio.run_coroutine_threadsafe(call, loop)
    loop.call_soon(_cancel_others)

    await asyncio.wait((asyncio.wrap_future(waiting),))

    assert waiting.cancelled()


async def test_who_asks_a_call_that_is_over_is_told() -> None:
    end_calls_at_once(asyncio.get_running_loop())
    call: Any = called("returns", [], [Future()])
    call.__qualname__ = RAYS_CALL
    task = asyncio.ensure_future(call)
    await asyncio.wait((task,))
    told: list[str] = []

    task.add_done_callback(lambda ended: told.append(ended.result()))
    await asyncio.sleep(0)

    assert told == ["returns"]


def _cancel_others() -> None:
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "__qualname__", "").endswith("_Call._run"):
            task.cancel()


async def test_everybody_elses_tasks_stay_what_they_are() -> None:
    end_calls_at_once(asyncio.get_running_loop())

    call, over = await run("returns", as_ray=False)

    assert over == [False]
    assert call.result() == "returns"
