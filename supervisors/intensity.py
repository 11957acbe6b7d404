"""How often children may be restarted, and how long each restart waits: two pure deciders.

`Intensity` is a window that one supervisor keeps. It remembers at most `max_restarts` + 1 attempts,
since more than `max_restarts` already decide. Time is a monotonic clock in seconds, handed in, and so
is chance. It changes in place: a new value for each event would copy the window each time, and a
supervisor that loses 10,000 children at once would copy 10,000² attempts.

Without back-off an attempt ages by the clock, as in OTP. With back-off it ages only while the child
it belongs to runs: otherwise a supervisor that waits longer than `within_s` between two attempts
would forget each before the next, and a child that never comes up would never be reported.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from regrow.supervisors.errors import SpecError

JITTER_SHARE = 0.5
"""How much of a delay jitter may take off. It takes off and never adds, so that children which wait
for `max_s` are spread as well."""

DOUBLINGS_LIMIT = 1_000
"""2.0 ** 1024 is past what a float holds; no `max_s` is reached later than this."""

EVERY_CHILD = ""
"""Whose the clock is by which all attempts age without back-off; no child has this id."""

NO_LIVES: Mapping[str, int] = MappingProxyType({})
"""Of a restart of which nobody will ask whose end it was for."""

STALE_LIMIT = 16
"""So many clocks that are gone may be left in the heap beside as many as are there."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from one more restart: to give up, or to wait `delay_s`."""

    escalates: bool
    delay_s: float


@dataclass(slots=True, eq=False)
class _Clock:
    """The clock by which attempts age, and those that are in the window, as (number, what it showed), oldest first.

    With back-off each child has its own, which stands while `since_s` is None.
    """

    child_id: str
    earlier_s: float = 0.0
    since_s: float | None = None
    attempts: deque[tuple[int, float]] = field(default_factory=deque[tuple[int, float]])
    is_watched: bool = False
    """Whether it is in the heap of those that are looked at when their time has come."""

    def at(self, now_s: float) -> float:
        """What it shows at `now_s`."""
        return self.earlier_s if self.since_s is None else self.earlier_s + (now_s - self.since_s)

    def edge_s(self, within_s: float) -> float:
        """The last moment of its oldest attempt in a window of `within_s`; later if it is stopped meanwhile."""
        assert self.since_s is not None
        return self.since_s + (self.attempts[0][1] + within_s - self.earlier_s)


