"""Whether a call of a tool is one more of the same: in the same state, after the same outcome, again and again. Pure.

It judges the end of what an agent has called in one run. «The same» has degrees (see runtime/likeness), and what has to
be overlooked for it costs: the limit grows by what speaks for work. A key that is pressed tells nothing each time, so
does each of many things that are deleted; what has changed before may change again; a number may be that of a page.
A new outcome is progress, so are another call in between, a change of the agent's state, and waits of somebody who
waits for something.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import itemgetter
from typing import Final

from regrow.runtime.guard_errors import RepeatedCall
from regrow.runtime.guards import Finding, Guards, Rung
from regrow.runtime.likeness import STATELESS, Likenesses, StateLikenesses
from regrow.runtime.likeness_parts import Degree
from regrow.runtime.run_store import CallNote, Tone
from regrow.supervisors.call_history import CallHistory
from regrow.supervisors.rounds import Rounds, recurring_at_end, rounds_at_end

LONGEST_PERIOD: Final = 4
PATIENT_S: Final = 30.0
"""Whoever waits so long between two looks waits for something."""
STEADY_S: Final = 5.0
"""Whoever waits so long each time, for what is not done yet, is given as many times the looks as these are seconds."""
LISTENING: Final = 0.5
"""The share of that where nobody has said that there is anything to wait for: it may be a slow model that decides."""
LEAST_WAIT_S: Final = 0.2
"""What is shorter is no wait but the time that things take."""
GROWTH: Final = 1.9
"""By so much the last wait is longer than the first where waits grow."""
GROWS_WITHIN: Final = 4
"""Of so many waits the last is longer than the first, unless it is long by itself: backing off has a highest wait."""
STEADY: Final = 0.9
"""No wait is shorter than this share of the one before it."""

DONE: Final = frozenset({Tone.DONE, Tone.GESTURE})
BLIND: Final = 3
"""So many times the limit for the same gesture, such as a click."""
MOST_CHANGES: Final = 3
"""So many changes of what the same call gave count, each as much as the limit once more."""


@dataclass(frozen=True, slots=True)
class Reading:
    """In what calls and outcomes have to be alike, and how many times the limit that takes."""

    call: Degree
    outcome: Degree
    limits: int
    done: int | None
    """The same where all that the calls tell is that they were done; None where that is work, however often."""
    failed: int


READINGS: Final = (
    Reading(Degree.WRITTEN, Degree.WRITTEN, 1, 1, 1),
    Reading(Degree.SAID, Degree.UNMARKED, 2, 7, 2),
    Reading(Degree.UNCOUNTED, Degree.UNMARKED, 2, 7, 2),
    Reading(Degree.UNMARKED, Degree.UNMARKED, 2, None, 2),
    Reading(Degree.UNNUMBERED, Degree.UNMARKED, 7, None, 3),
)
"""From the closest to the loosest. At once a call is the same only in all that is written, since what is named as an id
or as a clock may be all that tells one thing from the next: it needs more rounds, as does what looks so; by far more
where the calls say «done», for then it is what is approved. Any number needs most, since pages and seeds have numbers;
less, where all of them failed."""


_CALL_DEGREES: Final = frozenset(int(each.call) for each in READINGS)


@dataclass(frozen=True, slots=True)
class StateReading:
    """In what the states of an agent have to be alike, how many times the limit that takes at least, and in words."""

    limits: int
    failed: int
    told: str = ""


STATE_READINGS: Final = (
    StateReading(1, 1),
    StateReading(2, 2, ", and of its state only ids and clocks have changed"),
    StateReading(7, 3, ", and of its state only numbers have changed"),
)
"""By the degrees of StateLikenesses. An agent may count its calls in its state, or work off what it has counted."""


def repeated(
    agent: str,
    tool: str,
    what: Likenesses,
    made: Sequence[CallNote],
    now_s: float,
    guards: Guards,
    *,
    state: StateLikenesses = STATELESS,
    batch: str = "",
    thought_s: float = 0.0,
) -> Finding | None:
    """What is to be said of a call that is about to be made in this `state`, behind those that were `made`.

    These stand oldest first. For `thought_s` its agent has waited for models since the last of them; a slow model is
    no patience.
    """
    if guards.repeats_end is None or tool in guards.polls:
        return None
    if all(sum(each.what[of] == what[of] for each in made) + 1 < guards.repeats_warn for of in _CALL_DEGREES):
        return None  # at once, since most calls are made once
    found: list[tuple[Rung, Rounds, str]] = []
    for degree, seen in enumerate(STATE_READINGS):
        is_still = all(each.state[degree] == state[degree] for each in made)
        notes = made if is_still else [replace(each, what=_in_state(each.what, each.state[degree])) for each in made]
        this = what if is_still else _in_state(what, state[degree])
        history = CallHistory(notes, now_s - thought_s, batch=batch)
        for reading in READINGS:
            if each := _by(reading, seen, this, history, guards, guards.repeats_end):
                found.append((*each, seen.told))
        if is_still:
            break  # so it is to the higher degrees as well
    if not found:
        return None
    rung, rounds, told = max(found, key=itemgetter(0))  # of equal rungs the first, which is by the closest reading
    return Finding(
        error=RepeatedCall,
        rung=rung,
        text=(
            f"{agent} calls {tool} with the same arguments again, {rounds.times} times with this one, and the outcome "
            f"was the same each time{told} (repeats_end={guards.repeats_end}); do something else with what is known, "
            f"wait longer between two looks, or name {tool} in polls"
        ),
        evidence={"tool": tool, "times": rounds.times, "period": rounds.period},
    )


def repeats_told(calls: Sequence[tuple[int, int]]) -> int:
    """How often the last of these calls, as (what, outcome), has been made in rounds of the same; at least 1."""
    return rounds_at_end(calls, LONGEST_PERIOD).times


def _in_state(what: Likenesses, state: int) -> Likenesses:
    """The likenesses of a call as what was called in this state."""
    return Likenesses(*(each ^ state for each in what))


def _by(
    reading: Reading, state: StateReading, what: Likenesses, history: CallHistory, guards: Guards, end: int
) -> tuple[Rung, Rounds] | None:
    """How far this call has come in a loop by this reading; None where it is in none that is to be told."""
    this = what[reading.call]
    notes = history.one_by_one(reading.call, reading.outcome)
    pairs = [(each.what[reading.call], each.outcome[reading.outcome]) for each in notes]
    if sum(call == this for call, _ in pairs) + 1 < guards.repeats_warn:
        return None
    rounds = _rounds(this, pairs)
    loop = notes[-rounds.period * (rounds.times - 1) :]
    if rounds.times < guards.repeats_warn or (limits := _limits(reading, state, loop)) is None:
        return None
    pauses = history.pauses(loop, this, reading.call)
    if _is_patient(pauses):
        return None
    limits = max(limits * (1 + _changes(pairs, rounds)), _looks_of(pauses, loop))
    if rounds.times < guards.repeats_warn * limits:
        return None
    return (Rung.REFUSE if rounds.times >= end * limits else Rung.WARN), rounds


def _limits(reading: Reading, state: StateReading, loop: Sequence[CallNote]) -> int | None:
    """By how many times the limit these calls are a loop; None where they are work, however many there are."""
    tones = {each.tone for each in loop}
    if tones == {Tone.GESTURE} and reading.call == Degree.WRITTEN:
        return max(BLIND, state.limits)
    if tones <= DONE:
        return None if reading.done is None else max(reading.done, state.limits)
    if reading.done is None and _does_other_things(loop, reading.call):
        return None
    if tones == {Tone.FAILED}:
        return max(reading.failed, state.failed)
    return max(reading.limits, state.limits)


def _does_other_things(loop: Sequence[CallNote], degree: Degree) -> bool:
    """Whether something was done in these calls, and each time to something else."""
    deeds = [each for each in loop if each.tone in DONE]
    return len({each.what.said for each in deeds}) > len({each.what[degree] for each in deeds})


def _rounds(what: int, pairs: Sequence[tuple[int, int]]) -> Rounds:
    """By which period and for which time this call comes now, if its outcome is the one of the last time."""
    best = Rounds(1, 1)
    for period in range(1, min(LONGEST_PERIOD, len(pairs)) + 1):
        if pairs[-period][0] != what:
            continue
        found = rounds_at_end([*pairs, pairs[-period]], LONGEST_PERIOD)
        if found.times > best.times:
            best = found
    last = next((pair for pair in reversed(pairs) if pair[0] == what), None)
    if last is not None:
        found = recurring_at_end([*pairs, last])
        best = found if found.times > best.times else best
    return best


def _changes(pairs: Sequence[tuple[int, int]], rounds: Rounds) -> int:
    """How often a call of the loop had given something else before it, up to a bound; one more if it does so in it."""
    begins = len(pairs) - rounds.period * (rounds.times - 1)
    loop = set(pairs[begins:])
    calls = {what for what, _ in loop}
    if len(calls) < len(loop):
        return 1
    last: dict[int, int] = {}
    changes = 0
    for what, outcome in pairs[: begins + rounds.period]:
        changes += what in calls and last.get(what, outcome) != outcome
        last[what] = outcome
    return min(changes, MOST_CHANGES)


def _looks_of(pauses: Sequence[float], loop: Sequence[CallNote]) -> int:
    """By how many times the limit whoever waits so long may look."""
    shortest_s = min(pauses, default=0.0)
    if shortest_s < STEADY_S:
        return 1
    pending = any(each.tone is Tone.PENDING for each in loop)
    return round(shortest_s * (1.0 if pending else LISTENING))


def _is_patient(pauses: Sequence[float]) -> bool:
    """Whether these waits are those of somebody who waits for a change."""
    if not pauses:
        return False
    if min(pauses) >= PATIENT_S:
        return True
    grows = all(later >= STEADY * earlier for earlier, later in pairwise(pauses))
    has_grown = min(pauses) >= LEAST_WAIT_S and pauses[-1] >= GROWTH * pauses[0]
    return grows and has_grown and (pauses[-1] >= STEADY_S or pauses[-1] > pauses[-GROWS_WITHIN:][0])
