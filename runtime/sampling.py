"""Which traces are recorded, and how many spans of them: so many in a second, in bursts so large. Pure.

The decision on a trace falls once, where its first message is sent, and travels with it. What is left out is counted.
"""

from __future__ import annotations

from math import inf

BURST_S = 10.0
"""How many seconds' worth of traces may begin at once after a quiet time."""
REPORTS_PER_S = 20.0
"""Reports of supervisors outside of any trace: all where something goes wrong have a span, and few at a mass start."""
SPANS_PER_S = 100.0
"""Spans of turns in one process. Between other work one costs some 150 µs until it is stored, in two processes:
they take one to two hundredths of a core."""
SPANS_AT_ONCE = 2_000.0
"""So many after a quiet time: nobody waits for a run of an agent to be looked at while it makes more."""


class TokenBucket:
    """Tokens that come back at a rate, up to `burst` of them. Times are seconds of one clock that never goes back."""

    __slots__ = ("_at_s", "_burst", "_left", "_none_until_s", "_per_s", "refused")

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._at_s: float | None = None
        self._none_until_s = -inf
        self.refused = 0
        """How often none was left."""

    def takes(self, now_s: float) -> bool:
        """Takes a token; False when there is none."""
        if now_s < self._none_until_s:  # what a busy process finds with nearly every message
            self.refused += 1
            return False
        if self._at_s is not None:
            self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1.0:
            self.refused += 1
            self._none_until_s = now_s + (1.0 - self._left) / self._per_s if self._per_s else inf
            return False
        self._left -= 1.0
        return True


class Sampling:
    """The sampling of one process: `traces_per_s` traces may begin here, and SPANS_PER_S turns be recorded."""

    def __init__(
        self, traces_per_s: float, *, spans_per_s: float = SPANS_PER_S, spans_at_once: float = SPANS_AT_ONCE
    ) -> None:
        self._traces = TokenBucket(traces_per_s, max(1.0, traces_per_s * BURST_S) if traces_per_s else 0.0)
        self._spans = TokenBucket(spans_per_s, spans_at_once)
        self._reports = TokenBucket(REPORTS_PER_S, REPORTS_PER_S * BURST_S)
        self.admits = self._spans.takes
        """Whether one more turn of a recorded trace gets a span at this time; its trace goes on in any case."""

    def reports(self, now_s: float) -> bool:
        """Whether one more report of a supervisor, which belongs to no trace, gets a span."""
        return self._reports.takes(now_s)

    def begins(self, now_s: float) -> bool:
        """Whether one more trace is recorded."""
        return self._traces.takes(now_s)

    @property
    def traces_left_out(self) -> int:
        """How many traces were not recorded."""
        return self._traces.refused

    @property
    def spans_left_out(self) -> int:
        """How many turns of recorded traces have no span."""
        return self._spans.refused
