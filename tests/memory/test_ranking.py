"""Fusion: what must hold for any scores, and how it decides where the legs disagree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.memory.ranking import Leg, fused, standardised
from regrow.memory.record import RecordId

ids = st.sampled_from([RecordId(f"s#{n}") for n in range(8)])
# On a grid: scores closer than rounding errors may change places, and no one would mind.
scores = st.dictionaries(ids, st.integers(0, 40).map(lambda n: n / 4))
legs = st.lists(
    st.builds(Leg, scores=scores, weight=st.sampled_from([0.25, 1.0, 2.0]), floor=st.sampled_from([None, 0.0])),
    max_size=3,
)


def order(legs: list[Leg]) -> list[RecordId]:
    return [one.id for one in fused(legs)]


@pytest.mark.slow
@given(legs)
def test_every_candidate_comes_once_and_best_first(legs: list[Leg]) -> None:
    ranked = fused(legs)

    assert sorted(one.id for one in ranked) == sorted({id for leg in legs for id in leg.scores})
    assert [one.score for one in ranked] == sorted((one.score for one in ranked), reverse=True)


@pytest.mark.slow
@given(legs)
def test_a_candidate_that_is_nowhere_below_another_is_not_below_it_in_the_end(legs: list[Leg]) -> None:
    place = {one.id: one.score for one in fused(legs)}
    for a in place:
        for b in place:
            pairs = [(leg.scores.get(a, leg.stand_in), leg.scores.get(b, leg.stand_in)) for leg in legs if leg.scores]
            if all(of_a >= of_b for of_a, of_b in pairs):
                assert place[a] >= place[b] - 1e-9


@pytest.mark.slow
@given(st.lists(st.builds(Leg, scores=scores), max_size=3), st.sampled_from([0.5, 3.0]), st.sampled_from([-7.0, 2.0]))
def test_units_and_zero_points_of_a_leg_do_not_matter(legs: list[Leg], factor: float, offset: float) -> None:
    moved = [Leg(scores={id: factor * score + offset for id, score in leg.scores.items()}) for leg in legs]

    expected = {one.id: one.score for one in fused(legs)}
    assert {one.id: one.score for one in fused(moved)} == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@given(legs)
def test_the_order_of_the_candidates_handed_in_does_not_matter(legs: list[Leg]) -> None:
    turned = [Leg(scores=dict(reversed(list(leg.scores.items()))), weight=leg.weight, floor=leg.floor) for leg in legs]

    assert fused(turned) == fused(legs)


@pytest.mark.slow
@given(scores.filter(bool))
def test_a_leg_alone_keeps_its_order(scores: dict[RecordId, float]) -> None:
    assert order([Leg(scores=scores), Leg(scores={})]) == sorted(scores, key=lambda id: (-scores[id], id))


@pytest.mark.slow
@given(scores.filter(bool))
def test_a_leg_in_which_all_are_equal_does_not_count(scores: dict[RecordId, float]) -> None:
    flat = Leg(scores=dict.fromkeys(scores, 3.3), weight=5.0)

    assert order([Leg(scores=scores), flat]) == order([Leg(scores=scores)])


def test_no_candidates_give_no_order() -> None:
    assert fused([]) == []
    assert fused([Leg(scores={})]) == []


def test_the_only_lexical_match_comes_first_although_the_other_leg_prefers_others() -> None:
    dense = Leg(scores={RecordId(f"s#{n}"): 0.5 + n / 100 for n in range(10)}, weight=0.3)
    lexical = Leg(scores={RecordId("s#0"): 4.2}, floor=0.0)

    assert order([dense, lexical])[0] == "s#0"


def test_a_candidate_that_a_leg_cut_off_counts_as_its_lowest() -> None:
    assert Leg(scores={RecordId("s#1"): 3.0, RecordId("s#2"): 2.0}).stand_in == 2.0
    assert Leg(scores={RecordId("s#1"): 3.0, RecordId("s#2"): 2.0}, floor=0.0).stand_in == 0.0
    assert Leg(scores={RecordId("s#1"): -3.0}, floor=0.0).stand_in == -3.0


@pytest.mark.slow
@given(st.lists(st.floats(-1e6, 1e6), min_size=2))
def test_standardised_scores_have_mean_0_and_deviation_1_or_are_all_0(scores: list[float]) -> None:
    z = standardised(scores)

    assert sum(z) == pytest.approx(0.0, abs=1e-3)
    assert sum(each * each for each in z) / len(z) == pytest.approx(1.0, abs=1e-3) or not any(z)
