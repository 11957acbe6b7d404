"""Calls that go on side by side: begun in their order, and none left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def all_of(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of calls that go on side by side and are begun in their order; one that fails ends the others."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        await _ended(tasks)
        raise


async def all_to_their_end(calls: Iterable[Coroutine[Any, Any, None]]) -> None:
    """The same where each has its end whatever becomes of the others; then the first of them that failed is raised.

    For what must not be cut off, since nobody would know whether it was done.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    except BaseException:
        await _ended(tasks)
        raise
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


async def _ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
