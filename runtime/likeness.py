"""Numbers by which guards tell whether two values say the same: messages, arguments, results, states. Pure.

Each value has five, since «the same» has degrees: all counts that is written, or all but what is named as noise, or
all but counters, or all but what looks like noise as well (see noise), or all but any number too. Two values with one
number are alike to that degree; the less they are alike in, the less evidence a guard takes it for.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from regrow.runtime import noise
from regrow.runtime.likeness_parts import UNMARKED, UNNUMBERED, WRITTEN, Degree, Parts


class Likenesses(NamedTuple):
    """The numbers of one value by degree, 0 to 2**40 - 1 each."""

    written: int
    said: int
    uncounted: int
    unmarked: int
    unnumbered: int


class StateLikenesses(NamedTuple):
    """The numbers of the state of an agent, at three of these degrees; all 0 for what has none."""

    written: int = 0
    unmarked: int = 0
    unnumbered: int = 0


STATELESS: Final = StateLikenesses()


class KeptLikenesses(NamedTuple):
    """What of a state tells whether an agent but keeps more of the same: see kept_likenesses."""

    written: int
    unmarked: int
    kinds: int
    things: int


def likenesses(
    value: object,
    volatile: AbstractSet[str] = frozenset(),
    *,
    of: str = "",
    own: str = "",
    is_result: bool = False,
) -> Likenesses:
    """The numbers of a value. `volatile` are names of fields that are noise, beside those known.

    `of` is what it belongs to, such as the tool of arguments, and counts as well. Objects whose class comes from the
    package `own` count by their attributes, all others by their class and size. In a result measured times are noise.
    """
    subjects = frozenset[str]() if is_result else noise.subjects_of(of)
    parts = _looked_into(value, volatile, of=of, own=own, is_result=is_result, subjects=subjects)
    return Likenesses(*parts.numbers(tuple(Degree)))


def written_and_unmarked(value: object, volatile: AbstractSet[str] = frozenset(), *, of: str = "") -> tuple[int, int]:
    """Two of these numbers, for what is judged before each message."""
    written, unmarked = _looked_into(value, volatile, of=of).numbers((WRITTEN, UNMARKED))
    return written, unmarked


def likeness(value: object, volatile: AbstractSet[str] = frozenset(), *, own: str = "", is_result: bool = False) -> int:
    """The number of all that is written in a value (`Degree.WRITTEN`)."""
    return _looked_into(value, volatile, own=own, is_result=is_result).numbers((WRITTEN,))[0]


def state_likenesses(state: object, volatile: AbstractSet[str] = frozenset(), *, own: str = "") -> StateLikenesses:
    """The numbers of a state. To the highest degree of a list only counts which things are in it, each once.

    So a list that grows by the same again, as a history of calls does, is there no more than a counter.
    """
    parts = Parts(volatile, own, is_state=True)
    return StateLikenesses(*_of_state(parts, state))


def kept_likenesses(state: object, volatile: AbstractSet[str] = frozenset(), *, own: str = "") -> KeptLikenesses:
    """The first two numbers of a state, a third one for which things are in its lists, and how many these are.

    To that third one all numbers count as well, in lists and elsewhere, which are none to `state_likenesses`.
    """
    parts = Parts(volatile, own, is_state=True, numbers_count=True)
    written, unmarked, kinds = _of_state(parts, state)
    return KeptLikenesses(written, unmarked, kinds, parts.things)


def _of_state(parts: Parts, state: object) -> list[int]:
    parts.add(UNNUMBERED, "state")
    parts.feed(state, 0)
    return parts.numbers((WRITTEN, UNMARKED, UNNUMBERED))


def _looked_into(
    value: object,
    volatile: AbstractSet[str],
    *,
    of: str = "",
    own: str = "",
    is_result: bool = False,
    subjects: AbstractSet[str] = frozenset(),
) -> Parts:
    parts = Parts(volatile, own, is_result=is_result, subjects=subjects)
    parts.add(UNNUMBERED, f"c{of}")
    parts.feed(value, 0)
    return parts
