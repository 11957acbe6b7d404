"""A thread that connects to Ray, stays for as long as the connection lasts, and leaves it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future


class RayThread:
    """Runs `enter`, waits for `leave_soon`, and runs `leave`: one thread lives as long as what it entered.

    Connecting takes seconds, in which the event loop has to hear signals and answer `regrow ps`. And Linux
    ends the processes of a local Ray with the thread that started them (PR_SET_PDEATHSIG), so that no thread
    of a pool may do it. A daemon, since native code that hangs must not hold up the end of the program.
    """

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self.entered: Future[None] = Future()
        """Done when `enter` has returned or raised."""
        self.left: Future[None] = Future()
        """Done when `leave` has returned or raised; it also runs after an `enter` that raised."""
        self._enter = enter
        self._leave = leave
        self._leaving = threading.Event()
        threading.Thread(target=self._live, name="regrow-ray", daemon=True).start()

    def leave_soon(self) -> None:
        """Makes it leave as soon as it has entered. Idempotent."""
        self._leaving.set()

    def _live(self) -> None:
        _told(self.entered, self._enter)
        if self.entered.exception() is None:
            self._leaving.wait()
        _told(self.left, self._leave)


def _told(future: Future[None], run: Callable[[], None]) -> None:
    try:
        run()
    except BaseException as error:  # the thread has nobody above it; whoever waits for the future gets the error
        future.set_exception(error)
    else:
        future.set_result(None)
