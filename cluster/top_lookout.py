"""Looks that are taken on a thread of their own, so that keys are heard however long an app takes to answer."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Self

from regrow.cluster.top import may_go_on

TYPED_BYTES = 64
"""How much of what is typed is read at once."""
KEY_S = 0.05
"""How long the rest of a key is waited for: a slow line brings an arrow in two parts, of which the first is Esc."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: what takes in what was seen, and how long it took."""

    take_in: Callable[[], None]
    took_s: float


class Lookout:
    """Takes one look at a time, and waits for it, for keys, and another size of the terminal; in the main thread."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._seen: Seen | None = None
        self._failed: Exception | None = None
        self.is_free = True

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGWINCH, self._resized)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A look that is under way is left to itself, and ends with the program."""
        signal.signal(signal.SIGWINCH, self._before)

    def take(self, look: Callable[[], Callable[[], None]]) -> None:
        """Begins a look; what it gives is to be called by who has `seen` it."""
        self.is_free = False
        threading.Thread(target=self._look, args=(look,), name="regrow-top", daemon=True).start()

    def seen(self) -> Seen | None:
        """The look that has ended since this was last asked. Raises what it raised."""
        if self._failed is not None:
            raise self._failed
        seen, self._seen = self._seen, None
        self.is_free = self.is_free or seen is not None
        return seen

    def typed_or_seen(self, keys: int, *, within_s: float) -> bytes | None:
        """What was typed, once there is any, a look has ended or the size changed; None where the terminal is gone."""
        ready, _, _ = select.select([keys, self._read], [], [], within_s)
        if self._read in ready:
            os.read(self._read, TYPED_BYTES)
        return _typed(keys) if keys in ready else b""

    def _look(self, look: Callable[[], Callable[[], None]]) -> None:
        began_s = time.monotonic()
        try:
            take_in = look()
            self._seen = Seen(take_in, time.monotonic() - began_s)
        except Exception as error:  # of whatever sort: it is raised where the view is, which ends of it
            self._failed = error
        self._wake()

    def _resized(self, number: int, frame: FrameType | None) -> None:
        self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._write, b".")
        except BlockingIOError:
            pass  # it is full of such words already


def _typed(keys: int) -> bytes | None:
    typed = b""
    while True:
        try:
            more = os.read(keys, TYPED_BYTES)
        except OSError:
            return None
        if not more:
            return None
        typed += more
        if not may_go_on(typed) or not select.select([keys], [], [], KEY_S)[0]:
            return typed
