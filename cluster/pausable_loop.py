"""An event loop whose time stands while a debugger has a thread of the process.

A person who looks at a handler in `breakpoint()` takes minutes, in which nothing else of the process may run. By the
clock of the wall every ask would be overdue then; by this one no time has passed. Code that blocks without a debugger
is as late as it is.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable
from functools import partial
from typing import Any, TypeVar

from regrow.cluster.debugger_watch import LOOK_S, DebuggerWatch

T = TypeVar("T")


class PausableLoop(asyncio.SelectorEventLoop):
    """Runs like asyncio's own, by the seconds in which no debugger had a thread of the process."""

    def __init__(self, watch: DebuggerWatch) -> None:
        self.watch = watch
        super().__init__(_Selector(watch))

    def time(self) -> float:
        """Monotonic seconds without the pauses."""
        return self.watch.time()


class _Selector(selectors.DefaultSelector):
    """Does not wait for a timer again and again whose time stands."""

    def __init__(self, watch: DebuggerWatch) -> None:
        super().__init__()
        self._watch = watch

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and 0 < timeout < LOOK_S and self._watch.is_paused:
            timeout = LOOK_S
        return super().select(timeout)


def run_pausable(main: Awaitable[T]) -> T:
    """Runs `main` to its end as asyncio.run does, on a PausableLoop."""
    watch = DebuggerWatch()
    with watch, asyncio.Runner(loop_factory=partial(PausableLoop, watch)) as runner:
        awaited: Any = main
        result: T = runner.run(awaited)
        return result
