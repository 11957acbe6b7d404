"""What calls used and cost: the call, its record, and totals by tier and model. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NewType

from pydantic import Field

from regrow.router.catalog import NanoUsd, in_usd
from regrow.router.errors import BudgetExceeded
from regrow.router.request import Tier, Usage, Work
from regrow.runtime.message import Message, Request

CallId = NewType("CallId", str)
"""Names one call to a provider; reserving or settling twice under one id counts once."""

HISTORY_LIMIT: Final = 1_000
"""Finished calls that are kept one by one. The totals count all of them, for ever."""


class Call(Message):
    """One call that is to be made: for whom, for what, and on which model."""

    id: CallId
    work: Work
    wanted: Tier
    tier: Tier
    provider: str
    model: str
    principal: str = ""
    agent: str = ""


class CallRecord(Message):
    """A finished call.

    `cost_usd` is None where no price is known. `at_reserve` is True where the usage is not known, so that
    the cost is the most it can have been. `failure` is the error's class name, empty where it went well.
    """

    call: Call
    usage: Usage | None
    cost_usd: float | None
    at_reserve: bool = False
    failure: str = ""


class Totals(Message):
    """Sums over calls. `cost_usd` is that of the priced ones; `unpriced_calls` counts the others.

    Failed calls count among `calls`; they bring tokens and cost only where they were billed.
    """

    calls: int = 0
    failed_calls: int = 0
    unpriced_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0


class TierTotals(Message):
    """The sums of one tier."""

    tier: Tier
    totals: Totals


class ModelTotals(Message):
    """The sums of one model at one provider."""

    provider: str
    model: str
    totals: Totals


class UsageTotals(Message):
    """What all calls together came to: in sum, by tier and by model; each is exact.

    `reserved_usd` is what calls in flight may still cost. `recent` holds the finished calls that were
    asked for, the latest first.
    """

    all: Totals
    by_tier: tuple[TierTotals, ...] = ()
    by_model: tuple[ModelTotals, ...] = ()
    budget_usd: float | None = None
    spent_usd: float = 0.0
    reserved_usd: float = 0.0
    open_calls: int = 0
    recent: tuple[CallRecord, ...] = ()


class UsageReport(Request[UsageTotals]):
    """Asks the router what has been used so far, with the last `history` calls one by one."""

    history: int = Field(default=0, ge=0, le=HISTORY_LIMIT)


class TabTotals(Message):
    """What was spent on one tab. `cost_usd` is None where a part of it has no known price."""

    usage: Usage
    cost_usd: float | None


class SpentOnTab(Request[TabTotals]):
    """Asks the router what has been put on a tab; nothing is said of one that it does not know."""

    account: str


COUNTS: Final = ("calls", "failed", "unpriced", "input", "output", "cached", "cost")
"""What a ledger counts for each of the `sum_keys` of a call; `cost` in billionths of a dollar."""


def sum_keys(call: Call) -> tuple[tuple[str, ...], ...]:
    """Give the totals that a call counts for: all, its tier, its model. One more dimension is one more key."""
    return ("all",), ("tier", call.tier.value), ("model", call.provider, call.model)


def check_budget(call: Call, most: NanoUsd | None, *, budget: NanoUsd, spent: NanoUsd, reserved: NanoUsd) -> None:
    """Refuse a call that could pass the budget. Raises BudgetExceeded."""
    left = budget - spent - reserved
    if most is not None and most <= left:
        return
    amounts = {"budget_usd": in_usd(budget), "spent_usd": in_usd(spent), "reserved_usd": in_usd(reserved)}
    if most is None:
        raise BudgetExceeded(
            f"no price is known for {call.model} ({call.provider}), so a call can not be kept within the budget "
            f"of ${in_usd(budget):.4f}; give its price in the settings, or take the budget out",
            **amounts,
        )
    raise BudgetExceeded(
        f"a call of {call.model} can cost up to ${in_usd(most):.6f}, and of the budget of ${in_usd(budget):.4f} "
        f"${in_usd(spent):.6f} is spent and ${in_usd(reserved):.6f} set aside for calls in flight; "
        "raise budget_usd, or ask for fewer max_output_tokens or passages",
        **amounts,
        needed_usd=in_usd(most),
    )


def totals_of(
    sums: Mapping[tuple[str, ...], Mapping[str, int]],
    *,
    budget_usd: float | None,
    spent: NanoUsd,
    reserved: NanoUsd,
    open_calls: int,
    recent: tuple[CallRecord, ...],
) -> UsageTotals:
    """Give the report that counts under `sum_keys` make, tiers and models in alphabetical order."""
    tiers = sorted(key for key in sums if key[0] == "tier")
    models = sorted(key for key in sums if key[0] == "model")
    return UsageTotals(
        all=_totals(sums.get(("all",), {})),
        by_tier=tuple(TierTotals(tier=Tier(key[1]), totals=_totals(sums[key])) for key in tiers),
        by_model=tuple(ModelTotals(provider=key[1], model=key[2], totals=_totals(sums[key])) for key in models),
        budget_usd=budget_usd,
        spent_usd=in_usd(spent),
        reserved_usd=in_usd(reserved),
        open_calls=open_calls,
        recent=recent,
    )


def _totals(counts: Mapping[str, int]) -> Totals:
    return Totals(
        calls=counts.get("calls", 0),
        failed_calls=counts.get("failed", 0),
        unpriced_calls=counts.get("unpriced", 0),
        input_tokens=counts.get("input", 0),
        output_tokens=counts.get("output", 0),
        cached_tokens=counts.get("cached", 0),
        cost_usd=in_usd(NanoUsd(counts.get("cost", 0))),
    )
