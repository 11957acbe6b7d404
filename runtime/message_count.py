"""Counts the messages of runs that have a cap, without asking the store for each.

A host counts what its own turns send, and tells the store beside them; what the store answers, other hosts included, is
the base for the next ones. So a cap may be passed by what the hosts of a run send during one such call.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from regrow.runtime.guard_errors import RunsUnreachable, RunUsedUp
from regrow.runtime.guards import Finding, Guards, Rung
from regrow.runtime.run_store import Amounts, RunStore, cap_passed

if TYPE_CHECKING:
    from regrow.runtime.envelope import Origin
    from regrow.runtime.runtime import Runtime

MAX_RUNS: Final = 10_000
"""Of those, the one that sent longest ago is forgotten for another."""
UNCAPPED: Final = Guards()

log = structlog.get_logger("regrow.guards")


@dataclass(slots=True)
class _Sent:
    untold: int = 0
    telling: int = 0
    known: Amounts = field(default_factory=Amounts)
    began_s: float = 0.0


class MessageCount:
    """The messages of the runs of one process."""

    def __init__(self, runtime: Runtime, guards: Guards, runs: RunStore) -> None:
        self._runtime = runtime
        self._guards = guards
        self._runs = runs
        self._sent: OrderedDict[str, _Sent] = OrderedDict()
        self._telling: set[asyncio.Task[None]] = set()

    def sent(self, origin: Origin) -> None:
        """See MessageGuard."""
        run, now_s = origin.run, self._runtime.loop.time()
        if not run:
            return  # from outside: with its first turn a run begins
        sent = self._sent.get(run)
        if sent is None:
            sent = self._sent[run] = _Sent(began_s=now_s)
            if len(self._sent) > MAX_RUNS:
                self._sent.popitem(last=False)
        counts = sent.known.plus(Amounts(messages=sent.telling + sent.untold + 1))
        if over := cap_passed(counts, now_s - sent.began_s, self._guards):
            finding = used_up(over, counts, now_s - sent.began_s, self._guards, run=run)
            agent = origin.sender.actor if origin.sender is not None else ""
            self._runtime.guarding.found(finding, origin, agent=agent)
            if self._guards.top >= Rung.REFUSE:
                finding.refuse()
        sent.untold += 1
        if not sent.telling:
            sent.telling, sent.untold = sent.untold, 0
            self._telling.add(task := self._runtime.spawn_task(self._tell(run, sent)))
            task.add_done_callback(self._telling.discard)

    async def _tell(self, run: str, sent: _Sent) -> None:
        while sent.telling:
            try:
                taken = await self._runs.take(run, Amounts(messages=sent.telling), UNCAPPED)
            except RunsUnreachable as error:  # counted here all the same, and told with the next message
                log.warning("the store of runs is away", reason=str(error))
                sent.untold += sent.telling
                sent.telling = 0
                return
            sent.known = taken.counts
            sent.began_s = self._runtime.loop.time() - taken.age_s
            sent.telling, sent.untold = sent.untold, 0


def used_up(over: str, counts: Amounts, age_s: float, guards: Guards, *, run: str) -> Finding:
    """What is to be said of a run that has come to the cap named `over`."""
    come_to = {
        "max_messages": f"{counts.messages:,} messages",
        "max_calls": f"{counts.calls:,} calls",
        "max_tokens": f"{counts.tokens:,} tokens",
        "max_cost_usd": f"${counts.cost_nusd / 1e9:.6f}",
        "max_s": f"{age_s:,.1f} s",
    }
    cap = getattr(guards, over)
    return Finding(
        error=RunUsedUp,
        rung=Rung.REFUSE,
        text=(
            f"run {run} has come to {come_to[over]}, and {over}={cap:,} is its cap; look in its trace at what it did "
            f"again and again, begin a new run, or raise {over}"
        ),
        evidence={"cap": over, "limit": cap, "messages": counts.messages, "calls": counts.calls}
        | {"tokens": counts.tokens, "cost_usd": counts.cost_nusd / 1e9, "age_s": round(age_s, 3), "run": run},
    )
