"""Where messages go that nobody will handle: counted exactly, logged at a bounded rate, never silent."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from regrow.runtime import telemetry
from regrow.runtime.envelope import Envelope, mark_handled
from regrow.runtime.metrics import count_up

log = structlog.get_logger("regrow.dead_letters")

KEPT = 200
"""How many of the latest dead letters can be looked at; the counts are kept for all."""
LOGGED_PER_S = 5
"""How many are logged one by one in a second; the rest of that second is one line with their number."""
NAME_LIMIT_CHARS = 200
"""A kept name is cut to this: ids and types are chosen by users, and what is kept stays bounded."""

Later = Callable[[float, Callable[[], None]], object]
"""Calls something after so many seconds, as a loop's `call_later` does."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that was not handled, and why.

    `at_s` is in this process's monotonic seconds. `incarnation` is the life of the receiver that it
    was meant for or died with, 0 where no life in particular was.
    """

    at_s: float
    reason: str
    receiver: str
    message_type: str
    sender: str
    incarnation: int = 0


class DeadLetters:
    """Counts dead letters by reason, keeps the latest and logs a few a second.

    `later` is how the rest of a second is summed up even if no further dead letter follows; without
    it the next one does. `added` is called for each, so that others may be told; it must not raise.
    """

    def __init__(self, time: Callable[[], float], later: Later | None = None) -> None:
        self._time = time
        self._later = later
        self._window_start = float("-inf")
        self._in_window = 0
        self.counts: Counter[str] = Counter()
        self.latest: deque[DeadLetter] = deque(maxlen=KEPT)
        self.added: Callable[[], None] = lambda: None

    @property
    def total(self) -> int:
        """How many there were in all."""
        return self.counts.total()

    def add(self, envelope: Envelope, reason: str, incarnation: int = 0) -> None:
        """Records one envelope that nobody will handle; `incarnation` is the life that was to do so, if one was."""
        mark_handled(envelope)
        now = self._time()
        sender = envelope.origin.sender
        letter = DeadLetter(
            at_s=now,
            reason=reason[:NAME_LIMIT_CHARS],
            receiver=envelope.receiver[:NAME_LIMIT_CHARS],
            message_type=type(envelope.message).__name__[:NAME_LIMIT_CHARS],
            sender=(str(sender) if sender else envelope.origin.principal or "outside")[:NAME_LIMIT_CHARS],
            incarnation=incarnation or envelope.incarnation or 0,
        )
        count_up(self.counts, letter.reason)
        self.latest.append(letter)
        self._log(letter, now, telemetry.trace_id(envelope.origin.trace))
        self.added()

    def sum_up(self) -> None:
        """Logs how many of the present second were not logged one by one."""
        suppressed, self._in_window = self._in_window - LOGGED_PER_S, 0
        if suppressed > 0:
            log.warning("dead letters not logged one by one", count=suppressed, total=self.total)

    def _log(self, letter: DeadLetter, now: float, trace: str) -> None:
        if now - self._window_start >= 1.0:
            self.sum_up()
            self._window_start = now
        self._in_window += 1
        if self._in_window <= LOGGED_PER_S:
            log.warning(
                "dead letter",
                reason=letter.reason,
                receiver=letter.receiver,
                incarnation=letter.incarnation,
                message=letter.message_type,
                sender=letter.sender,
                **({"trace": trace} if trace else {}),
            )
        elif self._in_window == LOGGED_PER_S + 1 and self._later is not None:
            start = self._window_start
            self._later(start + 1.0 - now, lambda: self.sum_up() if self._window_start == start else None)
