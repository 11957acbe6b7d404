"""Model cards: what each model is called, who runs it, and what it costs. Pure but for the price data.

Prices come from the `genai-prices` package, which carries its data, unless the settings give one. They
are looked up once, when a card is made: a lookup costs 0.2 ms, and a card must not change under a call.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final, NewType

from regrow.router.request import Tier, Usage
from regrow.router.settings import ModelSettings, PriceSettings, ProviderName
from regrow.runtime.message import Message

if TYPE_CHECKING:
    from decimal import Decimal

    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

NanoUsd = NewType("NanoUsd", int)
"""Billionths of a US dollar. Whole numbers, so that totals are exact sums; a call is rounded up to one."""

NANO_PER_USD: Final = 1_000_000_000
_MTOK: Final = 1_000_000

EXTRACTIVE_MODEL: Final = "extractive"

_CHARGED_OTHERWISE: Final = frozenset(
    ("requests_kcount", "output_reasoning_mtok", "output_citation_mtok", "input_mchars", "input_text_messages_kcount")
)
"""Prices of a text completion that a band cannot hold. A model that has one counts as of unknown price."""


class PriceBand(Message):
    """Prices in USD per million tokens, for every call with more than `above_input_tokens` input tokens."""

    above_input_tokens: int = 0
    input_usd_per_mtok: float
    cached_input_usd_per_mtok: float
    output_usd_per_mtok: float


class ModelCard(Message):
    """One model as the router knows it.

    `bands` holds its prices with rising thresholds, the first from 0; it is empty where no price is
    known. The band that a call's input reaches prices all of its tokens, as providers do.
    """

    name: str
    provider: str
    tier: Tier
    bands: tuple[PriceBand, ...] = ()
    context_limit_tokens: int | None = None

    @property
    def price_known(self) -> bool:
        """Whether a cost can be given at all; 0.0 is a known price."""
        return bool(self.bands)


def nano_usd(usd: float) -> NanoUsd:
    """Give an amount of dollars in billionths, to the nearest one."""
    return NanoUsd(round(usd * NANO_PER_USD))


def in_usd(nano: NanoUsd) -> float:
    """Give an amount of billionths in dollars."""
    return nano / NANO_PER_USD


def cost_nusd(card: ModelCard, usage: Usage) -> NanoUsd | None:
    """Give what `usage` costs by the card's prices, rounded up; None where no price is known."""
    if not card.bands:
        return None
    band = next(
        (band for band in reversed(card.bands) if usage.input_tokens > band.above_input_tokens),
        card.bands[0],
    )
    cached = min(usage.cached_tokens, usage.input_tokens)
    return _sum(
        (
            (usage.input_tokens - cached, band.input_usd_per_mtok),
            (cached, band.cached_input_usd_per_mtok),
            (usage.output_tokens, band.output_usd_per_mtok),
        )
    )


def most_cost_nusd(card: ModelCard, *, input_limit_tokens: int, output_limit_tokens: int) -> NanoUsd | None:
    """Give the most that a call within these limits can cost; None where no price is known."""
    if not card.bands:
        return None
    reachable = (band for band in card.bands if band.above_input_tokens <= input_limit_tokens)
    return max(
        _sum(
            (
                (input_limit_tokens, max(band.input_usd_per_mtok, band.cached_input_usd_per_mtok)),
                (output_limit_tokens, band.output_usd_per_mtok),
            )
        )
        for band in reachable
    )


def card_of(settings: ModelSettings, tier: Tier, *, at: datetime) -> ModelCard:
    """Give the card of the model in `settings`, with the prices in force at `at`."""
    if settings.provider is ProviderName.EXTRACTIVE:
        return extractive_card(tier)
    known = _known_model(settings, at)
    if settings.price is not None:
        bands: tuple[PriceBand, ...] = (_overriding(settings.price),)
    else:
        bands = known[0] if known is not None else ()
    limit = settings.context_limit_tokens or (known[1] if known is not None else None)
    return ModelCard(
        name=settings.model, provider=settings.provider.value, tier=tier, bands=bands, context_limit_tokens=limit
    )


