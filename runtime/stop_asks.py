"""What a life asks while it is being stopped: it does not wait for a receiver that is between two lives.

A supervisor that restarts several agents starts none before the last of them has ended. So a turn which a stop waits
for, and which asks one that was stopped before it, would wait for what comes only behind it, and the stop with it until
its grace is over. Such an ask fails instead, after a moment in which the receiver may have come back by itself.

Whether a receiver is between two lives is known where its mailbox is. There the asker sends word (`AskedInStop`) again
and again while its stop lasts, along the way that the ask went.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from regrow.runtime.cell import State
from regrow.runtime.envelope import Envelope, Kind, mark_handled
from regrow.runtime.errors import NotAwaited
from regrow.runtime.lifecycle import NoProc
from regrow.runtime.signals import AskedInStop, Failure

if TYPE_CHECKING:
    from regrow.runtime.address import Incarnation
    from regrow.runtime.asks import PendingAsk
    from regrow.runtime.cell import Cell
    from regrow.runtime.runtime import Runtime

LOOK_S = 0.25
"""Between two looks at what those ask that are being stopped."""
PATIENCE_S = 0.5
"""So long a receiver may be between two lives, as at a crash of its own, before an ask of a stop fails for it."""


class StopAsks:
    """Looks at the asks of all lives of one process that are being stopped; one timer for all of them."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stopping: dict[Cell, Incarnation] = {}
        self._looked_for: dict[int, float] = {}
        """Since when it is seen, by the ask, that its receiver is looked for: it has no process."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, cell: Cell) -> None:
        """A life has been told to stop."""
        self._stopping[cell] = cell.incarnation
        if self._timer is None:
            self._timer = self._runtime.loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        runtime, self._timer = self._runtime, None
        self._stopping = {
            cell: life for cell, life in self._stopping.items() if not cell.is_over and cell.incarnation == life
        }
        looked_for, self._looked_for = self._looked_for, {}
        if not self._stopping or runtime.closed:
            return
        self._timer = runtime.loop.call_later(LOOK_S, self._look)
        for ask in runtime.asks:
            turn = ask.turn.turn_that_runs() if ask.turn is not None else None
            if turn is None or turn[0] not in self._stopping:
                continue
            if ask.envelope is not None and ask.envelope.holder is runtime.delivery:
                since = self._looked_for[ask.ask_id] = looked_for.get(ask.ask_id, runtime.loop.time())
                if runtime.loop.time() - since >= PATIENCE_S:
                    self._fail(ask, turn[0])
            else:
                self._send_word(ask, turn[0])

    def _fail(self, ask: PendingAsk, asker: Cell) -> None:
        command = ask.envelope.command_id if ask.envelope is not None else None
        # Of what is not stored it is known: had anybody taken it, it would have failed with him.
        so = _perhaps(command) if ask.has_left and command is not None else "it was not sent, and is not done"
        text = _text(ask.actor, asker.actor, type(ask.request).__name__, so)
        self._runtime.asks.fail(ask.ask_id, NotAwaited(ask.actor, NoProc(), text))

    def _send_word(self, ask: PendingAsk, asker: Cell) -> None:
        runtime = self._runtime
        host = runtime.host if ask.actor in runtime.cells else ask.host
        if host is not None:
            word = AskedInStop(
                host=runtime.host, ask_id=ask.ask_id, asker=asker.actor, request=type(ask.request).__name__
            )
            runtime.ask_rings.send(host, ask.actor, word)

    def heard(self, cell: Cell, word: AskedInStop) -> None:
        """Who is being stopped waits for an answer of `cell`: fails that ask where no life has been here for a while.

        What its journal has stays, and is done by the next life; anything else is taken out.
        """
        runtime = self._runtime
        if cell.state is not State.RESTARTING or runtime.loop.time() - cell.ended_at < PATIENCE_S:
            return
        is_stored = cell.intake.holds if cell.intake is not None else None
        taken = cell.mailbox.take_back(word.host, word.ask_id, unless=is_stored)
        if taken is not None:
            mark_handled(taken)
            so = "it was not begun, and is not done"
        else:
            asks = (envelope for envelope in cell.mailbox.user if envelope.is_ask_of(word.host, word.ask_id))
            kept = next(asks, None)
            so = _perhaps(kept.command_id if kept is not None else None)
        asked = Envelope(Kind.ASK, cell.actor, word, runtime.origin, ask_id=word.ask_id)
        asked.reply_host = word.host
        text = _text(cell.actor, word.asker, word.request, so)
        runtime.fail(asked, Failure(error=NotAwaited.__name__, text=text, reason=NoProc()))


def _perhaps(command: str | None) -> str:
    so = "it may have been done, or be done by the next life"
    return so if command is None else f"{so}: ask then under the same command id, {command}"


def _text(actor: str, asker: str, request: str, so: str) -> str:
    return (
        f"{actor} is between two lives, and {asker} is being stopped, perhaps before the next one may begin; so its "
        f"{request} is waited for no longer, and {so}"
    )
