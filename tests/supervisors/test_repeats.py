"""Whether a call is one more of the same (decision 0039)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from regrow.runtime.guard_errors import RepeatedCall
from regrow.runtime.guards import Guards, Rung
from regrow.runtime.likeness import Likenesses
from regrow.runtime.likeness_parts import Degree
from regrow.runtime.run_store import KEPT_CALLS, CallNote, Tone
from regrow.supervisors.repeats import repeated

GUARDS = Guards()


def alike(number: int) -> Likenesses:
    """What is the same to each degree, or to none."""
    return Likenesses(*[number] * len(Degree))


def made(
    at: int, what: Likenesses, outcome: Likenesses, *, tone: Tone = Tone.TOLD, at_s: float = 0.0, thought_s: float = 0.0
) -> CallNote:
    return CallNote(id=str(at), what=what, outcome=outcome, tone=tone, at_s=at_s, thought_s=thought_s)


def called(
    calls: Sequence[tuple[int, int]],
    *,
    waits: Sequence[float] = (),
    thought_s: float = 0.0,
    took_s: float = 0.01,
    guards: Guards = GUARDS,
) -> list[Rung | None]:
    """What is said before each of these calls, given as (what, outcome); each waits so long behind the one before.

    A model decides on each for `thought_s`, which is not part of the wait.
    """
    notes: list[CallNote] = []
    said: list[Rung | None] = []
    now_s = 100.0
    for at, (what, outcome) in enumerate(calls):
        now_s += waits[at - 1] if 0 < at <= len(waits) else 0.0
        now_s += thought_s
        kept = notes[-KEPT_CALLS:]
        finding = repeated("desk/a", "look", alike(what), kept, now_s, guards, thought_s=thought_s)
        said.append(finding.rung if finding is not None else None)
        now_s += took_s
        notes.append(made(at, alike(what), alike(outcome), at_s=now_s, thought_s=thought_s))
    return said


@pytest.mark.parametrize("period", [1, 2, 3, 4])
def test_the_same_calls_in_turns_are_warned_of_for_the_third_time_and_ended_for_the_fifth(period: int) -> None:
    said = called([(number, 0) for number in range(period)] * 5)

    warned, ended = said.index(Rung.WARN), said.index(Rung.REFUSE)
    assert (warned, ended) == (2 * period, 4 * period)


def test_what_is_found_says_what_was_called_and_how_often() -> None:
    notes = [made(at, alike(7), alike(1), at_s=float(at)) for at in range(4)]

    finding = repeated("desk/a", "look", alike(7), notes, 4.0, GUARDS)

    assert finding is not None and finding.error is RepeatedCall
    assert finding.evidence == {"tool": "look", "times": 5, "period": 1}
    assert "desk/a calls look with the same arguments again, 5 times with this one" in finding.text


def test_a_new_outcome_is_progress() -> None:
    assert called([(1, number) for number in range(50)]) == [None] * 50


def test_other_arguments_are_progress_though_the_outcome_is_the_same() -> None:
    assert called([(number, 0) for number in range(50)]) == [None] * 50


def test_a_look_between_different_deeds_is_no_loop() -> None:
    deeds = [each for number in range(20) for each in ((1, 0), (100 + number, 0))]

    assert called(deeds) == [None] * 40


def test_a_retry_after_errors_that_then_succeeds_is_no_loop() -> None:
    assert called([(1, 9), (1, 9), (1, 0), (2, 0)]) == [None, None, Rung.WARN, None]


@pytest.mark.parametrize(
    "waits",
    [
        [2.0**number for number in range(12)],
        [0.5 * 1.5**number for number in range(20)],
        [1.0 + number for number in range(20)],
        [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30],
        [30.0] * 20,
        [120.0] * 20,
    ],
)
def test_whoever_polls_with_growing_or_long_waits_is_not_stopped(waits: list[float]) -> None:
    assert Rung.REFUSE not in called([(1, 0)] * (len(waits) + 1), waits=waits)


@pytest.mark.parametrize(
    "waits", [[1.0] * 20, [1.0, *[2.0] * 20], [0.0] * 20, [5.0, 4.0, 3.0, 2.0, 1.0], [0.01 * 2**n for n in range(6)]]
)
def test_whoever_polls_without_longer_waits_is(waits: list[float]) -> None:
    assert Rung.REFUSE in called([(1, 0)] * (len(waits) + 1), waits=waits)


@pytest.mark.parametrize("period", [1, 2, 3, 4])
def test_a_slow_model_is_no_patience(period: int) -> None:
    said = called([(number, 0) for number in range(period)] * 5, thought_s=40.0)

    assert said.index(Rung.REFUSE) == 4 * period


def test_whoever_waits_beside_a_slow_model_is_patient() -> None:
    assert Rung.REFUSE not in called([(1, 0)] * 12, waits=[2.0**number for number in range(11)], thought_s=40.0)


def test_a_tool_that_is_polled_by_its_name_is_not_judged() -> None:
    assert called([(1, 0)] * 20, guards=Guards(polls=frozenset({"look"}))) == [None] * 20


def test_limits_may_be_others_and_off() -> None:
    assert called([(1, 0)] * 3, guards=Guards(repeats_warn=2, repeats_end=3)) == [None, Rung.WARN, Rung.REFUSE]
    assert called([(1, 0)] * 20, guards=Guards(repeats_end=None)) == [None] * 20
