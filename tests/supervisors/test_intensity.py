"""The restart window against brute force, and the waits of back-off."""

from __future__ import annotations

import sys
from fractions import Fraction
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.supervisors import Backoff, Intensity
from regrow.supervisors.intensity import STALE_LIMIT

if TYPE_CHECKING:
    from _typeshed import TraceFunction


def after(intensity: Intensity, *times_s: float) -> tuple[Intensity, bool]:
    """The window after restarts of one child at these times, and the last verdict."""
    escalates = False
    for now_s in times_s:
        escalates = intensity.record("a", now_s=now_s).escalates
    return intensity, escalates


def test_as_many_restarts_as_allowed_do_not_escalate() -> None:
    assert not after(Intensity(max_restarts=3, within_s=5), 0, 1, 2)[1]


def test_one_more_restart_escalates() -> None:
    assert after(Intensity(max_restarts=3, within_s=5), 0, 1, 2, 3)[1]


def test_a_restart_at_the_edge_of_the_window_counts() -> None:
    assert after(Intensity(max_restarts=3, within_s=5), 0, 1, 2, 5)[1]


def test_a_restart_past_the_edge_of_the_window_does_not_count() -> None:
    assert not after(Intensity(max_restarts=3, within_s=5), 0, 1, 2, 5.001)[1]


def test_without_any_allowance_the_first_restart_escalates() -> None:
    assert after(Intensity(max_restarts=0, within_s=5), 0)[1]


def test_restarts_of_different_children_count_together() -> None:
    intensity, _ = after(Intensity(max_restarts=1, within_s=5), 0)

    assert intensity.record("b", now_s=1).escalates


def test_the_window_remembers_no_more_than_it_needs() -> None:
    intensity, _ = after(Intensity(max_restarts=2, within_s=1e9), *range(1_000))

    assert intensity.restarts == 3


def test_without_backoff_nothing_waits() -> None:
    assert Intensity(max_restarts=3, within_s=5).record("a", now_s=0, jitter=0.9).delay_s == 0


@pytest.mark.slow
@given(
    max_restarts=st.integers(0, 5),
    within=st.integers(1, 40),
    gaps=st.lists(st.integers(0, 30), max_size=40),
)
def test_each_verdict_is_that_of_counting_all_restarts_by_hand(max_restarts: int, within: int, gaps: list[int]) -> None:
    # Quarters of a second are exact in a float, so the edge is hit exactly, too.
    intensity = Intensity(max_restarts=max_restarts, within_s=within / 4)
    times: list[Fraction] = []

    for gap in gaps:
        times.append((times[-1] if times else Fraction(0)) + Fraction(gap, 4))
        verdict = intensity.record("a", now_s=float(times[-1]))

        by_hand = sum(times[-1] - time <= Fraction(within, 4) for time in times) > max_restarts
        assert verdict.escalates == by_hand
        assert intensity.restarts <= max_restarts + 1


# Back-off.


def test_delays_are_none_then_first_then_doubled_up_to_the_limit() -> None:
    backoff = Backoff(first_s=0.5, max_s=3)

    assert [backoff.delay_s(earlier, jitter=0) for earlier in range(6)] == [0, 0.5, 1, 2, 3, 3]


def test_jitter_spreads_even_those_that_wait_the_longest() -> None:
    backoff = Backoff(first_s=1, max_s=4)

    assert backoff.delay_s(9, jitter=0.5) == 3


