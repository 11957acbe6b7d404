"""Which model does a request, as an ordered list of candidates. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from regrow.router.catalog import ModelCard
from regrow.router.request import ModelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One model that could do a request; `fell_back` where it is not of the tier that was asked for."""

    card: ModelCard
    fell_back: bool


def candidates(request: ModelRequest, cards: Sequence[ModelCard]) -> tuple[Candidate, ...]:
    """Give all of `cards`, best first: those of the wanted tier, then the others, each in the given order.

    The wanted tier is the request's own choice, else that of its declared work: on RouteLLM's MMLU rows
    a table by declared subject beat every predictor that reads the prompt.
    """
    fitting = [Candidate(card=card, fell_back=False) for card in cards if card.tier is request.wanted_tier]
    others = [Candidate(card=card, fell_back=True) for card in cards if card.tier is not request.wanted_tier]
    return (*fitting, *others)
