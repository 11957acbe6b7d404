"""The port to the money: reserve before a call, settle or void after it, and totals that are exact.

A call is reserved at the most it can cost and settled at what it did cost, so that calls in flight can
not pass the budget together. A call that may have been billed, but whose usage nobody knows, is settled
at its reserve. `MemoryLedger` is the twin; it forgets with its process.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from regrow.router.catalog import NanoUsd, in_usd, nano_usd
from regrow.router.request import Usage
from regrow.router.usage import (
    COUNTS,
    HISTORY_LIMIT,
    Call,
    CallId,
    CallRecord,
    UsageTotals,
    check_budget,
    sum_keys,
    totals_of,
)
from regrow.runtime.errors import Bug


class Ledger(Protocol):
    """Keeps the money of one app. Each call below is atomic, and repeating it changes nothing.

    Amounts are whole billionths of a dollar; None is an unknown price, never zero. `budget_usd` is the cap
    for all calls together, None where there is none.
    """

    budget_usd: float | None

    async def reserve(self, call: Call, most_nusd: NanoUsd | None) -> None:
        """Set aside the most that `call` can cost, before it is sent.

        Raises:
            BudgetExceeded: it does not fit into what is left, or no price is known under a budget.
            LedgerUnreachable: the store does not answer; nothing may be spent.
        """
        ...

    async def settle(self, id: CallId, usage: Usage, cost_nusd: NanoUsd | None) -> CallRecord:
        """Close a call at what it cost.

        Raises:
            Bug: the id was never reserved, or is older than the history.
            LedgerUnreachable: the store does not answer; the reserve stays held.
        """
        ...

    async def settle_at_reserve(self, id: CallId, usage: Usage | None, *, failure: str = "") -> CallRecord:
        """Close a call that may have been billed while nobody knows for how much. Raises as `settle` does."""
        ...

    async def void(self, id: CallId, *, failure: str) -> CallRecord:
        """Close a call that was surely not billed. Raises as `settle` does."""
        ...

    async def totals(self, history: int = 0) -> UsageTotals:
        """Give the sums at one moment, and up to `history` of the last calls."""
        ...

    async def settle_abandoned(self) -> int:
        """Settle at their reserve all calls left open by an earlier life of the owner; give their number.

        To be called once, by the only owner, before its first reserve.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the store. What was written stays."""
        ...


ABANDONED: Final = "Abandoned"
"""The `failure` of a call whose router ended before it."""


class MemoryLedger:
    """The twin in memory, and the ledger of a single process. Its owner is one event loop."""

    def __init__(self, *, budget_usd: float | None = None, history_limit: int = HISTORY_LIMIT) -> None:
        self.budget_usd = budget_usd
        self._budget = None if budget_usd is None else nano_usd(budget_usd)
        self._open: dict[CallId, tuple[Call, NanoUsd | None]] = {}
        self._closed: dict[CallId, CallRecord] = {}
        self._history: deque[CallId] = deque()
        self._history_limit = history_limit
        self._spent = 0
        self._reserved = 0
        self._sums: dict[tuple[str, ...], _Sum] = {}

    async def reserve(self, call: Call, most_nusd: NanoUsd | None) -> None:
        """As the port says."""
        if call.id in self._open or call.id in self._closed:
            return
        if self._budget is not None:
            check_budget(
                call, most_nusd, budget=self._budget, spent=NanoUsd(self._spent), reserved=NanoUsd(self._reserved)
            )
        self._open[call.id] = (call, most_nusd)
        self._reserved += most_nusd or 0

    async def settle(self, id: CallId, usage: Usage, cost_nusd: NanoUsd | None) -> CallRecord:
        """As the port says."""
        return self._close(id, usage, cost_nusd)

    async def settle_at_reserve(self, id: CallId, usage: Usage | None, *, failure: str = "") -> CallRecord:
        """As the port says."""
        most = self._open[id][1] if id in self._open else None
        return self._close(id, usage, most, at_reserve=True, failure=failure)

    async def void(self, id: CallId, *, failure: str) -> CallRecord:
        """As the port says."""
        return self._close(id, None, NanoUsd(0), failure=failure)

    async def totals(self, history: int = 0) -> UsageTotals:
        """As the port says."""
        last = [self._history[-1 - at] for at in range(min(history, len(self._history)))]
        return totals_of(
            {key: total.counts() for key, total in self._sums.items()},
            budget_usd=self.budget_usd,
            spent=NanoUsd(self._spent),
            reserved=NanoUsd(self._reserved),
            open_calls=len(self._open),
            recent=tuple(self._closed[id] for id in last),
        )

    async def settle_abandoned(self) -> int:
        """As the port says."""
        left = list(self._open)
        for id in left:
            await self.settle_at_reserve(id, None, failure=ABANDONED)
        return len(left)

    async def aclose(self) -> None:
        """Nothing is held that would have to be let go."""

    def _close(
        self, id: CallId, usage: Usage | None, cost: NanoUsd | None, *, at_reserve: bool = False, failure: str = ""
    ) -> CallRecord:
        opened = self._open.pop(id, None)
        if opened is None:
            return self._closed_before(id)
        call, most = opened
        self._reserved -= most or 0
        self._spent += cost or 0
        record = CallRecord(
            call=call,
            usage=usage,
            cost_usd=None if cost is None else in_usd(cost),
            at_reserve=at_reserve,
            failure=failure,
        )
        for key in sum_keys(call):
            self._sums.setdefault(key, _Sum()).add(usage, cost, failed=bool(failure))
        self._closed[id] = record
        self._history.append(id)
        if len(self._history) > self._history_limit:
            del self._closed[self._history.popleft()]
        return record

    def _closed_before(self, id: CallId) -> CallRecord:
        if id not in self._closed:
            raise Bug(f"call {id!r} is to be closed, but it was never reserved")
        return self._closed[id]


class _Sum:
    __slots__ = COUNTS

    def __init__(self) -> None:
        self.calls = self.failed = self.unpriced = self.input = self.output = self.cached = self.cost = 0

    def add(self, usage: Usage | None, cost: NanoUsd | None, *, failed: bool) -> None:
        self.calls += 1
        self.failed += failed
        self.unpriced += cost is None
        self.cost += cost or 0
        if usage is not None:
            self.input += usage.input_tokens
            self.output += usage.output_tokens
            self.cached += usage.cached_tokens

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS}
