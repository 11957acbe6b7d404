"""Which threads a debugger holds, and a clock that stands while it holds one.

A debugger says to nobody that it begins or ends, so a thread looks at the stacks of all others. It does so only where
a debugger is loaded at all, and marks itself as one that debuggers leave running.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType

LOOK_S = 0.1
"""Between two looks: what a pause has too much or too little at each end."""
DEBUGGERS = ("bdb", "pydevd")
"""One of these modules is loaded wherever a debugger for Python is: bdb for pdb and all that derive from it."""


def is_held(frame: FrameType | None) -> bool:
    """Whether the stack that ends in this frame stands in a debugger, which waits there for a person."""
    while frame is not None:
        module, name = str(frame.f_globals.get("__name__", "")), frame.f_code.co_name
        if (
            (module == "bdb" and name.startswith("dispatch_"))
            or (module == "pdb" and name == "interaction")  # looked at after an error, without a trace
            or (module.rpartition(".")[2] == "pydevd" and name.endswith("do_wait_suspend"))
        ):
            return True
        frame = frame.f_back
    return False


class DebuggerWatch:
    """Seconds in which no debugger held a thread of this process; enter it to have somebody look."""

    def __init__(self, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._pause: tuple[float, float | None] = (0.0, None)
        """How long all pauses took that are over, and when the one began that is not; changed as one."""
        self._told: list[Callable[[bool], None]] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="regrow-debugger-watch", daemon=True)
        self._thread.pydev_do_not_trace = True  # type: ignore[attr-defined] # so pydevd lets it run when it holds all
        self._thread.is_pydev_daemon_thread = True  # type: ignore[attr-defined]

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def is_paused(self) -> bool:
        """Whether a debugger holds a thread, as of the last look."""
        return self._pause[1] is not None

    def time(self) -> float:
        """Monotonic seconds without the pauses."""
        paused_s, since_s = self._pause  # read before the clock, so that a pause which ends now takes nothing back
        return (self._now_s() if since_s is None else since_s) - paused_s

    def tell(self, told: Callable[[bool], None]) -> None:
        """From now on `told` is called when a pause begins and ends, from the thread that looks."""
        self._told.append(told)

    def untell(self, told: Callable[[bool], None]) -> None:
        """And not any more."""
        self._told.remove(told)

    def look(self, stacks: Iterable[FrameType | None]) -> None:
        """Takes note of what all threads are at now."""
        paused_s, since_s = self._pause
        holds = any(is_held(frame) for frame in stacks)
        if holds == (since_s is not None):
            return
        self._pause = (paused_s, self._now_s()) if since_s is None else (paused_s + self._now_s() - since_s, None)
        for told in list(self._told):
            told(holds)

    def _watch(self) -> None:
        while not self._is_over.wait(LOOK_S):
            if any(name in sys.modules for name in DEBUGGERS):
                self.look(sys._current_frames().values())  # pyright: ignore[reportPrivateUsage] # nothing else has them
