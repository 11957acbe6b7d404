"""One order to stop an app in order, whenever it comes: while it starts, while it runs, while it stops already.

Ctrl-C, SIGTERM and the end of the terminal give it, and so does `regrow stop`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regrow.cluster.app import Running

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

TAKE_SIGNALS_EVERY_S = 0.05
"""How long, while an app starts, somebody else may have a signal of ours."""


class StopOrder:
    """One order to stop; it may come at any time and any number of times."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.given = False
        self.by: signal.Signals | None = None
        self._say = say
        self._starting: asyncio.Task[Running] | None = None
        self._running: Running | None = None
        self._numbers: list[signal.Signals] = []

    async def start(self, starting: Awaitable[Running]) -> Running:
        """Starts an app. Raises CancelledError when the order comes before it runs; then nothing of it does."""

        async def started() -> Running:
            return await starting

        if self.given:
            raise asyncio.CancelledError
        self._starting = asyncio.get_running_loop().create_task(started())
        try:
            while not self._starting.done():
                await asyncio.wait([self._starting], timeout=TAKE_SIGNALS_EVERY_S)
                self.take_signals()
            self._running = await self._starting
        finally:
            self._starting.cancel()
        if self.given:
            self._running.engine.request_stop()  # it came in the same instant as the end of the start
        return self._running

    def give(self, by: signal.Signals | None = None) -> None:
        """Begins the stop."""
        if self.given:
            self._say("it is stopping, within the shutdown limits of its agents")
            return
        self.given, self.by = True, by
        self._say("stopping in order")
        if self._running is not None:
            self._running.engine.request_stop()
        elif self._starting is not None:
            self._starting.cancel()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Meanwhile signals give the order, all but those that somebody has switched off, as nohup does."""
        self._numbers = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self.take_signals()
        try:
            yield
        finally:
            for number in self._numbers:
                asyncio.get_running_loop().remove_signal_handler(number)

    def take_signals(self) -> None:
        """Takes the signals, also back from who took them meanwhile: Ray's native code takes SIGTERM and aborts."""
        for number in self._numbers:
            asyncio.get_running_loop().add_signal_handler(number, self.give, number)
