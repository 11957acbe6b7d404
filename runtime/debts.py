"""The failures an ended life owes its askers, held for a moment so that they can say what came next.

"… it is back after 18 ms" helps a person more than "it died". A failure waits for the next life, for
the supervisor's word that none will come, or for HOLD_S, whichever is first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.envelope import Envelope
from regrow.runtime.lifecycle import ExitReason
from regrow.runtime.signals import Failure, end_text

if TYPE_CHECKING:
    from regrow.runtime.intake import Intake
    from regrow.runtime.runtime import Runtime

HOLD_S = 0.1
"""The longest that an asker waits to hear of a death, in the hope of good news."""


class Debts:
    """What one cell owes to those who asked a life of it that ended."""

    __slots__ = ("_actor", "_owed", "_runtime", "_since", "_timer")

    def __init__(self, runtime: Runtime, actor: ActorId) -> None:
        self._runtime = runtime
        self._actor = actor
        self._owed: list[tuple[Envelope, Incarnation, ExitReason, bool]] = []
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def owe(
        self, envelope: Envelope, incarnation: Incarnation, reason: ExitReason, *, intake: Intake | None = None
    ) -> None:
        """An ask was being handled when its agent ended; its `intake` may keep what became of it."""
        kept = intake is not None and intake.keeps(envelope)
        if not self._owed:
            self._since = self._runtime.loop.time()
            self._timer = self._runtime.loop.call_later(
                HOLD_S, self.pay, "its supervisor starts it again unless it is temporary"
            )
        self._owed.append((envelope, incarnation, reason, kept))

    def pay_restarted(self) -> None:
        """The next life has initialised."""
        if self._owed:
            self.pay(f"it is back after {(self._runtime.loop.time() - self._since) * 1000:.0f} ms")

    def pay(self, what_next: str) -> None:
        """Tells everybody who waits what happened and what comes next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        owed, self._owed = self._owed, []
        for envelope, incarnation, reason, kept in owed:
            text = end_text(self._actor, incarnation, reason, type(envelope.message).__name__, what_next, kept=kept)
            self._runtime.fail(envelope, Failure(error="AskFailed", text=text, reason=reason))