class Intensity:
    """The restart window of one supervisor; an event costs the same however many attempts are in it."""

    def __init__(self, *, max_restarts: int, within_s: float, backoff: Backoff | None = None) -> None:
        self.max_restarts = max_restarts
        self.within_s = within_s
        self.backoff = backoff
        self._clocks: dict[str, _Clock] = {}
        self._order: OrderedDict[int, _Clock] = OrderedDict()
        self._lives: dict[int, dict[str, int]] = {}
        """By attempt, the lives whose ends it was for."""
        self._numbers = itertools.count()
        self._watched: list[tuple[float, int, _Clock]] = []
        """A heap of running clocks by when their oldest attempt leaves the window, or earlier."""

    @property
    def restarts(self) -> int:
        """How many attempts were in the window at the last event."""
        return len(self._order)

    @property
    def aged_by(self) -> frozenset[str]:
        """The children that have a clock here: with back-off those that have attempts."""
        return frozenset(self._clocks)

    def record(
        self, child_id: str, *, now_s: float, jitter: float = 0.0, lives: Mapping[str, int] = NO_LIVES
    ) -> Verdict:
        """Counts one restart, or one retry of a failed start, and says whether it may happen.

        One event is recorded once, under the child that caused it, however many siblings follow. The
        child counts as not running from here until `started`. `now_s` never goes back. `lives` are those whose ends
        this is for, by child.
        """
        self.stopped(child_id, now_s=now_s)
        self._let_go(now_s)
        clock = self._clock_of(child_id)
        delay_s = 0.0 if self.backoff is None else self.backoff.delay_s(len(clock.attempts), jitter=jitter)
        number = next(self._numbers)
        clock.attempts.append((number, clock.at(now_s)))
        self._order[number] = clock
        self._lives[number] = dict(lives)
        if clock.since_s is not None:
            self._watch(clock)
        if len(self._order) > self.max_restarts + 1:
            self._drop_oldest(next(iter(self._order.values())))
        return Verdict(escalates=self.restarts > self.max_restarts, delay_s=delay_s)

    def was_for(self, child_id: str, life: int) -> None:
        """To be told when the last attempt was for the end of one more life, which came later of the same event."""
        if self._order:
            self._lives[next(reversed(self._order))][child_id] = life

    def started(self, child_id: str, *, now_s: float) -> None:
        """To be told whenever a child runs; its attempts age from here on."""
        clock = self._clocks.get(child_id)
        if clock is not None and clock.since_s is None:
            clock.since_s = now_s
            self._watch(clock)

    def stopped(self, child_id: str, *, now_s: float) -> None:
        """To be told whenever a child ended or was stopped; its attempts keep the age they have."""
        clock = self._clocks.get(child_id)
        if clock is None or clock.since_s is None:
            return
        while clock.attempts and clock.edge_s(self.within_s) < now_s:  # a clock that stands is not looked at
            self._drop_oldest(clock)
        clock.earlier_s, clock.since_s = clock.at(now_s), None

    def forgotten(self, child_id: str) -> None:
        """To be told when an operator stops or deletes a child.

        With back-off its attempts could never age again, and would count against its siblings for ever.
        """
        clock = self._clocks.get(child_id)
        while clock is not None and clock.attempts:
            self._drop_oldest(clock)

    def refund(self, child_id: str, *, restarts: int, until: int) -> int:
        """Forgets the newest `restarts` attempts that were for ends of this child up to its life `until`; how many.

        Its next delay is reckoned without them. What has left the window is forgotten already, and not made up for.
        """
        caused = [number for number in reversed(self._order) if self._lives[number].get(child_id, until + 1) <= until]
        forgotten = caused[:restarts]
        for number in forgotten:
            clock = self._order[number]
            # Where it was the oldest, the clock is looked at too early once, and then for the next one.
            clock.attempts = deque(attempt for attempt in clock.attempts if attempt[0] != number)
            self._forget(number, clock)
        return len(forgotten)

    def _clock_of(self, child_id: str) -> _Clock:
        """The clock of the child; without back-off there is one for all, which always runs."""
        if self.backoff is None:
            return self._clocks.setdefault(EVERY_CHILD, _Clock(EVERY_CHILD, since_s=0.0))
        return self._clocks.setdefault(child_id, _Clock(child_id))

    def _let_go(self, now_s: float) -> None:
        """Drops the attempts that are more than `within_s` old; at the edge they count (SEMANTICS 2)."""
        while self._watched and self._watched[0][0] < now_s:
            _, _, clock = heapq.heappop(self._watched)
            clock.is_watched = False
            if clock.since_s is None or not clock.attempts:
                continue  # watched again once it runs, or gone
            if clock.edge_s(self.within_s) < now_s:
                self._drop_oldest(clock)
            if clock.attempts:
                self._watch(clock)

    def _watch(self, clock: _Clock) -> None:
        """Looks at the clock in time. Where it is watched already that is early enough: a stop only delays the edge."""
        if not clock.is_watched:
            clock.is_watched = True
            heapq.heappush(self._watched, (clock.edge_s(self.within_s), clock.attempts[0][0], clock))

    def _drop_oldest(self, clock: _Clock) -> None:
        number, _ = clock.attempts.popleft()
        self._forget(number, clock)

    def _forget(self, number: int, clock: _Clock) -> None:
        del self._order[number], self._lives[number]
        if not clock.attempts:
            del self._clocks[clock.child_id]
            if clock.is_watched and len(self._watched) > 2 * len(self._clocks) + STALE_LIMIT:
                self._watched = [entry for entry in self._watched if entry[2].attempts]
                heapq.heapify(self._watched)
