"""How often children may be restarted, and how long each restart waits: two pure deciders.

`Intensity` is a value: each event gives a new one. It remembers at most `max_restarts` + 1 attempts,
since more than `max_restarts` already decide. Time is a monotonic clock in seconds, handed in.

Without back-off an attempt ages by the clock, as in OTP. With back-off it ages only while the child
it belongs to runs: otherwise a supervisor that waits longer than `within_s` between two attempts
would forget each before the next, and a child that never comes up would never be reported.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from regrow.supervisors.errors import SpecError

JITTER_SHARE = 0.5
"""How much of a delay jitter may take off. It takes off and never adds, so that children which wait
for `max_s` are spread as well."""

DOUBLINGS_LIMIT = 1_000
"""2.0 ** 1024 is past what a float holds; no `max_s` is reached later than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long restarts wait: 0, `first_s`, 2·`first_s`, … seconds, never more than `max_s`.

    Raises SpecError when made with anything but 0 < first_s ≤ max_s < ∞.
    """

    first_s: float = 0.1
    max_s: float = 30.0

    def __post_init__(self) -> None:
        for name, value in (("first_s", self.first_s), ("max_s", self.max_s)):
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            if not numeric or not math.isfinite(value) or value <= 0:
                raise SpecError(name, value, "seconds above 0", where="Backoff")
        if self.first_s > self.max_s:
            raise SpecError("first_s", self.first_s, f"at most max_s, which is {self.max_s:g}", where="Backoff")

    def delay_s(self, earlier: int, *, jitter: float) -> float:
        """The wait before a restart that has `earlier` attempts behind it; the first waits 0.

        `jitter` is a random number in [0, 1), handed in; it takes off up to half of the delay.
        """
        assert earlier >= 0
        assert 0 <= jitter < 1
        if earlier == 0:
            return 0.0
        # The product may be infinite, which min() takes in its stride.
        full_s = min(self.max_s, self.first_s * 2.0 ** min(earlier - 1, DOUBLINGS_LIMIT))
        return full_s * (1 - JITTER_SHARE * jitter)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One restart: whose it was, and when, on the clock by which it ages."""

    child_id: str
    at_s: float


@dataclass(frozen=True, slots=True)
class RunningTime:
    """How long a child ran since its first remembered attempt; `since_s` is None while it does not."""

    earlier_s: float = 0.0
    since_s: float | None = None

    def at(self, now_s: float) -> float:
        """Seconds it has run by `now_s`."""
        return self.earlier_s if self.since_s is None else self.earlier_s + (now_s - self.since_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intensity:
    """The restart window of one supervisor; every method gives the window that follows."""

    max_restarts: int
    within_s: float
    backoff: Backoff | None = None
    attempts: tuple[Attempt, ...] = ()
    running: Mapping[str, RunningTime] = field(default_factory=dict[str, RunningTime])
    """Only with back-off, and only for children that have attempts here."""

    def record(self, child_id: str, *, now_s: float, jitter: float = 0.0) -> Verdict:
        """Counts one restart, or one retry of a failed start, and says whether it may happen.

        One event is recorded once, under the child that caused it, however many siblings follow. The
        child counts as not running from here until `started`. `now_s` never goes back.
        """
        stopped = self.stopped(child_id, now_s=now_s)
        kept = stopped._recent(now_s)
        earlier = sum(attempt.child_id == child_id for attempt in kept) if self.backoff is not None else 0
        now = Attempt(child_id, stopped._clock(child_id, now_s))
        attempts = (*kept, now)[-(self.max_restarts + 1) :]
        following = replace(stopped, attempts=attempts, running=stopped._clocks_of(attempts))
        return Verdict(
            intensity=following,
            escalates=len(attempts) > self.max_restarts,
            delay_s=0.0 if self.backoff is None else self.backoff.delay_s(earlier, jitter=jitter),
        )

    def started(self, child_id: str, *, now_s: float) -> Intensity:
        """To be told whenever a child runs; its attempts age from here on."""
        clock = self.running.get(child_id)
        if clock is None or clock.since_s is not None:
            return self
        return replace(self, running={**self.running, child_id: replace(clock, since_s=now_s)})

    def stopped(self, child_id: str, *, now_s: float) -> Intensity:
        """To be told whenever a child ended or was stopped; its attempts keep the age they have."""
        clock = self.running.get(child_id)
        if clock is None or clock.since_s is None:
            return self
        return replace(self, running={**self.running, child_id: RunningTime(clock.at(now_s))})

    def forgotten(self, child_id: str) -> Intensity:
        """To be told when an operator stops or deletes a child.

        With back-off its attempts could never age again, and would count against its siblings for ever.
        """
        if self.backoff is None:
            return self
        attempts = tuple(attempt for attempt in self.attempts if attempt.child_id != child_id)
        return replace(self, attempts=attempts, running=self._clocks_of(attempts))

    def _recent(self, now_s: float) -> tuple[Attempt, ...]:
        """The attempts at most `within_s` old, the edge included (SEMANTICS 2)."""
        if self.backoff is None:  # then they are sorted by age, and a wide window need not be walked for each restart
            first = bisect_left(self.attempts, True, key=lambda a: now_s - a.at_s <= self.within_s)
            return self.attempts[first:]
        return tuple(a for a in self.attempts if self._clock(a.child_id, now_s) - a.at_s <= self.within_s)

    def _clock(self, child_id: str, now_s: float) -> float:
        """The clock by which the child's attempts age."""
        return now_s if self.backoff is None else self.running.get(child_id, RunningTime()).at(now_s)

    def _clocks_of(self, attempts: tuple[Attempt, ...]) -> dict[str, RunningTime]:
        if self.backoff is None:
            return {}
        return {a.child_id: self.running.get(a.child_id, RunningTime()) for a in attempts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from one more restart: the window after it, and to give up or to wait `delay_s`."""

    intensity: Intensity
    escalates: bool
    delay_s: float
