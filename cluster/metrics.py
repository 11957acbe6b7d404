"""The metrics of a whole app: what each of its processes counts, added up, and as the JSON that people's tools read."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, get_args

from regrow.runtime.message import Message
from regrow.runtime.metrics import COMMIT_BOUNDS_S
from regrow.supervisors import AnySupervisorSpec

if TYPE_CHECKING:
    from regrow.runtime import Runtime
    from regrow.runtime.cell import Cell

SUPERVISOR_SPECS = frozenset(get_args(AnySupervisorSpec))
"""Looked up and not asked by isinstance, since a host may have 10,000 cells and looks once a second."""
USD_DIGITS = 9
"""Sums of money are told to a billionth of a dollar, as a ledger counts it."""

Labelled = tuple[tuple[str, int], ...]
"""How many for each value of a label, sorted by value."""


class ModelCounts(Message):
    """The calls of one model: failed ones count as calls, and bring tokens and cost only where they were billed."""

    model: str
    tier: str
    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


class CommitTimes(Message):
    """How long the journal took to take turns: `counts` by the edges COMMIT_BOUNDS_S, and the sum of all."""

    counts: tuple[int, ...] = (0,) * (len(COMMIT_BOUNDS_S) + 1)
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def quantile_s(self, share: float) -> float | None:
        """The time that so large a share of them did not pass, between the edges of its bucket; None without any.

        What took longer than the last edge is told as that edge, since nobody knows how much longer.
        """
        if not self.count:
            return None
        rank = share * self.count
        at = next(at for at, upto in enumerate(accumulate(self.counts)) if upto >= rank and self.counts[at])
        if at == len(COMMIT_BOUNDS_S):
            return COMMIT_BOUNDS_S[-1]
        low_s = COMMIT_BOUNDS_S[at - 1] if at else 0.0
        part = (rank - sum(self.counts[:at])) / self.counts[at]
        return low_s + (COMMIT_BOUNDS_S[at] - low_s) * part


class Counted(Message):
    """What one process has counted since it began, or several together. Nothing of it ever shrinks."""

    turns: int = 0
    messages: int = 0
    restarts: Labelled = ()
    dead_letters: Labelled = ()
    tool_calls: Labelled = ()
    guards: Labelled = ()
    spans_dropped: Labelled = ()
    models: tuple[ModelCounts, ...] = ()
    commits: CommitTimes = CommitTimes()

    def with_more(self, *others: Counted) -> Counted:
        """These and what other processes have counted."""
        all_of_them = (self, *others)
        return Counted(
            turns=sum(each.turns for each in all_of_them),
            messages=sum(each.messages for each in all_of_them),
            restarts=_sum(each.restarts for each in all_of_them),
            dead_letters=_sum(each.dead_letters for each in all_of_them),
            tool_calls=_sum(each.tool_calls for each in all_of_them),
            guards=_sum(each.guards for each in all_of_them),
            spans_dropped=_sum(each.spans_dropped for each in all_of_them),
            models=_sum_of_models(model for each in all_of_them for model in each.models),
            commits=CommitTimes(
                counts=tuple(map(sum, zip(*(each.commits.counts for each in all_of_them), strict=True))),
                sum_s=sum(each.commits.sum_s for each in all_of_them),
            ),
        )


class HostMetrics(Message):
    """What one process of an app has counted, and how it stands at the moment of telling.

    `loop_lag_s` is how late its loop came to something that was due, `gone_s` for how long the process is not there.
    """

    host: str
    pid: int
    node: str
    alive: bool = True
    gone_s: float = 0.0
    agents: int = 0
    mailbox_depth: int = 0
    loop_lag_s: float = 0.0
    counted: Counted = Counted()

    def gone(self, for_s: float = 0.0) -> HostMetrics:
        """What is left to tell once the process is no longer there, for so long."""
        return HostMetrics(
            host=self.host, pid=self.pid, node=self.node, alive=False, gone_s=for_s, counted=self.counted
        )


class AppMetrics(Message):
    """What the processes of an app have counted; `earlier` is that of all that are gone and not among `hosts`."""

    hosts: tuple[HostMetrics, ...] = ()
    earlier: Counted = Counted()

    def with_hosts(self, *more: HostMetrics) -> AppMetrics:
        """The same with more processes, these first."""
        return AppMetrics(hosts=(*more, *self.hosts), earlier=self.earlier)

    @property
    def total(self) -> Counted:
        """What all of them have counted, also those that are gone."""
        return self.earlier.with_more(*(each.counted for each in self.hosts))


def measured(runtime: Runtime, loop_lag_s: float) -> HostMetrics:
    """What this process has counted, and how it stands now. May be called on another thread than that of its cells."""
    cells = list(runtime.cells.values())
    return HostMetrics(
        host=runtime.host,
        pid=os.getpid(),
        node=platform.node(),
        agents=sum(map(_is_agent, cells)),
        mailbox_depth=sum(len(cell.mailbox) for cell in cells),
        loop_lag_s=loop_lag_s,
        counted=counted(runtime),
    )


def counted(runtime: Runtime) -> Counted:
    """What this process has counted since it began."""
    metrics = runtime.metrics
    models = tuple(
        ModelCounts(
            model=key.model,
            tier=key.tier,
            calls=sums.calls,
            failed=sums.failed,
            input_tokens=sums.input_tokens,
            output_tokens=sums.output_tokens,
            cost_usd=sums.cost_usd,
        )
        for key, sums in sorted(metrics.models.copy().items())
    )
    return Counted(
        turns=metrics.turns,
        messages=runtime.handled,
        restarts=_sorted(metrics.restarts),
        dead_letters=_sorted(runtime.dead_letters.counts),
        tool_calls=_sorted(metrics.tool_calls),
        guards=_sorted(runtime.guarding.findings),
        spans_dropped=_sorted(metrics.spans_dropped()),
        models=models,
        commits=CommitTimes(counts=tuple(metrics.commits.counts), sum_s=metrics.commits.sum),
    )


def told(metrics: AppMetrics) -> dict[str, Any]:
    """The metrics as JSON: each process, the sum of all, and the models."""
    total = metrics.total
    hosts = metrics.hosts
    return {
        "hosts": [
            {"host": each.host, "pid": each.pid, "node": each.node, "alive": each.alive}
            | _now(agents=each.agents, mailbox_depth=each.mailbox_depth, loop_lag_s=each.loop_lag_s)
            | _counts(each.counted)
            for each in hosts
        ],
        "total": _now(
            agents=sum(each.agents for each in hosts),
            mailbox_depth=sum(each.mailbox_depth for each in hosts),
            loop_lag_s=max((each.loop_lag_s for each in hosts), default=0.0),
        )
        | _counts(total),
        "models": [
            {
                "model": each.model,
                "tier": each.tier,
                "calls": each.calls,
                "tokens": each.input_tokens + each.output_tokens,
                "cost_usd": round(each.cost_usd, USD_DIGITS),
            }
            for each in total.models
        ],
    }


def _now(*, agents: int, mailbox_depth: int, loop_lag_s: float) -> dict[str, Any]:
    return {"agents": agents, "mailbox_depth": mailbox_depth, "loop_lag_ms": round(loop_lag_s * 1_000, 3)}


def _counts(counted: Counted) -> dict[str, Any]:
    calls: Counter[str] = Counter()
    for model in counted.models:
        calls[model.model] += model.calls
    commits = counted.commits
    return {
        "turns": counted.turns,
        "messages": counted.messages,
        "restarts": dict(counted.restarts),
        "dead_letters": dict(counted.dead_letters),
        "model_calls": dict(calls),
        "tool_calls": dict(counted.tool_calls),
        "guards": dict(counted.guards),
        "spans_dropped": dict(counted.spans_dropped),
        "tokens": sum(model.input_tokens + model.output_tokens for model in counted.models),
        "cost_usd": round(sum(model.cost_usd for model in counted.models), USD_DIGITS),
        "commit_ms": {
            "p50": _in_ms(commits.quantile_s(0.5)),
            "p99": _in_ms(commits.quantile_s(0.99)),
            "count": commits.count,
        },
    }


def _in_ms(seconds: float | None) -> float | None:
    return round(seconds * 1_000, 3) if seconds is not None else None


def _is_agent(cell: Cell) -> bool:
    """Whether a cell runs an agent of the app: no supervisor, service or part of the kernel."""
    actor = cell.actor
    if cell.behavior is None or "/" not in actor or type(cell.request.target) in SUPERVISOR_SPECS:
        return False
    return ":" not in actor or ":" not in actor.partition("/")[0]


def _sorted(counts: dict[str, int]) -> Labelled:
    return tuple(sorted(counts.copy().items()))  # a copy: another thread may ask while more are counted


def _sum(all_of_them: Iterable[Labelled]) -> Labelled:
    counts: Counter[str] = Counter()
    for each in all_of_them:
        counts.update(dict(each))
    return tuple(sorted(counts.items()))


def _sum_of_models(models: Iterable[ModelCounts]) -> tuple[ModelCounts, ...]:
    by_model: dict[tuple[str, str], list[ModelCounts]] = {}
    for each in models:
        by_model.setdefault((each.model, each.tier), []).append(each)
    return tuple(_one_model(by_model[key]) for key in sorted(by_model))


def _one_model(counts: Sequence[ModelCounts]) -> ModelCounts:
    return ModelCounts(
        model=counts[0].model,
        tier=counts[0].tier,
        calls=sum(each.calls for each in counts),
        failed=sum(each.failed for each in counts),
        input_tokens=sum(each.input_tokens for each in counts),
        output_tokens=sum(each.output_tokens for each in counts),
        cost_usd=sum(each.cost_usd for each in counts),
    )
