"""Whether a sequence has begun to repeat itself at its end. Pure."""

from __future__ import annotations

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
    return best
