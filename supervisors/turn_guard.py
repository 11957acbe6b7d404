"""Judges what a turn is about to send: over how many agents it has come, and whether these go round in circles.

What the agents on the way had to do is carried in the origin of each message, so a circle is found across hosts, and no
store is asked. A round is one more of the same where each agent in it had the same to do as the last time (see
runtime/likeness) and nothing new has come into its state since. What an agent tells itself is its own loop and is not
judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from regrow.runtime.guard_errors import CausalLoop, HopsUsedUp
from regrow.runtime.guards import Finding, Guards, Rung
from regrow.runtime.likeness import kept_likenesses, written_and_unmarked
from regrow.runtime.likeness_parts import package_of
from regrow.supervisors.rounds import Rounds, rounds_at_end

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId
    from regrow.runtime.cell import Cell
    from regrow.runtime.envelope import Envelope

FROM_HOPS: Final = 2
MAX_STEPS: Final = 64
"""Of so many steps a message tells: three rounds of 21 agents fit into it."""
LOOSE_STEPS: Final = 8
"""For each of `loop_rounds`, so many steps have to be the same where they are so by looks, or in no order."""
GROWN_STEPS: Final = 20
"""The same where lists in the states of agents have but got more of the same, as a history does."""


class _Part(NamedTuple):
    """A number in a step: where it stands, and its bits, of which it needs fewer where more rounds are compared."""

    at: int
    bits: int

    def of_each(self, steps: Iterable[int]) -> list[int]:
        at, mask = self.at, (1 << self.bits) - 1
        return [step >> at & mask for step in steps]

    def put(self, number: int) -> int:
        return (number & (1 << self.bits) - 1) << self.at


_WRITTEN, _UNMARKED, _KINDS, _THINGS = _Part(43, 21), _Part(26, 17), _Part(10, 16), _Part(0, 10)
THINGS_TOLD: Final = 1 << _THINGS.bits
"""The number begins anew at this; lists that got longer by less than half of it are known for it."""


def step_of(
    actor: str, intent: str, message: object, state: object, volatile: AbstractSet[str] = frozenset(), *, own: str = ""
) -> int:
    """An agent, what it had to do, and its state, as four numbers in one of 64 bits.

    `intent` is the class of the message, and `own` the package of the agent's code. The first is all that is written
    there, the second the same without what is named or looks like an id, a clock or a counter, the third that without
    how often and where the same is in a list of the state. The last is how many things are in its lists.
    """
    written, unmarked = written_and_unmarked(message, volatile, of=f"{actor} {intent}")
    shown = kept_likenesses(state, volatile, own=own)
    return (
        _WRITTEN.put(written ^ shown.written)
        | _UNMARKED.put(unmarked ^ shown.unmarked)
        | _KINDS.put(unmarked ^ shown.kinds)
        | _THINGS.put(shown.things)
    )


def judged(actor: str, intent: str, hops: int, steps: tuple[int, ...], guards: Guards) -> Finding | None:
    """What is to be said of a turn that came over so many hops, and whose own step is the last of `steps`."""
    if guards.hop_limit is not None and hops > guards.hop_limit:
        return Finding(
            error=HopsUsedUp,
            rung=Rung.REFUSE,
            text=(
                f"{actor} may send nothing on behalf of this {intent}, which has come over {hops:,} agents (hop_limit="
                f"{guards.hop_limit:,}); have what goes on for ever begin anew by a timer (ctx.after), or raise it"
            ),
            evidence={"hops": hops, "hop_limit": guards.hop_limit},
        )
    found_rounds = _circle(steps, guards.loop_rounds) if guards.loop_rounds is not None else None
    if found_rounds is None:
        return None
    return Finding(
        error=CausalLoop,
        rung=Rung.REFUSE,
        text=(
            f"{actor} has had the same {intent} {found_rounds.times} times in a circle of {found_rounds.period} steps, "
            f"and nothing new is in the state of any agent in it (loop_rounds={guards.loop_rounds}); answer with what "
            "is known, or let a message say what is new"
        ),
        evidence={"rounds": found_rounds.times, "agents": found_rounds.period, "intent": intent, "hops": hops},
    )


def _circle(steps: tuple[int, ...], rounds: int) -> Rounds | None:
    """The circle in which these steps have come to their last one; None where there is none."""
    loose = rounds * LOOSE_STEPS
    for part, least in ((_WRITTEN, 0), (_UNMARKED, loose), (_KINDS, rounds * GROWN_STEPS)):
        alike = part.of_each(steps)
        if alike.count(alike[-1]) < rounds:
            continue
        found = rounds_at_end(alike, MAX_STEPS // rounds)
        if found.times < rounds or found.times * found.period < least:
            continue
        if part is not _KINDS or _only_grows(steps[-found.times * found.period :], found.period):
            return found
    written = _WRITTEN.of_each(steps)
    if len(written) > loose and set(written[-loose:]) <= set(written[:-loose]):
        return Rounds(len(set(written[-loose:])), written.count(written[-1]))
    return None


def _only_grows(steps: tuple[int, ...], period: int) -> bool:
    """Whether what differs between these rounds is that the lists of each agent got longer, mostly.

    Mostly, since a history that is cut short at times is one. A list that gets shorter comes to its end by itself,
    and one that is as long as before while other things stand in it, such as a board or a plan, is worked on.
    """
    for turn in range(period):
        of_turn = steps[turn::period]
        states = zip(_UNMARKED.of_each(of_turn), _THINGS.of_each(of_turn), strict=True)
        more = [(now - then) % THINGS_TOLD for (was, then), (is_, now) in pairwise(states) if was != is_]
        if 2 * sum(0 < each < THINGS_TOLD // 2 for each in more) < len(more):
            return False
    return True


class ByGuards:
    """The guard of the turns of one process."""

    from_hops = FROM_HOPS

    def __init__(self, guards: Guards) -> None:
        self._guards = guards

    def steps(self, cell: Cell, envelope: Envelope) -> tuple[int, ...]:
        """See TurnGuard."""
        cause, actor = envelope.origin, cell.actor
        state, message = state_of(cell.behavior), envelope.message
        if state is None or goes_on_by_itself(envelope, actor):
            return cause.steps
        own = own_package(cell.behavior)
        step = step_of(actor, type(message).__qualname__, message, state, self._guards.volatile, own=own)
        steps = (*cause.steps[1 - MAX_STEPS :], step)
        finding = judged(actor, type(message).__name__, cause.hops, steps, self._guards)
        if finding is not None:
            cell.runtime.guarding.found(finding, cause, agent=actor)
            if min(finding.rung, self._guards.top) >= Rung.REFUSE:
                finding.refuse()
        return steps


def goes_on_by_itself(envelope: Envelope, actor: ActorId) -> bool:
    """True for what an agent has told itself."""
    sender = envelope.origin.sender
    return sender is not None and sender.actor == actor


def is_judged(behavior: object) -> bool:
    """Whether this behavior is an agent or drives one, so that guards look at its turns."""
    return state_of(behavior) is not None


def state_of(behavior: object) -> object | None:
    """What the agent shows that this behavior is or drives; None for what is no agent, such as a service."""
    state_seen = getattr(_judged_of(behavior), "state_seen", None)
    return None if state_seen is None else state_seen()


def own_package(behavior: object) -> str:
    """The package of its code; objects of classes from there are looked into."""
    return package_of(_judged_of(behavior))


def _judged_of(behavior: object) -> object:
    return getattr(behavior, "agent", behavior)