@pytest.mark.slow
@given(
    first_s=st.floats(1e-6, 1e6),
    factor=st.floats(1, 1e6),
    earlier=st.integers(1, 10**9),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_never_passes_its_limit_and_never_vanishes(
    first_s: float, factor: float, earlier: int, jitter: float
) -> None:
    backoff = Backoff(first_s=first_s, max_s=first_s * factor)

    delay_s = backoff.delay_s(earlier, jitter=jitter)

    assert first_s / 2 <= delay_s <= backoff.max_s
    assert backoff.delay_s(earlier + 1, jitter=0) >= backoff.delay_s(earlier, jitter=0)


def patient(max_restarts: int = 3) -> Intensity:
    return Intensity(max_restarts=max_restarts, within_s=5, backoff=Backoff(first_s=10, max_s=60))


def test_each_child_has_delays_of_its_own() -> None:
    intensity = patient()

    assert [intensity.record(child_id, now_s=0).delay_s for child_id in "aab"] == [0, 10, 0]


def test_waiting_longer_than_the_window_does_not_hide_escalation() -> None:
    _, escalates = after(patient(), 0, 100, 200, 300)

    assert escalates


def test_attempts_age_while_their_child_runs() -> None:
    intensity, _ = after(patient(), 0, 100, 200)
    intensity.started("a", now_s=210)

    verdict = intensity.record("a", now_s=215.5)

    assert (verdict.escalates, verdict.delay_s) == (False, 0)


def test_a_child_that_ran_for_just_the_window_has_not_been_quiet() -> None:
    intensity, _ = after(patient(), 0, 100, 200)
    intensity.started("a", now_s=210)

    assert intensity.record("a", now_s=215).escalates


def test_short_runs_add_up() -> None:
    intensity, _ = after(patient(max_restarts=1), 0)
    intensity.started("a", now_s=10)
    intensity.stopped("a", now_s=13)
    intensity.started("a", now_s=20)

    assert not intensity.record("a", now_s=22.5).escalates


def test_one_childs_running_does_not_age_its_siblings_attempts() -> None:
    intensity, _ = after(patient(max_restarts=1), 0)
    intensity.started("b", now_s=0)

    assert intensity.record("b", now_s=1_000).escalates


def test_what_an_operator_stopped_no_longer_counts() -> None:
    intensity, _ = after(patient(max_restarts=1), 0)

    intensity.forgotten("a")

    assert intensity.aged_by == frozenset()
    assert not intensity.record("b", now_s=1_000).escalates


def test_forgetting_a_child_does_not_shorten_otps_window() -> None:
    intensity, _ = after(Intensity(max_restarts=1, within_s=5), 0)

    intensity.forgotten("a")

    assert intensity.record("b", now_s=1).escalates


@pytest.mark.slow
@given(
    max_restarts=st.integers(0, 4),
    within=st.integers(1, 20),
    lives=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.integers(0, 30)), max_size=30),
)
def test_with_backoff_each_verdict_is_that_of_adding_up_running_time_by_hand(
    max_restarts: int, within: int, lives: list[tuple[str, int, int]]
) -> None:
    intensity = Intensity(max_restarts=max_restarts, within_s=within, backoff=Backoff())
    ran = {"a": 0, "b": 0}
    recorded: list[tuple[str, int]] = []
    now_s = 0

    for child_id, runs_s, waits_s in lives:
        intensity.started(child_id, now_s=now_s)
        now_s += runs_s
        ran[child_id] += runs_s
        verdict = intensity.record(child_id, now_s=now_s)
        recorded.append((child_id, ran[child_id]))
        now_s += waits_s

        recent = [(who, at) for who, at in recorded if ran[who] - at <= within]
        assert verdict.escalates == (len(recent) > max_restarts)
        if verdict.escalates:
            return
        assert intensity.aged_by == {who for who, _ in recent}


def lines_run(children: int, backoff: Backoff | None) -> int:
    """How many lines of the window's code run when so many children are lost and come back, and again."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal lines
        if not frame.f_code.co_filename.endswith("intensity.py"):
            return None
        lines += event == "line"
        return trace

    intensity = Intensity(max_restarts=10 * children, within_s=children / 2, backoff=backoff)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for now_s in range(2 * children):
            intensity.record(str(now_s % children), now_s=now_s)
            intensity.started(str(now_s % children), now_s=now_s)
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("backoff", [None, Backoff()], ids=["plain", "backoff"])
def test_each_of_many_lost_children_costs_the_same(backoff: Backoff | None) -> None:
    assert lines_run(400, backoff) <= 1.1 * 4 * lines_run(100, backoff)


def test_clocks_that_are_gone_are_not_piled_up() -> None:
    intensity = Intensity(max_restarts=1, within_s=1e9, backoff=Backoff())

    for number in range(1_000):
        intensity.record(str(number), now_s=number)
        intensity.started(str(number), now_s=number)
        intensity.forgotten(str(number))

    assert len(intensity._watched) <= STALE_LIMIT + 1  # pyright: ignore[reportPrivateUsage]
