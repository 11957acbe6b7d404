"""Whether a sequence has begun to repeat itself at its end. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Rounds(NamedTuple):
    """The last `period` items come again and again, and the very last one has been there so many `times`."""

    period: int
    times: int


def rounds_at_end(items: Sequence[object], longest: int) -> Rounds:
    """The shortest period, up to `longest`, by which the last item has come most often."""
    best = Rounds(1, 1)
    for period in range(1, min(longest, len(items) - 1) + 1):
        alike = period
        while alike < len(items) and items[-1 - alike] == items[-1 - alike + period]:
            alike += 1
        times = 1 + (alike - 1) // period
        if times > best.times:
            best = Rounds(period, times)
        if alike == len(items):
            break  # a longer period has room for no more of them
    return best


def recurring_at_end(pairs: Sequence[tuple[int, int]]) -> Rounds:
    """How many of the last (call, outcome) come again and again in any order, and how often, taken by the middle.

    Each call of them gives one outcome only, and is there at least half as often as the middle.
    """
    best = Rounds(1, 1)
    outcomes: dict[int, int] = {}
    counts: Counter[int] = Counter()
    for length, (what, outcome) in enumerate(reversed(pairs), start=1):
        if outcomes.setdefault(what, outcome) != outcome:
            break
        counts[what] += 1
        if length < len(counts) * (best.times + 1):
            continue
        times = min(length // len(counts), 2 * min(counts.values()))
        if times > best.times:
            best = Rounds(len(counts), times)
    return best
