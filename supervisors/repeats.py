"""Whether a call of a tool is one more of the same: the same arguments, after the same outcome, again and again. Pure.

It judges the end of what an agent has called in one run; up to four calls may take turns. A new outcome is progress, so
is another call in between, and so are longer and longer waits: somebody polls as one should. What the app says that it
polls is not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, groupby, pairwise
from typing import Final

from regrow.runtime.guard_errors import RepeatedCall
from regrow.runtime.guards import Finding, Guards, Rung
from regrow.runtime.run_store import CallNote
from regrow.supervisors.rounds import rounds_at_end

LONGEST_PERIOD: Final = 4
PATIENT_S: Final = 30.0
"""Whoever waits so long between two looks waits for something."""
LEAST_WAIT_S: Final = 0.2
"""What is shorter is no wait but the time that things take."""
GROWTH: Final = 1.9
"""By so much the last wait is longer than the first where waits grow."""
STEADY: Final = 0.9
"""No wait is shorter than this share of the one before it."""


def repeated(
    agent: str,
    tool: str,
    what: int,
    made: Sequence[CallNote],
    now_s: float,
    guards: Guards,
    *,
    batch: str = "",
    thought_s: float = 0.0,
) -> Finding | None:
    """What is to be said of a call that is about to be made, behind those that were `made`, oldest first.

    For `thought_s` its agent has waited for models since the last of them; a slow model is no patience.
    """
    if guards.repeats_end is None or tool in guards.polls:
        return None
    history = _one_by_one(_without_thought(made), batch)
    now_s -= thought_s + sum(note.thought_s for note in made)
    period, times = _rounds(what, history)
    if times < guards.repeats_warn or _is_patient(history[len(history) - (times - 1) * period :: period], now_s):
        return None
    return Finding(
        error=RepeatedCall,
        rung=Rung.REFUSE if times >= guards.repeats_end else Rung.WARN,
        text=(
            f"{agent} calls {tool} with the same arguments again, {times} times with this one, and the outcome was the "
            f"same each time (repeats_end={guards.repeats_end}); do something else with what is known, wait longer "
            f"between two looks, or name {tool} in polls"
        ),
        evidence={"tool": tool, "times": times, "period": period},
    )


def repeats_told(calls: Sequence[tuple[int, int]]) -> int:
    """How often the last of these calls, as (what, outcome), has been made in rounds of the same; at least 1."""
    return rounds_at_end(calls, LONGEST_PERIOD).times


def _without_thought(made: Sequence[CallNote]) -> list[CallNote]:
    """The same by a clock that stood still while their agent waited for a model."""
    thought = accumulate(note.thought_s for note in made)
    return [replace(note, at_s=note.at_s - before_s) for note, before_s in zip(made, thought, strict=True)]


def _one_by_one(made: Sequence[CallNote], batch: str) -> list[CallNote]:
    """The calls of before as if each had been decided on by itself.

    Of a batch the order is by chance, and the same call twice is one: nobody had seen the outcome of the first.
    """
    history: list[CallNote] = []
    for name, together in groupby(made, key=lambda each: each.batch):
        if not name:
            history += together
        elif name != batch:
            history += {(each.what, each.outcome): each for each in sorted(together, key=_by_what)}.values()
    return history


def _by_what(note: CallNote) -> tuple[int, int]:
    return note.what, note.outcome


def _rounds(what: int, history: Sequence[CallNote]) -> tuple[int, int]:
    """By which period and for which time this call comes now, if its outcome is the one of the last time."""
    pairs = [(each.what, each.outcome) for each in history]
    best = (1, 1)
    for period in range(1, min(LONGEST_PERIOD, len(pairs)) + 1):
        if pairs[-period][0] != what:
            continue
        found = rounds_at_end([*pairs, pairs[-period]], LONGEST_PERIOD)
        if found.times > best[1]:
            best = found
    return best


def _is_patient(before: Sequence[CallNote], now_s: float) -> bool:
    """Whether the waits between the calls of before, and until now, are those of somebody who waits for a change."""
    waits = [later - earlier for earlier, later in pairwise((*(each.at_s for each in before), now_s))]
    if not waits:
        return False
    if min(waits) >= PATIENT_S:
        return True
    grows = all(later >= STEADY * earlier for earlier, later in pairwise(waits))
    return grows and min(waits) >= LEAST_WAIT_S and waits[-1] >= GROWTH * waits[0]
