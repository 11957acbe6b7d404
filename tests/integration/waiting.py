"""How integration tests wait: for something to be so, within a limit, and never for a time alone."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, overload

T = TypeVar("T")

LOOK_S = 0.02
"""Between two looks at what has no event to wait for."""

LOOK_AROUND_S = 0.1
"""The same where all processes or files are looked through, which others who test meanwhile pay for."""

PATIENCE_S = 30.0
"""How long a test waits by default: a busy machine takes seconds for what a quiet one does in milliseconds."""


@overload
@overload
async def until(look: Callable[[], Awaitable[T | None]], what: str, *, within_s: float = ...) -> T: ...


@overload
async def until(look: Callable[[], T | None], what: str, *, within_s: float = ...) -> T: ...


async def until(look: Callable[[], Any], what: str, *, within_s: float = PATIENCE_S) -> Any:
    """The first true value that `look` gives. Fails with `what` and the last value after `within_s`."""
    __tracebackhide__ = True
    deadline_s = time.monotonic() + within_s
    while True:
        value = look()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {within_s:g} s: {what}; the last look gave {value!r}")
        await asyncio.to_thread(_pause)


def until_now(look: Callable[[], T | None], what: str, *, within_s: float = PATIENCE_S) -> T:
    """The same where no event loop runs."""
    __tracebackhide__ = True
    deadline_s = time.monotonic() + within_s
    while not (value := look()):
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {within_s:g} s: {what}; the last look gave {value!r}")
        _pause()
    return value


def until_none(look: Callable[[], Sequence[object]], what: str, *, within_s: float = PATIENCE_S) -> None:
    """Waits until `look` finds nothing any more; fails with what it still finds."""
    __tracebackhide__ = True
    deadline_s = time.monotonic() + within_s
    while found := look():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"still there after {within_s:g} s, {what}: {', '.join(map(str, found))}")
        _pause(LOOK_AROUND_S)


def assert_prompt(late_s: Sequence[float], *, within_s: float) -> None:
    """All but one of these came within it, and that one within thrice: others who test may hold up any process once."""
    __tracebackhide__ = True
    assert len(late_s) > 2, late_s
    *most, latest = sorted(late_s)
    assert most[-1] < within_s, list(late_s)
    assert latest < 3 * within_s, list(late_s)


async def within(limit_s: float, took_s: Callable[[], Awaitable[float]], *, tries: int = 3) -> None:
    """It takes less than that, at one of so many tries: others who test may hold up any process, but not each time."""
    __tracebackhide__ = True
    late_s: list[float] = []
    while not late_s or late_s[-1] >= limit_s:
        assert len(late_s) < tries, f"each time it took longer than {limit_s:g} s: {late_s}"
        late_s.append(await took_s())


def _pause(seconds: float = LOOK_S) -> None:
    threading.Event().wait(seconds)
