"""What one process counts of its work: integers that only grow, by a few labels, and never by the id of an agent.

Counting is an addition on the loop of the cells, without lock, task or clock. Who reads from another thread gets a copy
of each number as it is.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from regrow.runtime.lifecycle import ExitReason

VALUES_KEPT = 50
"""Of so many values of one label is counted; what comes with more of them is counted together, as OTHER."""
OTHER = "other"

COMMIT_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper edges of the buckets of commits, edge included; what takes longer is in one more bucket."""


class ModelKey(NamedTuple):
    """What calls of models are counted by."""

    model: str
    tier: str


class ModelSums:
    """The calls of one model: how many, how many of them failed, and what they came to."""

    __slots__ = ("calls", "cost_usd", "failed", "input_tokens", "output_tokens")

    def __init__(self) -> None:
        self.calls = self.failed = self.input_tokens = self.output_tokens = 0
        self.cost_usd = 0.0


class Histogram:
    """How many values fell between fixed edges, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Counts one more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Metrics:
    """The counts of one process, from its start on."""

    __slots__ = ("commits", "handled_by_gone", "models", "restarts", "spans_dropped", "tool_calls", "turns")

    def __init__(self) -> None:
        self.turns = 0
        """Messages that a handler was given, whatever came of it."""
        self.handled_by_gone = 0
        """Messages that were taken out of mailboxes which are no longer there."""
        self.restarts: dict[str, int] = {}
        self.tool_calls: dict[str, int] = {}
        self.models: dict[ModelKey, ModelSums] = {}
        self.commits = Histogram(COMMIT_BOUNDS_S)
        self.spans_dropped: Callable[[], dict[str, int]] = dict
        """By keeper and reason, with a colon between them; set where spans are recorded."""

    def restarted(self, after: ExitReason | None) -> None:
        """A supervisor has started a child again that had run before, and ended for this reason."""
        count_up(self.restarts, after.kind if after is not None else OTHER)

    def tool_called(self, outcome: str) -> None:
        """A call of a tool has ended; `outcome` is one of a few words."""
        count_up(self.tool_calls, outcome)

    def model_called(self, key: ModelKey, *, tokens: tuple[int, int], cost_usd: float, failed: bool) -> None:
        """A call of a model has ended; `tokens` went in and came out."""
        if key not in self.models and len(self.models) >= VALUES_KEPT:
            key = ModelKey(OTHER, OTHER)
        sums = self.models.setdefault(key, ModelSums())
        sums.calls += 1
        sums.failed += failed
        sums.input_tokens += tokens[0]
        sums.output_tokens += tokens[1]
        sums.cost_usd += cost_usd


def count_up(counts: dict[str, int], value: str, more: int = 1) -> None:
    """Counts so many more of a value; as OTHER where VALUES_KEPT others are counted already."""
    if value not in counts and len(counts) >= VALUES_KEPT:
        value = OTHER
    counts[value] = counts.get(value, 0) + more
