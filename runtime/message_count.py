"""Counts the messages of runs that have a cap, without asking the store for each.

A host counts what its own turns send, and tells the store beside them; what the store answers, other hosts included, is
the base for the next ones. So a cap may be passed by what the hosts of a run send during one such call.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from regrow.runtime.guard_errors import RunsUnreachable
from regrow.runtime.guards import Guards, Rung
from regrow.runtime.run_ends import RunEnds, used_up
from regrow.runtime.run_store import Amounts, RunStore, cap_passed

if TYPE_CHECKING:
    from regrow.runtime.envelope import Origin
    from regrow.runtime.runtime import Runtime

MAX_RUNS: Final = 10_000
"""Of those, the one that has sent nothing for longest is forgotten for another."""
UNCAPPED: Final = Guards()
ONE: Final = Amounts(messages=1)


@dataclass(slots=True)
class _Sent:
    untold: int = 0
    telling: int = 0
    known: Amounts = field(default_factory=Amounts)
    refused: int = 0


class MessageCount:
    """The messages of the runs of one process."""

    def __init__(self, runtime: Runtime, guards: Guards, runs: RunStore, ends: RunEnds) -> None:
        self._runtime = runtime
        self._guards = guards
        self._runs = runs
        self._ends = ends
        self._sent: OrderedDict[str, _Sent] = OrderedDict()
        self._telling: set[asyncio.Task[None]] = set()

    def sent(self, origin: Origin) -> None:
        """See MessageGuard."""
        run = origin.run
        if not run:
            return  # from outside: with its first turn a run begins
        sent = self._sent_in(run)
        age_s = self._runtime.loop.time() - self._ends.met(run).began_s
        counts = sent.known.plus(Amounts(messages=sent.telling + sent.untold))
        if over := cap_passed(counts.plus(ONE), age_s, self._guards, taking=ONE):
            sent.refused += self._guards.top >= Rung.REFUSE
            finding = used_up(over, counts, age_s, self._guards, run=run, refused=sent.refused)
            agent = origin.sender.actor if origin.sender is not None else ""
            self._runtime.guarding.found(finding, origin, agent=agent)
            if self._guards.top >= Rung.REFUSE:
                finding.refuse()
        sent.untold += 1
        if not sent.telling:
            sent.telling, sent.untold = sent.untold, 0
            self._telling.add(task := self._runtime.spawn_task(self._tell(run, sent)))
            task.add_done_callback(self._telling.discard)

    def _sent_in(self, run: str) -> _Sent:
        """What this run has sent from here, from now on the last that is forgotten."""
        sent = self._sent.pop(run, None)
        self._sent[run] = sent = sent if sent is not None else _Sent()
        if len(self._sent) > MAX_RUNS:
            self._sent.popitem(last=False)
        return sent

    async def _tell(self, run: str, sent: _Sent) -> None:
        while sent.telling:
            try:
                taken = await self._runs.take(run, Amounts(messages=sent.telling), UNCAPPED)
            except RunsUnreachable:  # counted here all the same, and told with the next message
                sent.untold += sent.telling
                sent.telling = 0
                return
            sent.known = taken.counts
            self._ends.heard(run, taken)
            sent.telling, sent.untold = sent.untold, 0
