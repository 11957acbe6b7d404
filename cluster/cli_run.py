"""`regrow run`: starts an app, keeps its control socket, and stops it in order, whoever asks for that.

Ctrl-C, SIGTERM, the end of the terminal and `regrow stop` all do the same, whenever they come: before the
app runs its start is undone, afterwards its tree ends within the shutdown limits of its children.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from regrow.cluster.app import App, EngineName, Running
from regrow.cluster.code import app_named
from regrow.cluster.config import Settings
from regrow.cluster.control import ControlSocket
from regrow.cluster.errors import AppNotFound
from regrow.cluster.tree import TreeNode
from regrow.runtime.lifecycle import ExitReason, Shutdown

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

EXIT_ABNORMAL = 1
"""The root of the tree ended abnormally: a supervisor gave up."""

EXIT_SIGNAL_BASE = 128
"""Interrupted before it ran, a program ends with this and the signal's number, as shells have it."""

EXIT_LIMIT_S = 5.0
"""How long a `def` handler that still runs may hold up the end of the process, once all else has ended."""


TAKE_SIGNALS_EVERY_S = 0.05
"""How long, while an app starts, somebody else may have a signal of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended, and the exit code that says so."""

    app: str
    engine: str
    reason: ExitReason
    exit_code: int


class StopOrder:
    """One order to stop; it may come at any time and any number of times."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.given = False
        self.by: signal.Signals | None = None
        self._say = say
        self._starting: asyncio.Task[Running] | None = None
        self._running: Running | None = None
        self._numbers: list[signal.Signals] = []

    async def start(self, app: App, engine: EngineName, settings: Settings) -> Running:
        """Starts the app. Raises CancelledError when the order comes before it runs; then nothing of it does."""

        async def started() -> Running:
            return await app.start(engine=engine, settings=settings)

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


def run(
    target: str,
    *,
    engine: EngineName | None,
    config: Path | None,
    say: Callable[[str], None],
    show: Callable[[str, str, tuple[TreeNode, ...]], None],
) -> Ended:
    """Runs `MODULE:APP` until its root ends or somebody stops it. Blocks.

    `say` gets lines for a person, `show` the name, the engine and the tree once it runs. Raises AppNotFound,
    ConfigError, AppAlreadyRunning and what `App.start` raises; then nothing is left running.
    """
    settings = Settings.load(config)
    app = _imported(target)
    return asyncio.run(supervise(app, engine or settings.engine, settings, say=say, show=show))


async def supervise(
    app: App,
    engine: EngineName,
    settings: Settings,
    *,
    say: Callable[[str], None],
    show: Callable[[str, str, tuple[TreeNode, ...]], None],
) -> Ended:
    """The same inside an event loop."""
    order = StopOrder(say)
    with order.on_signals():
        async with ControlSocket(app.name, engine=engine, request_stop=order.give) as control:
            try:
                running = await order.start(app, engine, settings)
            except asyncio.CancelledError:
                if not order.given:
                    raise
                reason = Shutdown(detail="stopped before it ran")
                control.ended(reason)
                code = EXIT_SIGNAL_BASE + order.by if order.by is not None else 0
                return Ended(app=app.name, engine=engine, reason=reason, exit_code=code)
            try:
                control.attach(running)
                show(app.name, engine, await running.tree())
                ended = await running.wait_ended()
            finally:
                await running.stop()
            control.ended(ended)
    return Ended(app=app.name, engine=engine, reason=ended, exit_code=EXIT_ABNORMAL if ended.abnormal else 0)


def limit_exit(code: int) -> None:
    """Ends the process within EXIT_LIMIT_S even if a thread is still busy.

    A `def` handler that never returns can not be ended otherwise, and Python waits for it for ever. Signals
    come too late by now.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)

    def end() -> None:
        sys.stderr.write("regrow: a handler did not return; the process is ended without it\n")
        sys.stderr.flush()
        os._exit(code)

    timer = threading.Timer(EXIT_LIMIT_S, end)
    timer.daemon = True
    timer.start()


def _imported(target: str) -> App:
    try:
        return app_named(target)
    except SystemExit as error:
        raise AppNotFound(
            target, f"importing it ends the program (exit {error.code}); put that below: if __name__ == '__main__'"
        ) from error
