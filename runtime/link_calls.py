"""The calls of one end of a link that have no result yet, and when the next one may start.

One call costs more than a hundred rows, so while calls are in flight rows gather. A call that stays without a result
is *overdue* after a while and holds nobody up any more, but there is a limit to how many may pend. After a failed
call there is quiet for a while, or an unreachable peer would be called for each row.

Patience and quiet grow with each call that tells nothing of the peer, since it may be slow or out of reach. A call that
a later one has *passed*, by returning first, is no such sign: it alone was lost. Ray takes two seconds to say so, and
where a part of all calls is lost some are always in that state; were they counted, each loss would slow down the rest.
"""

from __future__ import annotations

from typing import Generic

from regrow.runtime.link_outgoing import SentFrame
from regrow.runtime.link_rows import LinkSettings, RowT


class _Pending(Generic[RowT]):
    """One call without a result."""

    __slots__ = ("counts", "frames", "is_held", "overdue_s")

    def __init__(self, frames: list[SentFrame[RowT]], *, counts: bool, is_held: bool, overdue_s: float) -> None:
        self.frames = frames
        self.counts = counts
        self.is_held = is_held
        self.overdue_s = overdue_s


class Calls(Generic[RowT]):
    """Counts calls and knows how many may start now."""

    __slots__ = ("_failures", "_last_returned", "_made", "_pending", "_settings", "quiet_until_s")

    def __init__(self, settings: LinkSettings) -> None:
        self._settings = settings
        self._pending: dict[int, _Pending[RowT]] = {}
        self._made = 0
        self._last_returned = 0
        self._failures = 0
        self.quiet_until_s = 0.0
        """No call starts before this time."""

    def may_start(self, now: float) -> bool:
        """Whether any call at all may start."""
        return now >= self.quiet_until_s and not self.is_spent

    @property
    def is_spent(self) -> bool:
        """Whether so many calls pend that only the end of one allows another."""
        return len(self._pending) >= self._settings.max_calls_pending

    def in_flight(self, now: float) -> int:
        """How many calls are in flight: neither held for a reply, nor bare acknowledgements, nor overdue."""
        return sum([call.counts and call.overdue_s > now for call in self._pending.values()])

    def start(self, now: float, frames: list[SentFrame[RowT]]) -> int:
        """Notes a call with these frames; returns its number."""
        rows = [row for frame in frames for row in frame.rows[:2]]
        is_held = len(rows) == 1 and rows[0].is_ask and self._held() < self._settings.max_held_calls
        self._made += 1
        self._pending[self._made] = _Pending(
            frames, counts=bool(frames) and not is_held, is_held=is_held, overdue_s=now + self.patience_s(now)
        )
        return self._made

    def patience_s(self, now: float) -> float:
        """How long a call that starts now may take: longer, the more since the last that returned are overdue."""
        overdue = sum(
            [call.overdue_s <= now and number > self._last_returned for number, call in self._pending.items()]
        )
        return backoff(self._settings, self._settings.resend_after_s, overdue)

    def returned(self, number: int) -> bool:
        """Ends a call; False if it had ended before."""
        if self._pending.pop(number, None) is None:
            return False
        self._last_returned = max(self._last_returned, number)
        self._failures = 0
        self.quiet_until_s = 0.0
        return True

    def failed(self, now: float, number: int) -> None:
        """Ends a call whose frames are now to be sent again, once the quiet is over."""
        pending = self._pending.pop(number, None)
        if pending is None:
            return
        if number > self._last_returned:
            self.quiet_until_s = now + backoff(self._settings, self._settings.retry_after_s, self._failures)
            self._failures += 1
        for frame in pending.frames:
            frame.due_s = min(frame.due_s, max(now, self.quiet_until_s))

    def free_at(self, slot: int) -> float:
        """When fewer than `slot` calls are in flight, should none of them end before."""
        busy = sorted([call.overdue_s for call in self._pending.values() if call.counts], reverse=True)
        return busy[slot - 1] if len(busy) >= slot else 0.0

    def close(self) -> None:
        """Forgets all calls; their results will be ignored."""
        self._pending.clear()

    def _held(self) -> int:
        return sum([call.is_held for call in self._pending.values()])


def backoff(settings: LinkSettings, first_s: float, times: int) -> float:
    """`first_s`, doubled so many times, up to the settings' limit."""
    return min(first_s * 2.0 ** min(times, 60), settings.max_resend_after_s)
