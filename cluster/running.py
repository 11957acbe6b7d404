"""One run of an app, from the claim of its name to its end in order: `regrow run` and `App.run` alike.

Ctrl-C, SIGTERM, the end of the terminal and `regrow stop` all do the same, whenever they come: before the
app runs its start is undone, afterwards its tree ends within the shutdown limits of its children.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regrow.cluster.control import ControlSocket
from regrow.cluster.stop_order import StopOrder
from regrow.cluster.tree import TreeNode
from regrow.runtime.lifecycle import ExitReason, Shutdown
from regrow.runtime.redaction import Redaction, cut_without
from regrow.supervisors.children import REASON_LIMIT_CHARS

if TYPE_CHECKING:
    from regrow.cluster.app import App, EngineName, Running
    from regrow.cluster.config import Settings

EXIT_ABNORMAL = 1
"""The root of the tree ended abnormally: a supervisor gave up."""

EXIT_SIGNAL_BASE = 128
"""Interrupted before it ran, a program ends with this and the signal's number, as shells have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended. `interrupted_by` is the signal that came before the app ran, if one did.

    `told` is the reason as people are told it: without what looks like a secret in the text of an error.
    """

    app: str
    engine: str
    reason: ExitReason
    told: ExitReason
    interrupted_by: signal.Signals | None = None

    @property
    def exit_code(self) -> int:
        """The exit code that says so."""
        if self.interrupted_by is not None:
            return EXIT_SIGNAL_BASE + self.interrupted_by
        return EXIT_ABNORMAL if self.reason.abnormal else 0

    def raise_if_interrupted(self) -> None:
        """Ends a program whose start was interrupted as Python ends it for that signal."""
        if self.interrupted_by is signal.SIGINT:
            raise KeyboardInterrupt
        if self.interrupted_by is not None:
            raise SystemExit(self.exit_code)


async def supervise(
    app: App,
    engine: EngineName | None,
    settings: Settings,
    *,
    say: Callable[[str], None],
    show: Callable[[str, str, tuple[TreeNode, ...]], None] | None = None,
    start: Callable[[], Awaitable[Running]] | None = None,
) -> Ended:
    """Runs an app until its root ends or somebody stops it; meanwhile `regrow ps`, `ask` and `stop` reach it.

    `say` gets lines for a person, `show` the name, the engine and the tree once it runs; `start` starts it where it is
    not to be started as usual. Raises AppAlreadyRunning and what `App.start` raises; then nothing is left running.
    """
    name = engine or settings.engine
    order = StopOrder(say)
    with order.on_signals():
        async with ControlSocket(app.name, engine=name, request_stop=order.give, settings=settings) as control:
            try:
                running = await order.start(start() if start is not None else app.start(engine=name, settings=settings))
            except asyncio.CancelledError:
                if not order.given:
                    raise
                reason = Shutdown(detail="stopped before it ran")
                control.ended(reason)
                return Ended(app=app.name, engine=name, reason=reason, told=reason, interrupted_by=order.by)
            try:
                control.attach(running)
                if show is not None:
                    show(app.name, name, await running.tree())
                ended = await running.wait_ended()
            finally:
                await running.stop()
            told = _without_secrets(ended, Redaction(settings.tracing.redact))
            control.ended(told)
    return Ended(app=app.name, engine=name, reason=ended, told=told)


def _without_secrets(reason: ExitReason, redact: Callable[[str], str]) -> ExitReason:
    texts = {
        name: cut_without(redact, text, REASON_LIMIT_CHARS)
        for name, text in reason
        if isinstance(text, str) and name != "kind"
    }
    return reason.model_copy(update=texts)
