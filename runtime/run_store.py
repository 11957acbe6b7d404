"""The port to the counts of runs: what each has come to, the last calls of tools that its agents made, and retries.

A run is all that follows from one message from outside. Its counts are kept outside of its agents and hosts, so that no
restart resets them, and are forgotten RUN_TTL_S after the last one. Each method is atomic.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Protocol

from regrow.runtime.likeness import STATELESS, StateLikenesses

if TYPE_CHECKING:
    from regrow.runtime.guards import Guards
    from regrow.runtime.likeness import Likenesses

RUN_TTL_S: Final = 86_400
KEPT_CALLS: Final = 64
"""Of each agent in a run, so many of the last calls: five rounds of twelve are sixty."""
WINDOW_CALLS: Final = 1_000
"""After so many calls to an address what was sent there is halved, so that what is long ago counts less."""
WIRE_TTL_S: Final = 3_600
"""So long after the last attempt that nobody had declared, what was sent to its address is forgotten."""
NUSD_PER_USD: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What something adds to a run. `cost_nusd` is in billionths of a US dollar."""

    messages: int = 0
    calls: int = 0
    tokens: int = 0
    cost_nusd: int = 0

    def plus(self, other: Amounts) -> Amounts:
        """Both together."""
        return Amounts(**{each: getattr(self, each) + getattr(other, each) for each in COUNTED})

    def minus(self, other: Amounts) -> Amounts:
        """What is left without the other."""
        return Amounts(**{each: getattr(self, each) - getattr(other, each) for each in COUNTED})


COUNTED: Final = tuple(field.name for field in fields(Amounts))


NOTHING: Final = Amounts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a run has come to, `age_s` after its first count. With `over`, the name of a cap, nothing was added."""

    counts: Amounts
    age_s: float
    over: str = ""


class Tone(enum.IntEnum):
    """What the outcome of a call tells whoever made it."""

    TOLD = 0
    """Something that the call itself does not say, be it that there is nothing."""
    DONE = 1
    """That what was asked for was done, and no more: one of many things that are deleted, a mail that is sent."""
    FAILED = 2
    PENDING = 3
    """That it is not done yet, so that who waits has something to wait for."""
    GESTURE = 4
    """That a little thing was done whose like people do again and again without looking: a click, a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallNote:
    """One call of a tool that was made: what it was and what came of it, as likenesses, as is the agent's state before.

    It ended at `at_s` and took `took_s`; `thought_s` is how long its agent had waited for models since the call before.
    Calls that were decided on together have the same `batch`; empty where each was by itself.
    """

    id: str
    what: Likenesses
    outcome: Likenesses
    state: StateLikenesses = STATELESS
    tone: Tone = Tone.TOLD
    batch: str = ""
    took_s: float = 0.0
    thought_s: float = 0.0
    at_s: float = 0.0
    """By the clock of the store, which stamps it when it is noted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The last calls of an agent in a run, oldest first, and what time it is by the clock that has stamped them."""

    notes: tuple[CallNote, ...] = ()
    now_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WireCounts:
    """What was sent to one address: calls, attempts over the wire, and those of them that nobody had declared."""

    calls: float = 0.0
    attempts: float = 0.0
    hidden: float = 0.0

    def plus(self, other: WireCounts) -> WireCounts:
        """Both together, halved until no more calls are left than WINDOW_CALLS."""
        calls, share = self.calls + other.calls, 1.0
        while calls * share > WINDOW_CALLS:
            share /= 2
        return WireCounts(
            calls=calls * share,
            attempts=(self.attempts + other.attempts) * share,
            hidden=(self.hidden + other.hidden) * share,
        )


class RunStore(Protocol):
    """Counts runs. All raise RunsUnreachable where the store does not answer."""

    async def take(self, run: str, amounts: Amounts, guards: Guards, *, id: str = "", held: Amounts = NOTHING) -> Taken:
        """Adds to a run, unless it would pass a cap on what it adds or holds, or on its time.

        With an `id` it is added once, and can be settled.
        What is `held` back until then is added as well, and may pass a cap: it is what the next one finds used.
        """
        ...

    async def settle(self, run: str, id: str, amounts: Amounts) -> None:
        """What was taken under this id has come to these amounts. Harmless the second time."""
        ...

    async def note(self, run: str, agent: str, call: CallNote) -> None:
        """Keeps a call that this agent has just made in this run, once for each id; of all the last KEPT_CALLS."""
        ...

    async def calls(self, run: str, agent: str) -> Calls:
        """The calls of this agent in this run that were noted last."""
        ...

    async def sent(self, address: str, counts: WireCounts) -> WireCounts:
        """Adds what was sent to an address since it was told last; gives what all processes of the app have sent."""
        ...

    async def aclose(self) -> None:
        """Lets go of the store. What was written stays."""
        ...


def cap_passed(counts: Amounts, age_s: float, guards: Guards, *, taking: Amounts) -> str:
    """The name of the first cap that a run with these counts has passed; empty where it has passed none.

    Of caps on amounts only those count of which something is `taking` any: no message is refused for its run's tokens.
    """
    cost_nusd = None if guards.max_cost_usd is None else round(guards.max_cost_usd * NUSD_PER_USD)
    caps: tuple[tuple[str, float, float | None], ...] = (
        ("max_messages", counts.messages, guards.max_messages if taking.messages else None),
        ("max_calls", counts.calls, guards.max_calls if taking.calls else None),
        ("max_tokens", counts.tokens, guards.max_tokens if taking.tokens else None),
        ("max_cost_usd", counts.cost_nusd, cost_nusd if taking.cost_nusd else None),
        ("max_s", age_s, guards.max_s),
    )
    return next((name for name, value, cap in caps if cap is not None and value > cap), "")
