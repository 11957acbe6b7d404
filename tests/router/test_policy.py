"""The declared work chooses the tier; a missing tier falls back, and says so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regrow.router.catalog import ModelCard
from regrow.router.policy import candidates
from regrow.router.request import ModelRequest, Tier, Work

CARDS = st.lists(
    st.builds(ModelCard, name=st.sampled_from("abcd"), provider=st.just("p"), tier=st.sampled_from(Tier)), max_size=6
)
REQUESTS = st.builds(
    ModelRequest, work=st.sampled_from(Work), prompt=st.just("?"), tier=st.none() | st.sampled_from(Tier)
)


@given(request=REQUESTS, cards=CARDS)
def test_every_card_is_a_candidate_once(request: ModelRequest, cards: list[ModelCard]) -> None:
    found = candidates(request, cards)

    assert sorted(one.card.name for one in found) == sorted(card.name for card in cards)


@given(request=REQUESTS, cards=CARDS)
def test_the_wanted_tier_goes_first_in_the_given_order(request: ModelRequest, cards: list[ModelCard]) -> None:
    found = [one.card for one in candidates(request, cards)]

    wanted = [card for card in cards if card.tier is request.wanted_tier]
    assert found[: len(wanted)] == wanted


@given(request=REQUESTS, cards=CARDS)
def test_falling_back_is_said_and_only_then(request: ModelRequest, cards: list[ModelCard]) -> None:
    for one in candidates(request, cards):
        assert one.fell_back == (one.card.tier is not request.wanted_tier)


@given(request=REQUESTS, cards=CARDS.filter(bool))
def test_the_first_candidate_falls_back_only_if_the_tier_has_no_model(
    request: ModelRequest, cards: list[ModelCard]
) -> None:
    first = candidates(request, cards)[0]

    assert first.fell_back == all(card.tier is not request.wanted_tier for card in cards)
