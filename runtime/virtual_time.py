"""A clock that jumps: an event loop whose time() and select() are ours.

When nothing is ready, time jumps to the next timer. asyncio's own timeouts, stamina and the whole kernel obey it, so
that thirty seconds of supervision take a millisecond. What runs in real time, which is threads and what is at the other
end of a descriptor, is waited for: for a while time stands, and then it passes for threads as on the wall.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

START_S = 1_000.0
"""Where virtual time begins; not 0, so that code which confuses 0 with «no deadline» is found."""

HOLD_S = 1.0
"""So many real seconds time stands for threads that work, and for descriptors of which something was heard."""
QUIET_S = 0.05
"""So many it stands before each jump for descriptors of which nothing was heard for HOLD_S."""
STUCK_S = 30.0
"""So many real seconds threads are waited for where no timer is set."""
LOOK_S = 0.05
"""The longest wait at once for what runs in real time."""


class Stuck(AssertionError):
    """Nothing is ready and no timer is set, and no thread ends: the test would wait for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, which stands or passes as on the wall while something runs in real time."""

    def __init__(self) -> None:
        self.now_s = START_S
        self._in_threads = 0
        self._beside = 0
        """Threads that work as long as an agent lives, beside the clock."""
        self._held_s = 0.0
        """For how long in real time nothing but threads has gone on."""
        self._jumps = 0
        self._idle: list[tuple[int, asyncio.Future[bool]]] = []
        """Who waits until nothing is ready, and how many jumps of the clock they want to have seen."""
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self.now_s

    @property
    def waits_for_threads(self) -> bool:
        """True while a thread of this loop's executors works, so that time must not jump."""
        return self._in_threads > 0

    @property
    def has_threads_beside(self) -> bool:
        """True while a thread works that time does not wait for."""
        return self._beside > 0

    async def idle(self, *, later: bool = False) -> bool:
        """Waits until nothing is ready at this time and no thread holds it; with `later`, until time has moved as well.

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
        """As asyncio's, counting what runs; time does not wait for an executor with `is_beside_time`."""
        is_beside = bool(getattr(executor, "is_beside_time", False))
        self._count(1, is_beside=is_beside)
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        future.add_done_callback(lambda _: self._count(-1, is_beside=is_beside))
        return future

    async def shutdown_default_executor(self, *timeout_s: Any) -> None:
        """As asyncio's, which waits in a thread for the others to end."""
        self._count(1, is_beside=False)
        try:
            await super().shutdown_default_executor(*timeout_s)
        finally:
            self._count(-1, is_beside=False)

    def worked(self, spent_s: float, next_s: float | None) -> None:
        """Threads have worked so long in real time, and nothing came of it; the next timer is in `next_s`.

        Raises Stuck with the threads where no timer is set and none of them ends.
        """
        self._held_s += spent_s
        if next_s is None and self._held_s > STUCK_S:
            raise Stuck(
                f"nothing is ready, no timer is set, and for {STUCK_S:g} s only threads work: {_threads_told()}"
            )
        if self.waits_for_threads and self._held_s > HOLD_S:
            self.jump(spent_s if next_s is None else min(spent_s, next_s))

    def _count(self, by: int, *, is_beside: bool) -> None:
        if is_beside:
            self._beside += by
            return
        self._in_threads += by
        if self._in_threads == 0 or by == self._in_threads:
            self._held_s = 0.0


class _JumpingSelector(selectors.DefaultSelector):
    """Where a real selector would sleep, it moves the loop's clock, or waits for what runs in real time."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._heard_s = 0.0
        """When something was last heard of a descriptor, by the real clock."""
        self._own_fd: int | None = None
        """By which threads wake the loop; the first that is registered."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        if self._own_fd is None:
            self._own_fd = key.fd
        self._heard_s = time.monotonic()
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return self._heard(ready)
        if self._loop.waits_for_threads:
            return self._wait_for_threads(timeout)
        if len(self.get_map()) > 1 and (ready := self._wait_for_descriptors()):  # one is the loop's own
            return self._heard(ready)
        if self._loop.jump(timeout):
            return []
        if self._loop.has_threads_beside:
            return self._wait_for_threads(timeout)
        raise Stuck("nothing is ready and no timer is set: something waits for what can not come")

    def _wait_for_threads(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        began_s = time.monotonic()
        ready = super().select(LOOK_S)
        if not ready:
            self._loop.worked(time.monotonic() - began_s, timeout)
        return self._heard(ready)

    def _wait_for_descriptors(self) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready of them, after as long as they are waited for in real time."""
        return super().select(max(self._heard_s + HOLD_S - time.monotonic(), QUIET_S))

    def _heard(self, ready: list[tuple[selectors.SelectorKey, int]]) -> list[tuple[selectors.SelectorKey, int]]:
        if any(key.fd != self._own_fd for key, _ in ready):
            self._heard_s = time.monotonic()
        return ready


_POOLS = ("concurrent.futures.thread", "regrow.actors.threads")
"""A thread that waits in one of these modules has nothing to do."""


def _threads_told() -> str:
    """The threads beside this one that have something to do, each with the line on which it is."""
    frames, told = sys._current_frames(), list[str]()  # pyright: ignore[reportPrivateUsage] # nothing else has them
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        while frame is not None and frame.f_globals.get("__name__") in ("threading", "queue"):
            frame = frame.f_back
        if frame is None or thread is threading.current_thread() or frame.f_globals.get("__name__") in _POOLS:
            continue
        code = frame.f_code
        told.append(f"{thread.name} in {code.co_qualname} at {Path(code.co_filename).name}:{frame.f_lineno}")
    return "; ".join(told)


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
