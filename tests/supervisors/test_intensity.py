"""The restart window against brute force, and the waits of back-off."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.supervisors import Backoff, Intensity


def after(intensity: Intensity, *times_s: float) -> tuple[Intensity, bool]:
    """The window after restarts of one child at these times, and the last verdict."""
    escalates = False
    for now_s in times_s:
        verdict = intensity.record("a", now_s=now_s)
        intensity, escalates = verdict.intensity, verdict.escalates
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
    first = Intensity(max_restarts=1, within_s=5).record("a", now_s=0)

    assert first.intensity.record("b", now_s=1).escalates


def test_the_window_remembers_no_more_than_it_needs() -> None:
    intensity, _ = after(Intensity(max_restarts=2, within_s=1e9), *range(1_000))

    assert len(intensity.attempts) == 3


def test_without_backoff_nothing_waits() -> None:
    assert Intensity(max_restarts=3, within_s=5).record("a", now_s=0, jitter=0.9).delay_s == 0


@pytest.mark.slow
@settings(deadline=None)
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
        intensity = verdict.intensity

        by_hand = sum(times[-1] - time <= Fraction(within, 4) for time in times) > max_restarts
        assert verdict.escalates == by_hand
        assert len(intensity.attempts) <= max_restarts + 1


# Back-off.


def test_delays_are_none_then_first_then_doubled_up_to_the_limit() -> None:
    backoff = Backoff(first_s=0.5, max_s=3)

    assert [backoff.delay_s(earlier, jitter=0) for earlier in range(6)] == [0, 0.5, 1, 2, 3, 3]


def test_jitter_spreads_even_those_that_wait_the_longest() -> None:
    backoff = Backoff(first_s=1, max_s=4)

    assert backoff.delay_s(9, jitter=0.5) == 3


@pytest.mark.slow
@settings(deadline=None)
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
    first = patient().record("a", now_s=0)
    second = first.intensity.record("a", now_s=0)
    other = second.intensity.record("b", now_s=0)

    assert [verdict.delay_s for verdict in (first, second, other)] == [0, 10, 0]


def test_waiting_longer_than_the_window_does_not_hide_escalation() -> None:
    _, escalates = after(patient(), 0, 100, 200, 300)

    assert escalates


def test_attempts_age_while_their_child_runs() -> None:
    intensity, _ = after(patient(), 0, 100, 200)
    intensity = intensity.started("a", now_s=210)

    verdict = intensity.record("a", now_s=215.5)

    assert (verdict.escalates, verdict.delay_s) == (False, 0)


def test_a_child_that_ran_for_just_the_window_has_not_been_quiet() -> None:
    intensity, _ = after(patient(), 0, 100, 200)

    assert intensity.started("a", now_s=210).record("a", now_s=215).escalates


def test_short_runs_add_up() -> None:
    intensity, _ = after(patient(max_restarts=1), 0)
    intensity = intensity.started("a", now_s=10).stopped("a", now_s=13)

    assert not intensity.started("a", now_s=20).record("a", now_s=22.5).escalates


def test_one_childs_running_does_not_age_its_siblings_attempts() -> None:
    intensity = patient(max_restarts=1).record("a", now_s=0).intensity
    intensity = intensity.started("b", now_s=0)

    assert intensity.record("b", now_s=1_000).escalates


def test_what_an_operator_stopped_no_longer_counts() -> None:
    intensity = patient(max_restarts=1).record("a", now_s=0).intensity

    assert not intensity.forgotten("a").record("b", now_s=1_000).escalates
    assert intensity.forgotten("a").running == {}


def test_forgetting_a_child_does_not_shorten_otps_window() -> None:
    intensity = Intensity(max_restarts=1, within_s=5).record("a", now_s=0).intensity

    assert intensity.forgotten("a").record("b", now_s=1).escalates


@pytest.mark.slow
@settings(deadline=None)
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
        intensity = intensity.started(child_id, now_s=now_s)
        now_s += runs_s
        ran[child_id] += runs_s
        verdict = intensity.record(child_id, now_s=now_s)
        recorded.append((child_id, ran[child_id]))
        intensity = verdict.intensity
        now_s += waits_s

        recent = [(who, at) for who, at in recorded if ran[who] - at <= within]
        assert verdict.escalates == (len(recent) > max_restarts)
        if verdict.escalates:
            return
        assert set(intensity.running) == {who for who, _ in recent}
