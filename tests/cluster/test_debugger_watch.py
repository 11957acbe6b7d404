"""A clock that stands while a debugger holds a thread: what counts as a debugger, and what does not."""

from __future__ import annotations

import bdb
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from regrow.cluster.debugger_watch import DebuggerWatch, is_held


class Looking(bdb.Bdb):
    """A debugger in which a person looks at one line."""

    def __init__(self, look: Callable[[], object]) -> None:
        super().__init__()
        self._look = look

    def user_line(self, frame: FrameType) -> None:
        self._look()
        self.set_continue()


def test_a_stack_in_which_a_debugger_waits_for_a_person_is_held() -> None:
    found: list[bool] = []

    Looking(lambda: found.append(is_held(sys._getframe()))).runcall(lambda: None)  # pyright: ignore[reportPrivateUsage]

    assert found == [True]


def test_code_that_runs_below_a_debugger_or_beside_one_is_not_held() -> None:
    found: list[bool] = []

    Looking(lambda: None).runcall(lambda: found.append(is_held(sys._getframe())))  # pyright: ignore[reportPrivateUsage]

    assert "bdb" in sys.modules
    assert found == [False], "the debugger has run it, and waits for nobody"
    assert not is_held(sys._getframe())  # pyright: ignore[reportPrivateUsage]
    assert not is_held(None)


def test_time_stands_from_the_look_that_finds_a_debugger_to_the_one_that_does_not() -> None:
    now_s, told = [100.0], list[bool]()
    watch = DebuggerWatch(now_s=lambda: now_s[0])
    watch.tell(told.append)
    seen = list[float]()
    debugger = Looking(lambda: watch.look([None, sys._getframe()]))  # pyright: ignore[reportPrivateUsage]
    for at_s, held in ((101.0, False), (102.0, True), (500.0, True), (600.0, False), (601.0, False), (602.0, True)):
        now_s[0] = at_s
        if held:
            debugger.runcall(lambda: None)
        else:
            watch.look([None, sys._getframe()])  # pyright: ignore[reportPrivateUsage]
        seen.append(watch.time())

    assert seen == [101.0, 102.0, 102.0, 102.0, 103.0, 104.0]
    assert told == [True, False, True], "once for each change"
    assert watch.is_paused


@pytest.fixture(autouse=True)
def _trace() -> Iterator[None]:
    """What measures the coverage of a run comes back behind each debugger."""
    before = sys.gettrace()
    yield
    sys.settrace(before)
