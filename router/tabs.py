"""What was spent on each tab, and whether one more call may be put on it. In memory: the next life begins anew."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from regrow.router.errors import BudgetExceeded
from regrow.router.provider import estimated_usage
from regrow.router.request import Usage
from regrow.router.usage import TabTotals

if TYPE_CHECKING:
    from regrow.router.request import ModelReply, ModelRequest
    from regrow.runtime.tab import Tab

MAX_TABS: Final = 10_000
"""Of those, the one that was used longest ago is forgotten for another."""

_NOTHING: Final = TabTotals(usage=Usage(input_tokens=0, output_tokens=0), cost_usd=0.0)


class Tabs:
    """The tabs of one router."""

    def __init__(self) -> None:
        self._totals: OrderedDict[str, TabTotals] = OrderedDict()

    def totals(self, account: str) -> TabTotals:
        """What was spent on it; nothing for one that is not known."""
        return self._totals.get(account, _NOTHING)

    def capped(self, request: ModelRequest, tabs: Iterable[Tab]) -> ModelRequest:
        """The request with what is left of the money on all tabs. Raises BudgetExceeded where tokens do not suffice."""
        left_usd = request.max_cost_usd
        least = estimated_usage(request, "").input_tokens
        for tab in tabs:
            totals = self.totals(tab.account)
            used = totals.usage.input_tokens + totals.usage.output_tokens
            if tab.max_tokens is not None and used + max(1, least) > tab.max_tokens:
                raise BudgetExceeded(
                    f"{request.agent or 'the call'} was asked on behalf of a loop that had {tab.max_tokens:,} tokens "
                    f"left, of which {used:,} are used, and this call sends about {least:,}; raise its max_tokens"
                )
            if tab.max_cost_usd is None:
                continue
            if totals.cost_usd is None or totals.cost_usd >= tab.max_cost_usd:
                spent = "a price is not known" if totals.cost_usd is None else f"${totals.cost_usd:.6f} are spent"
                raise BudgetExceeded(
                    f"{request.agent or 'the call'} was asked on behalf of a loop that had ${tab.max_cost_usd:g} left, "
                    f"of which {spent}; raise its max_cost"
                )
            left = tab.max_cost_usd - totals.cost_usd
            left_usd = left if left_usd is None else min(left, left_usd)
        return request.model_copy(update={"max_cost_usd": left_usd})

    def add(self, reply: ModelReply, tabs: Iterable[Tab]) -> None:
        """Puts a call on all of them."""
        for account in {tab.account for tab in tabs}:
            totals = self.totals(account)
            costs = (totals.cost_usd, reply.cost_usd)
            self._totals[account] = TabTotals(
                usage=totals.usage.plus(reply.usage),
                cost_usd=None if costs[0] is None or costs[1] is None else costs[0] + costs[1],
            )
            self._totals.move_to_end(account)
        while len(self._totals) > MAX_TABS:
            self._totals.popitem(last=False)
