"""What an agent loop may spend and has spent, and whether it may go on. Pure.

A call is not begun when it would pass a cap if it came to as much as the last one: the conversation only grows, so
that is the least to expect. Of the first one that is what it sends. What a call comes to more than that may pass the
cap once, and ends the loop. Where nothing is left no call begins, the first one neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Final, TypeVar

from regrow.actors.loop_errors import CostUsedUp, LoopEnded, RecordsUsedUp, TokensUsedUp, TurnsUsedUp
from regrow.router.request import Usage
from regrow.runtime.errors import Misuse

if TYPE_CHECKING:
    from regrow.router.request import ModelReply

N = TypeVar("N", int, float)

RECORDS_PER_CALL: Final = 3
"""Of one call of a tool, which may need consent: what was asked for, the wait, and the call."""
RECORDS_PER_TURN: Final = 4
"""Of one turn of a model beside its tools: its word, what is on the tab, a hand-off, and one to spare."""

DEFAULT_MAX_TURNS: Final = 16
MAX_TURNS: Final = 400
"""Of one loop. A durable turn keeps 1,000 records, and one call of a model and one of a tool take two."""
DEFAULT_WINDOW_TOKENS: Final = 100_000
"""What most models of today can read, with a margin; a model that is known to read less is given less."""

_ROUNDING: Final = 1e-12
"""Of sums of dollars, so that five calls of $0.01 fit into $0.05."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The caps of one loop; None is none. Raises Misuse for numbers that are no caps."""

    max_turns: int = DEFAULT_MAX_TURNS
    max_cost: float | None = None
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        check_whole("max_turns", self.max_turns, most=MAX_TURNS)
        cost = self.max_cost
        is_number = isinstance(cost, int | float) and not isinstance(cost, bool)
        if cost is not None and not (is_number and isfinite(cost) and cost >= 0):
            raise Misuse(f"max_cost={cost!r}: give US dollars, 0 or more, or None for no cap")
        if self.max_tokens is not None:
            check_whole("max_tokens", self.max_tokens, most=None)

    def within(self, other: Limits) -> Limits:
        """The narrower of both in each."""
        return Limits(
            max_turns=min(self.max_turns, other.max_turns),
            max_cost=_narrower(self.max_cost, other.max_cost),
            max_tokens=_narrower(self.max_tokens, other.max_tokens),
        )

    def left(self, spent: Spent) -> Limits:
        """What is left of them for somebody who goes on, where `why_no_more` says that there is something."""
        return Limits(
            max_turns=self.max_turns - spent.turns,
            max_cost=None if self.max_cost is None else self.max_cost - spent.cost,
            max_tokens=None if self.max_tokens is None else self.max_tokens - spent.tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a loop has spent. `cost` sums what is known; `unpriced` names a model whose price is not.

    `last_cost` and `last_tokens` are the least that the next call comes to: what the last one did, and before the first
    one the tokens of what it sends.
    """

    turns: int = 0
    usage: Usage = field(default_factory=lambda: Usage(input_tokens=0, output_tokens=0))
    cost: float = 0.0
    unpriced: str = ""
    last_cost: float = 0.0
    last_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.usage.input_tokens + self.usage.output_tokens

    @property
    def known_cost(self) -> float | None:
        """In US dollars; None where a part of it is not known."""
        return None if self.unpriced else self.cost

    def with_reply(self, reply: ModelReply) -> Spent:
        """One more call of a model."""
        cost = reply.cost_usd or 0.0
        return Spent(
            turns=self.turns + 1,
            usage=self.usage.plus(reply.usage),
            cost=self.cost + cost,
            unpriced=self.unpriced or (reply.model if reply.cost_usd is None else ""),
            last_cost=cost,
            last_tokens=reply.usage.input_tokens + reply.usage.output_tokens,
        )

    def with_tools(self, cost: float) -> Spent:
        """And what its tools cost."""
        return replace(self, cost=self.cost + cost)

    def with_others(self, *, turns: int, usage: Usage, cost: float | None, who: str) -> Spent:
        """And what an agent has spent to which the conversation was handed."""
        return replace(
            self,
            turns=self.turns + turns,
            usage=self.usage.plus(usage),
            cost=self.cost + (cost or 0.0),
            unpriced=self.unpriced or (f"a model of {who}" if cost is None else ""),
        )


def check_whole(name: str, value: object, *, most: int | None) -> None:
    """Raises Misuse for what is no whole number above 0, up to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (most is not None and value > most):
        told = "a whole number above 0" if most is None else f"a whole number from 1 to {most:,}"
        raise Misuse(f"{name}={value!r}: give {told}")


def why_no_more(agent: str, limits: Limits, spent: Spent, *, tools_cost: float = 0.0) -> LoopEnded | None:
    """Why the model may not be called once more, after tools that cost so much; None where it may."""
    if spent.turns >= limits.max_turns:
        return TurnsUsedUp(
            f"{agent} has called its model {spent.turns} times and got no answer, and may not once more "
            f"(max_turns={limits.max_turns}); look at what it asks for again and again, or raise max_turns"
        )
    if limits.max_cost is not None:
        if spent.unpriced:
            return CostUsedUp(
                f"{agent} may spend ${limits.max_cost:g} (max_cost), and no price is known for {spent.unpriced}, so "
                "that can not be kept; give its price in the settings, or take max_cost out"
            )
        left = limits.max_cost - spent.cost - tools_cost
        if left < _ROUNDING or spent.last_cost > left + _ROUNDING:
            return CostUsedUp(
                f"{agent} has spent ${spent.cost:.6f} and got no answer, and one call like the last one more would "
                f"pass ${limits.max_cost:g} (max_cost); raise it, or ask for less"
            )
    if limits.max_tokens is not None and spent.tokens + max(1, spent.last_tokens) > limits.max_tokens:
        return TokensUsedUp(
            f"{agent} has used {spent.tokens:,} tokens and got no answer, and the next call, of {spent.last_tokens:,} "
            f"or more, would pass {limits.max_tokens:,} (max_tokens); raise it, or ask for less"
        )
    return None


def why_no_records(agent: str, calls: int, records_left: int | None) -> RecordsUsedUp | None:
    """Why so many calls of tools may not be made; None where they may, and the model be called once more."""
    if records_left is None or RECORDS_PER_CALL * calls + RECORDS_PER_TURN <= records_left:
        return None
    return RecordsUsedUp(
        f"{agent} was to make {calls} calls at once, and its message keeps {records_left} more records (steps), of "
        f"which a call may take {RECORDS_PER_CALL}; split the work into messages, or have it call less at once"
    )


def _narrower(one: N | None, other: N | None) -> N | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
