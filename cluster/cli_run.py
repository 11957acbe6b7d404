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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from regrow.cluster.app import App, EngineName
from regrow.cluster.code import app_named
from regrow.cluster.config import Settings
from regrow.cluster.control import ControlSocket
from regrow.cluster.errors import AppNotFound
from regrow.cluster.stop_order import EXIT_SIGNAL_BASE, SIGNALS, StopOrder
from regrow.cluster.tree import TreeNode
from regrow.runtime.lifecycle import ExitReason, Shutdown

EXIT_ABNORMAL = 1
"""The root of the tree ended abnormally: a supervisor gave up."""

JOB_FOLDERS = "working_dir_files"
"""Below a folder of this name Ray unpacks what `ray job submit --working-dir` uploads: anew for each change."""

EXIT_LIMIT_S = 5.0
"""How long a `def` handler that still runs may hold up the end of the process, once all else has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended, and the exit code that says so."""

    app: str
    engine: str
    reason: ExitReason
    exit_code: int


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
    if JOB_FOLDERS in Path.cwd().parts and settings.data_dir is None and settings.redis.url is None:
        say("what this app remembers lies in Ray's copy of its folder and goes with it; keep it with REGROW_DATA_DIR")
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
                running = await order.start(app.start(engine=engine, settings=settings))
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
