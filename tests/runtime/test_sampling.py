"""Which traces are recorded: so many in a second, with bursts, and the rest counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regrow.runtime.sampling import BURST_S, REPORTS_PER_S, Sampling, TokenBucket


def test_a_quiet_process_records_a_burst_and_then_its_rate() -> None:
    sampling = Sampling(2.0)

    at_once = sum(sampling.begins(0.0) for _ in range(100))
    later = sum(sampling.begins(1.0 + number / 100) for number in range(100))

    assert at_once == 2 * BURST_S
    assert later == 3
    assert sampling.traces_left_out == 200 - 20 - 3


def test_a_rate_below_one_begins_with_one() -> None:
    assert [Sampling(0.01).begins(0.0) for _ in range(1)] == [True]


def test_reports_of_supervisors_take_no_place_of_traces() -> None:
    sampling = Sampling(1.0)

    told = sum(sampling.reports(0.0) for _ in range(10_000))

    assert told == REPORTS_PER_S * BURST_S
    assert sampling.begins(0.0)
    assert sampling.traces_left_out == 0


def test_who_found_none_takes_one_as_soon_as_it_has_come_back() -> None:
    bucket = TokenBucket(4.0, 1.0)

    taken = [bucket.takes(now_s) for now_s in (0.0, 0.1, 0.2, 0.25, 0.3, 0.5)]

    assert taken == [True, False, False, True, False, True]
    assert bucket.refused == 3


def test_what_has_no_rate_takes_none() -> None:
    bucket = TokenBucket(0.0, 0.0)

    assert [bucket.takes(now_s) for now_s in (0.0, 1e9)] == [False, False]


@given(st.floats(0.1, 100), st.integers(1, 50), st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_no_more_is_taken_than_the_rate_and_one_burst_allow(per_s: float, burst: int, pauses: list[float]) -> None:
    bucket, now_s, taken = TokenBucket(per_s, float(burst)), 0.0, 0

    for pause_s in pauses:
        now_s += pause_s
        taken += bucket.takes(now_s)

    assert taken <= burst + per_s * now_s + 1e-6
    assert taken + bucket.refused == len(pauses)
