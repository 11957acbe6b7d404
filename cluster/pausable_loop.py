"""An event loop whose time stands while a debugger has the process.

A person who looks at a handler in `breakpoint()` takes minutes, in which nothing else of the process runs. By the clock
of the wall every ask would be overdue then; by this one no time has passed. Only a step that held the loop for long in
a process with a debugger counts as such a pause, so that code which blocks without one is as late as it is.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")

PAUSE_S = 0.2
"""A shorter step is no look of a person."""
DEBUGGERS = ("bdb", "pydevd")
"""One of these modules is loaded wherever a debugger for Python is, and stays when it has gone."""


class PausableLoop(asyncio.SelectorEventLoop):
    """Runs like asyncio's own, by the seconds in which no debugger had the process."""

    def __init__(self) -> None:
        self._paused_s = 0.0
        self._looked_s = time.monotonic()
        super().__init__(_Selector(self))

    def time(self) -> float:
        """Monotonic seconds without the pauses; a pause is noticed at the first look after it."""
        now_s = time.monotonic()
        held_s, self._looked_s = now_s - self._looked_s, now_s
        if held_s > PAUSE_S and _is_debugged():
            self._paused_s += held_s
        return now_s - self._paused_s

    def waited(self) -> None:
        """The loop has waited for something to do, as long as that took; that is no pause."""
        self._looked_s = time.monotonic()


class _Selector(selectors.DefaultSelector):
    """Tells the loop which time it has spent waiting."""

    def __init__(self, loop: PausableLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.time()  # what came before was a step of somebody
        ready = super().select(timeout)
        self._loop.waited()
        return ready


def run_pausable(main: Awaitable[T]) -> T:
    """Runs `main` to its end as asyncio.run does, on a PausableLoop."""
    with asyncio.Runner(loop_factory=PausableLoop) as runner:
        awaited: Any = main
        result: T = runner.run(awaited)
        return result


def _is_debugged() -> bool:
    return sys.gettrace() is not None or any(name in sys.modules for name in DEBUGGERS)
