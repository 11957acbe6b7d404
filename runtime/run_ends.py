"""How runs end at their caps: when the seconds of each are over, as far as this process knows, and what is said of it.

The store of runs knows when a run began. Until it has told, the run began when this process met it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from regrow.runtime.guard_errors import RunUsedUp
from regrow.runtime.guards import Finding, Guards, Rung
from regrow.runtime.run_store import Amounts, Taken

if TYPE_CHECKING:
    from regrow.runtime.envelope import Origin

MAX_RUNS: Final = 10_000
"""Of those, the one of which nothing was heard for longest is forgotten for another."""


@dataclass(slots=True)
class Met:
    """A run that this process has met: since when there is one, and what the store has said last that it came to."""

    began_s: float
    counts: Amounts = field(default_factory=Amounts)


class RunEnds:
    """The runs of one process, by the clock of its loop."""

    def __init__(self, guards: Guards, now_s: Callable[[], float]) -> None:
        self._guards = guards
        self._now_s = now_s
        self._met: OrderedDict[str, Met] = OrderedDict()
        self._max_s = guards.max_s if guards.top >= Rung.REFUSE else None
        self.on_sooner: Callable[[str, float], None] | None = None
        """Told of a run whose seconds are over sooner than this process has thought, and when."""

    def met(self, run: str) -> Met:
        """What is known of a run; one that was met never before begins now."""
        met = self._met.pop(run, None)
        self._met[run] = met = met if met is not None else Met(self._now_s())
        if len(self._met) > MAX_RUNS:
            self._met.popitem(last=False)
        return met

    def heard(self, run: str, taken: Taken) -> None:
        """The store has said what a run has come to."""
        met, began_s = self.met(run), self._now_s() - taken.age_s
        is_older, met.began_s, met.counts = began_s < met.began_s, began_s, taken.counts
        if is_older and self._max_s is not None and self.on_sooner is not None:
            self.on_sooner(run, began_s + self._max_s)

    def ends_at(self, origin: Origin) -> float | None:
        """When the seconds of the run are over of which this is sent or called; None where nothing ends it."""
        met = self._met.get(origin.run)
        return None if met is None or self._max_s is None else met.began_s + self._max_s

    def over(self, origin: Origin) -> Finding:
        """What is to be said where its seconds are over, and something of it is under way."""
        met = self.met(origin.run)
        age_s = self._now_s() - met.began_s
        return used_up("max_s", met.counts, age_s, self._guards, run=origin.run, cut=True)


def used_up(
    over: str, counts: Amounts, age_s: float, guards: Guards, *, run: str, refused: int = 0, cut: bool = False
) -> Finding:
    """What is to be said of a run that has come to the cap named `over`.

    `counts` are what was let through, and `refused` how many messages of the run were not, in this process. With `cut`
    something was under way, and is given up.
    """
    come_to = {
        "max_messages": f"{counts.messages:,} messages",
        "max_calls": f"{counts.calls:,} calls",
        "max_tokens": f"{counts.tokens:,} tokens",
        "max_cost_usd": f"${counts.cost_nusd / 1e9:.6f}",
        "max_s": f"{age_s:,.1f} s",
    }
    cap = getattr(guards, over)
    more = (
        f", so {refused:,} {'message' if refused == 1 else 'messages'} more went nowhere from here" if refused else ""
    )
    if cut:
        more = "; what was under way is waited for no longer, and may have been done all the same"
    return Finding(
        error=RunUsedUp,
        rung=Rung.REFUSE,
        text=(
            f"run {run} has come to {come_to[over]}, and {over}={cap:,} is its cap{more}; look in its trace at what it "
            f"did again and again, begin a new run, or raise {over}"
        ),
        evidence={"cap": over, "limit": cap, "messages": counts.messages, "calls": counts.calls}
        | {"tokens": counts.tokens, "cost_usd": counts.cost_nusd / 1e9, "age_s": round(age_s, 3), "run": run}
        | ({"refused": refused} if refused else {}),
    )
