"""What a handler holds as `ctx.budget`: what is left of money, tokens, calls and time. It spends and reserves nothing.

Several caps may hold a turn at once: those of the loops on whose behalf it runs (their tabs), of its run (the guards),
and of the app. What is left is the least of them. Others may spend at the same time, so it is no promise: a call that
would pass a cap is refused all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from regrow.router.usage import SpentOnTab, UsageReport
from regrow.runtime.guards import Guards
from regrow.runtime.message import Message
from regrow.runtime.run_store import NUSD_PER_USD, Amounts
from regrow.runtime.tab import Tab, tabs_of

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.router.models import Ask

N = TypeVar("N", int, float)

BUDGET_STEP: Final = "budget:left"
"""The name of the step that a look is in a durable turn."""
_COUNTED: Final = Guards()
"""Without a cap, so that a run is counted and not judged."""


class BudgetLeft(Message):
    """What is left for a turn; None where nothing limits it.

    `cost_usd` are US dollars, `tokens` those that models read and write, `calls` those of models and tools, `time_s`
    seconds until the deadline of the message or the end of its run.
    """

    cost_usd: float | None = None
    tokens: int | None = None
    calls: int | None = None
    time_s: float | None = None

    def and_within(self, other: BudgetLeft) -> BudgetLeft:
        """The less of both in each."""
        return BudgetLeft(
            cost_usd=_less(self.cost_usd, other.cost_usd),
            tokens=_less(self.tokens, other.tokens),
            calls=_less(self.calls, other.calls),
            time_s=_less(self.time_s, other.time_s),
        )


class Budget:
    """The budget of one turn, to be looked at."""

    def __init__(self, ctx: Context, ask: Ask) -> None:
        self._ctx = ctx
        self._ask = ask

    async def left(self) -> BudgetLeft:
        """What is left now, never below 0. In a durable turn a look is a step: a turn that is run again sees the same.

        Raises ServiceLost, LedgerUnreachable and RunsUnreachable where it can not be counted; Misuse in a handler that
        only reads, as all that takes steps.
        """
        tools = self._ctx.tools
        return await (tools.once(BUDGET_STEP, "", self._look) if tools.records_left() is not None else self._look())

    async def _look(self) -> BudgetLeft:
        found = BudgetLeft(time_s=None if self._ctx.deadline is None else max(0.0, self._ctx.deadline))
        for tab in tabs_of(self._ctx.origin().capability):
            found = found.and_within(await self._of_tab(tab))
        return found.and_within(await self._of_app()).and_within(await self._of_run())

    async def _of_tab(self, tab: Tab) -> BudgetLeft:
        spent = await self._ask(SpentOnTab(account=tab.account))
        tokens = spent.usage.input_tokens + spent.usage.output_tokens
        # Of a price that is not known nobody can say what is left, and the router lets no more be spent.
        cost_usd = tab.max_cost_usd if spent.cost_usd is None else spent.cost_usd
        return BudgetLeft(
            cost_usd=None if tab.max_cost_usd is None or cost_usd is None else max(0.0, tab.max_cost_usd - cost_usd),
            tokens=None if tab.max_tokens is None else max(0, tab.max_tokens - tokens),
        )

    async def _of_app(self) -> BudgetLeft:
        used = await self._ask(UsageReport())
        if used.budget_usd is None:
            return BudgetLeft()
        return BudgetLeft(cost_usd=max(0.0, used.budget_usd - used.spent_usd - used.reserved_usd))

    async def _of_run(self) -> BudgetLeft:
        guarding, run = self._ctx.runtime.guarding, self._ctx.run
        guards = guarding.guards
        if not guards.has_caps:
            return BudgetLeft()
        taken = await guarding.runs.take(run, Amounts(), _COUNTED)
        cost_usd = taken.counts.cost_nusd / NUSD_PER_USD
        return BudgetLeft(
            cost_usd=None if guards.max_cost_usd is None else max(0.0, guards.max_cost_usd - cost_usd),
            tokens=None if guards.max_tokens is None else max(0, guards.max_tokens - taken.counts.tokens),
            calls=None if guards.max_calls is None else max(0, guards.max_calls - taken.counts.calls),
            time_s=None if guards.max_s is None else max(0.0, guards.max_s - taken.age_s),
        )


def _less(one: N | None, other: N | None) -> N | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
