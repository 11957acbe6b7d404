"""Where messages go that nobody will handle: counted exactly, logged at a bounded rate, never silent."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from regrow.runtime.envelope import Envelope, mark_handled

log = structlog.get_logger("regrow.dead_letters")

KEPT = 200
"""How many of the latest dead letters can be looked at; the counts are kept for all."""
LOGGED_PER_S = 5
"""How many are logged one by one in a second; the rest of that second is one line with their number."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that was not handled, and why."""

    at_s: float
    reason: str
    receiver: str
    message_type: str
    sender: str


class DeadLetters:
    """Counts dead letters by reason, keeps the latest and logs a few a second."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._window_start = float("-inf")
        self._in_window = 0
        self.counts: Counter[str] = Counter()
        self.latest: deque[DeadLetter] = deque(maxlen=KEPT)

    @property
    def total(self) -> int:
        """How many there were in all."""
        return self.counts.total()

    def add(self, envelope: Envelope, reason: str) -> None:
        """Records one envelope that nobody will handle."""
        mark_handled(envelope)
        now = self._time()
        sender = envelope.origin.sender
        letter = DeadLetter(
            at_s=now,
            reason=reason,
            receiver=envelope.receiver,
            message_type=type(envelope.message).__name__,
            sender=str(sender) if sender else envelope.origin.principal or "outside",
        )
        self.counts[reason] += 1
        self.latest.append(letter)
        if now - self._window_start >= 1.0:
            suppressed = self._in_window - LOGGED_PER_S
            if suppressed > 0:
                log.warning("dead letters not logged one by one", count=suppressed)
            self._window_start, self._in_window = now, 0
        self._in_window += 1
        if self._in_window <= LOGGED_PER_S:
            log.warning(
                "dead letter",
                reason=reason,
                receiver=letter.receiver,
                message=letter.message_type,
                sender=letter.sender,
            )
