"""What repeats itself at its end is found with its period (decision 0039)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.supervisors.rounds import rounds_at_end


@pytest.mark.parametrize(
    ("items", "period", "times"),
    [
        ("", 1, 1),
        ("a", 1, 1),
        ("ab", 1, 1),
        ("aa", 1, 2),
        ("xaaa", 1, 3),
        ("ababa", 2, 3),
        ("ababab", 2, 3),
        ("abcabcabca", 3, 4),
        ("abcabxabc", 1, 1),
        ("aab", 1, 1),
    ],
)
def test_a_period_is_found_with_how_often_the_last_item_was_there(items: str, period: int, times: int) -> None:
    assert rounds_at_end(items, 4) == (period, times)


def test_a_longer_period_than_is_looked_for_is_none() -> None:
    assert rounds_at_end("abcdeabcdeabcde", 4) == (1, 1)
    assert rounds_at_end("abcdeabcdeabcde", 5) == (5, 3)


@given(st.lists(st.integers(0, 2), max_size=30), st.integers(1, 6))
def test_what_is_found_is_there(items: list[int], longest: int) -> None:
    period, times = rounds_at_end(items, longest)

    last = [items[-1 - back * period] for back in range(times)] if items else []
    assert len(set(last)) <= 1
    assert 1 <= period <= longest


@given(st.lists(st.integers(), unique=True, min_size=1, max_size=5), st.integers(2, 5), st.lists(st.integers()))
def test_rounds_of_different_items_are_counted_exactly(cycle: list[int], times: int, before: list[int]) -> None:
    found = rounds_at_end([*before, -1, *cycle * times], 5)

    assert found.times >= times
    assert found.period == len(cycle) or found.times > times
