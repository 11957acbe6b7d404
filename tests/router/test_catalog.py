"""Cards know what a model costs, or say that nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.router.catalog import (
    ModelCard,
    PriceBand,
    card_of,
    cost_nusd,
    extractive_card,
    in_usd,
    most_cost_nusd,
    nano_usd,
)
from regrow.router.request import Tier, Usage
from regrow.router.settings import ModelSettings, PriceSettings, ProviderName

AT = datetime(2026, 1, 1, tzinfo=UTC)
OPENAI = "https://api.openai.com/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai/"


def openai(model: str, base_url: str = OPENAI, price: PriceSettings | None = None) -> ModelCard:
    settings = ModelSettings(provider=ProviderName.OPENAI, model=model, base_url=base_url, price=price)
    return card_of(settings, Tier.LARGE, at=AT)


def test_an_unknown_model_has_no_price_and_no_cost() -> None:
    card = openai("nobody-knows-this")

    assert not card.price_known
    assert cost_nusd(card, Usage(input_tokens=10, output_tokens=10)) is None
    assert most_cost_nusd(card, input_limit_tokens=10, output_limit_tokens=10) is None


def test_a_known_name_on_somebody_elses_server_has_no_price() -> None:
    assert not openai("gpt-4o", "http://127.0.0.1:8000/v1").price_known


def test_a_price_in_the_settings_overrides_the_known_one() -> None:
    card = openai("gpt-4o", price=PriceSettings(input_usd_per_mtok=1.0, output_usd_per_mtok=2.0))

    cost = cost_nusd(card, Usage(input_tokens=1_000_000, output_tokens=500_000, cached_tokens=10))
    assert cost == nano_usd(2.0)


def test_the_extractive_model_is_known_to_cost_nothing() -> None:
    card = extractive_card(Tier.SMALL)

    assert card.price_known
    assert cost_nusd(card, Usage(input_tokens=10_000, output_tokens=10_000)) == 0


@pytest.mark.parametrize(
    ("model", "base_url"), [("gpt-4o-mini", OPENAI), ("gpt-4.1", OPENAI), ("gemini-2.5-pro", GOOGLE)]
)
@pytest.mark.parametrize("tokens", [(1_000, 0, 50), (1_000, 900, 50), (250_000, 100_000, 4_000), (200_000, 0, 1)])
def test_costs_agree_with_the_price_data(model: str, base_url: str, tokens: tuple[int, int, int]) -> None:
    whole, cached, out = tokens
    theirs = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=whole, cache_read_tokens=cached, output_tokens=out),
        model,
        provider_api_url=base_url,
        genai_request_timestamp=AT,
    ).total_price

    ours = cost_nusd(openai(model, base_url), Usage(input_tokens=whole, cached_tokens=cached, output_tokens=out))

    assert ours is not None
    assert abs(Decimal(ours) - theirs * 10**9) <= 1


_PRICE = st.floats(0, 100, allow_nan=False)
_BANDS = st.lists(
    st.builds(PriceBand, input_usd_per_mtok=_PRICE, cached_input_usd_per_mtok=_PRICE, output_usd_per_mtok=_PRICE),
    min_size=1,
    max_size=3,
).map(lambda bands: tuple(band.model_copy(update={"above_input_tokens": 5_000 * at}) for at, band in enumerate(bands)))


@given(
    bands=_BANDS,
    limits=st.tuples(st.integers(0, 20_000), st.integers(0, 20_000)),
    parts=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_no_call_within_its_limits_costs_more_than_the_most(
    bands: tuple[PriceBand, ...], limits: tuple[int, int], parts: tuple[float, float, float]
) -> None:
    card = ModelCard(name="m", provider="p", tier=Tier.SMALL, bands=bands)
    tokens = int(limits[0] * parts[0])
    usage = Usage(input_tokens=tokens, cached_tokens=int(tokens * parts[1]), output_tokens=int(limits[1] * parts[2]))

    cost = cost_nusd(card, usage)
    most = most_cost_nusd(card, input_limit_tokens=limits[0], output_limit_tokens=limits[1])

    assert cost is not None
    assert most is not None
    assert 0 <= cost <= most


@given(st.integers(0, 10**15))
def test_amounts_survive_the_way_through_dollars(nano: int) -> None:
    assert nano_usd(in_usd(nano_usd(nano / 10**9))) == nano_usd(nano / 10**9)
