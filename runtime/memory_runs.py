"""The counts of runs in the memory of one process: the twin of the port, and all that an app without a Redis has."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from regrow.runtime.run_store import (
    KEPT_CALLS,
    NOTHING,
    RUN_TTL_S,
    WIRE_TTL_S,
    Amounts,
    CallNote,
    Calls,
    Taken,
    WireCounts,
    cap_passed,
)

if TYPE_CHECKING:
    from regrow.runtime.guards import Guards

MAX_RUNS: Final = 10_000
"""Of those, the one that was counted longest ago is forgotten for another."""
MAX_AGENTS: Final = 1_000
"""Of one run, whose last calls are kept."""
MAX_ADDRESSES: Final = 1_000


@dataclass(slots=True)
class _Run:
    began_s: float
    counted_s: float
    counts: Amounts = field(default_factory=Amounts)
    open: dict[str, Amounts] = field(default_factory=dict)
    calls: OrderedDict[str, deque[CallNote]] = field(default_factory=OrderedDict)


class MemoryRuns:
    """Counts runs in this process, by its own monotonic clock. Its owner is one event loop."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._sent: OrderedDict[str, tuple[WireCounts, float]] = OrderedDict()

    async def take(self, run: str, amounts: Amounts, guards: Guards, *, id: str = "", held: Amounts = NOTHING) -> Taken:
        """As the port says."""
        counted = self._run(run)
        age_s = self._now_s() - counted.began_s
        if id and id in counted.open:
            return Taken(counts=counted.counts, age_s=age_s)
        counts = counted.counts.plus(amounts)
        if over := cap_passed(counts, age_s, guards, taking=amounts.plus(held)):
            return Taken(counts=counted.counts, age_s=age_s, over=over)
        counted.counts = counts.plus(held)
        if id:
            counted.open[id] = amounts.plus(held)
        return Taken(counts=counted.counts, age_s=age_s)

    async def settle(self, run: str, id: str, amounts: Amounts) -> None:
        """As the port says."""
        counted = self._run(run)
        taken = counted.open.pop(id, None)
        if taken is not None:
            counted.counts = counted.counts.plus(amounts).minus(taken)

    async def note(self, run: str, agent: str, call: CallNote) -> None:
        """As the port says."""
        calls = self._run(run).calls
        kept = calls.setdefault(agent, deque(maxlen=KEPT_CALLS))
        calls.move_to_end(agent)
        if len(calls) > MAX_AGENTS:
            calls.popitem(last=False)
        if all(each.id != call.id for each in kept):
            kept.append(replace(call, at_s=self._now_s()))

    async def calls(self, run: str, agent: str) -> Calls:
        """As the port says."""
        counted = self._runs.get(run)
        return Calls(notes=tuple(counted.calls.get(agent, ())) if counted is not None else (), now_s=self._now_s())

    async def sent(self, address: str, counts: WireCounts) -> WireCounts:
        """As the port says."""
        now_s = self._now_s()
        before, at_s = self._sent.pop(address, (WireCounts(), now_s))
        totals = before.plus(counts) if now_s - at_s <= WIRE_TTL_S else counts
        self._sent[address] = totals, now_s
        if len(self._sent) > MAX_ADDRESSES:
            self._sent.popitem(last=False)
        return totals

    async def aclose(self) -> None:
        """Nothing is held that would have to be let go."""

    def _run(self, run: str) -> _Run:
        now_s = self._now_s()
        counted = self._runs.pop(run, None)
        if counted is None or now_s - counted.counted_s > RUN_TTL_S:
            counted = _Run(began_s=now_s, counted_s=now_s)
        counted.counted_s = now_s
        self._runs[run] = counted
        if len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)
        return counted