def extractive_card(tier: Tier) -> ModelCard:
    """Give the card of the extractive model: it costs nothing, and that is known."""
    free = PriceBand(input_usd_per_mtok=0.0, cached_input_usd_per_mtok=0.0, output_usd_per_mtok=0.0)
    return ModelCard(name=EXTRACTIVE_MODEL, provider=ProviderName.EXTRACTIVE.value, tier=tier, bands=(free,))


def _sum(counts: Iterable[tuple[int, float]]) -> NanoUsd:
    # In whole numbers, so that the same tokens cost the same wherever and in whatever order they are added.
    total = sum(tokens * nano_usd(usd_per_mtok) for tokens, usd_per_mtok in counts)
    return NanoUsd(-(-total // _MTOK))


def _overriding(price: PriceSettings) -> PriceBand:
    cached = price.cached_input_usd_per_mtok
    return PriceBand(
        input_usd_per_mtok=price.input_usd_per_mtok,
        cached_input_usd_per_mtok=price.input_usd_per_mtok if cached is None else cached,
        output_usd_per_mtok=price.output_usd_per_mtok,
    )


def _known_model(settings: ModelSettings, at: datetime) -> tuple[tuple[PriceBand, ...], int | None] | None:
    """Bands and context limit by the price data; None where the model at that address is in none of it.

    Looked up by address, not by name alone: a model called gpt-4o on somebody's own server has not the
    price of OpenAI's.
    """
    # Imported late: the data takes 0.1 s to load, and who runs extractive models needs none of it.
    from genai_prices import Usage as NoUsage
    from genai_prices import calc_price

    try:
        found = calc_price(NoUsage(), settings.model, provider_api_url=settings.base_url, genai_request_timestamp=at)
    except LookupError:
        return None
    return _dearest_bands(found.model, found.model_price), found.model.context_window


def _dearest_bands(model: ModelInfo, in_force: ModelPrice) -> tuple[PriceBand, ...]:
    """The bands in force; where the hour of the day decides, the dearest, so that no budget is passed."""
    from genai_prices.types import TimeOfDateConstraint

    prices = [in_force]
    if isinstance(model.prices, list):
        prices += [price.prices for price in model.prices if isinstance(price.constraint, TimeOfDateConstraint)]
    all_bands = [_bands(price) for price in prices]
    if not all(all_bands):
        return ()
    return max(all_bands, key=lambda bands: (bands[0].output_usd_per_mtok, bands[0].input_usd_per_mtok))


def _bands(price: ModelPrice) -> tuple[PriceBand, ...]:
    of = {name: value for name, value in vars(price).items() if value is not None}
    if "input_mtok" not in of or "output_mtok" not in of or _CHARGED_OTHERWISE & of.keys():
        return ()
    of.setdefault("cache_read_mtok", of["input_mtok"])
    kinds = ("input_mtok", "cache_read_mtok", "output_mtok")
    starts = sorted({0, *(start for kind in kinds for start in _starts(of[kind]))})
    return tuple(
        PriceBand(
            above_input_tokens=start,
            input_usd_per_mtok=_at(of["input_mtok"], start),
            cached_input_usd_per_mtok=_at(of["cache_read_mtok"], start),
            output_usd_per_mtok=_at(of["output_mtok"], start),
        )
        for start in starts
    )


def _starts(price: Decimal | TieredPrices) -> list[int]:
    tiers = getattr(price, "tiers", None)
    return [tier.start for tier in tiers] if tiers else []


def _at(price: Decimal | TieredPrices, start: int) -> float:
    from genai_prices.types import TieredPrices as Tiered

    if not isinstance(price, Tiered):
        return float(price)
    reached = [tier.price for tier in price.tiers if tier.start <= start]
    return float(reached[-1] if reached else price.base)
