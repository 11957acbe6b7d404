"""A clock that jumps: an event loop whose time() and select() are ours.

When nothing is ready, time jumps to the next timer. asyncio's own timeouts, stamina and the whole kernel obey it, so
that thirty seconds of supervision take a millisecond.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

START_S = 1_000.0
"""Where virtual time begins; not 0, so that code which confuses 0 with «no deadline» is found."""


class Stuck(AssertionError):
    """Nothing is ready, no timer is set and no thread works: the test would wait for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. Threads that it started are waited for in real time."""

    def __init__(self) -> None:
        self.now_s = START_S
        self._in_threads = 0
        self._jumps = 0
        self._idle: list[tuple[int, asyncio.Future[bool]]] = []
        """Who waits until nothing is ready, and how many jumps of the clock they want to have seen."""
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self.now_s

    @property
    def waits_for_threads(self) -> bool:
        """True while a thread of this loop's executor works, so that time must not jump."""
        return self._in_threads > 0

    async def idle(self, *, later: bool = False) -> bool:
        """Waits until nothing is ready at this time and no thread works; with `later`, until time has moved as well.

        False where time can not move, since no timer is set.
        """
        told: asyncio.Future[bool] = self.create_future()
        self._idle.append((self._jumps + later, told))
        return await told

    def jump(self, by_s: float | None) -> bool:
        """Nothing is ready: those who wait for that are told first, and else time moves. False where it can not."""
        due = [told for jumps, told in self._idle if by_s is None or jumps <= self._jumps]
        self._idle = [each for each in self._idle if each[1] not in due]
        for told in due:
            if not told.done():
                told.set_result(by_s is not None)
        if due:
            return True
        if by_s is None:
            return False
        self._jumps += 1
        self.now_s += by_s
        return True

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override] # looser, as asyncio's own before 3.13
        """As asyncio's, counting what runs."""
        self._in_threads += 1
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *timeout_s: Any) -> None:
        """As asyncio's, which waits in a thread for the others to end."""
        self._in_threads += 1
        try:
            await super().shutdown_default_executor(*timeout_s)
        finally:
            self._in_threads -= 1

    def _thread_done(self, _: object) -> None:
        self._in_threads -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Never sleeps: where a real selector would, it moves the loop's clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._loop.waits_for_threads:
            return super().select(timeout if timeout is not None and timeout <= 0 else 0.05)
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if not self._loop.jump(timeout):
            raise Stuck("nothing is ready and no timer is set: something waits for what can not come")
        return []


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` to its end on a loop of its own with virtual time. Raises Stuck instead of hanging."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Makes an async test run on virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(test(*args, **kwargs))

    return run


async def pass_time(seconds: float) -> None:
    """Lets virtual time pass; whatever is due by then has happened."""
    await asyncio.sleep(seconds)
