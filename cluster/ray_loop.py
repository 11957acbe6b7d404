"""Lets Ray's calls on an event loop end at once, whatever that loop does next.

Ray runs a call of an asyncio actor as a coroutine that wakes the thread which waits for it *before* its task
has ended. That thread then waits for the result for real, and the result is handed over one turn of the loop
later. When a handler blocks the loop in between, the thread is stuck for as long as the handler blocks; the next
call of the same group gets stuck on the thread, and with it the process's one entry for calls: `control` answers
no more either, so a host that is merely busy looks as if it were out of reach (Ray 2.60,
`run_async_func_or_coro_in_event_loop`). Here the result is handed over in the same turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

RAYS_CALL = "run_async_func_or_coro_in_event_loop.<locals>.async_func"
"""The coroutine in which Ray runs a call. Were it named otherwise, calls would end as Ray lets them."""


def end_calls_at_once(loop: asyncio.AbstractEventLoop) -> None:
    """From now on, the calls that Ray runs on this loop are over when their code is."""
    loop.set_task_factory(_task)


def _task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    kind = _Call if getattr(coro, "__qualname__", "") == RAYS_CALL else asyncio.Task
    return kind(coro, loop=loop, **options)


class _Call(asyncio.Task[Any]):
    """A call of Ray's; who waits for it is told from within its last step."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        self._waiting: list[Callable[[Any], object]] = []
        self._call = coro
        self._ended: asyncio.Future[Any] = loop.create_future()
        super().__init__(self._run(coro), loop=loop, **options)
        super().add_done_callback(self._make_sure)

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Context | None = None) -> None:
        """See asyncio.Future; a context is of no use to Ray."""
        if self._ended.done():
            self.get_loop().call_soon(fn, self._ended)
        else:
            self._waiting.append(fn)

    async def _run(self, coro: Coroutine[Any, Any, Any]) -> None:
        try:
            self._ended.set_result(await coro)
        except asyncio.CancelledError:
            self._ended.cancel()
        except BaseException as error:  # of a call, which has somebody who waits for it
            self._ended.set_exception(error)
            if not isinstance(error, Exception):
                raise  # SystemExit and its like end the loop as they always do
        self._tell()

    def _make_sure(self, _: object) -> None:
        """A task that was cancelled before its first step has run nothing of the above."""
        if not self._ended.done():
            self._call.close()
            self._ended.cancel()
        self._tell()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell(self._ended)
