"""Fuses the two legs of a recall into one order. Pure: the same candidates give the same order.

Each leg's scores are standardised over all candidates, weighted, and added:

    fused(c) = Σ_legs  weight · (score(c) − mean) / deviation

This is z-score fusion (Wu, Crestani, Bi: "Evaluating score normalization methods in data fusion",
AIRS 2006), a convex combination of normalised scores; Bruch, Gai, Ingber ("An analysis of fusion
functions for hybrid retrieval", ACM TOIS 2023) find such combinations above reciprocal rank fusion,
which throws the distances away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regrow.memory.record import RecordId


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """The candidates of one way to search, with its raw scores; higher is better.

    `floor` is what stands in for a candidate that this leg did not return. Where the leg returned
    all that match (a BM25 leg that found fewer than it was asked for), that is the score of no
    match, 0. None means that the leg was cut off: then nothing is known but that the missing one is
    not above the leg's lowest, which stands in for it.
    """

    scores: Mapping[RecordId, float]
    weight: float = 1.0
    floor: float | None = None

    @property
    def stand_in(self) -> float:
        """The score of a candidate that is not in this leg; never above one that is."""
        lowest = min(self.scores.values())
        return lowest if self.floor is None else min(self.floor, lowest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One candidate with its fused score."""

    id: RecordId
    score: float


def fused(legs: Sequence[Leg]) -> list[Ranked]:
    """All candidates of all legs, each once, the best first.

    A candidate that is not below another in any leg is not below it in the result. A leg that found
    nothing, or gave all candidates the same score, does not count. Equal scores come in the order of
    the ids, which are made from the content, so that the order outlives a restart.
    """
    candidates = sorted({id for leg in legs for id in leg.scores})
    total = dict.fromkeys(candidates, 0.0)
    for leg in legs:
        if not leg.scores:
            continue
        stand_in = leg.stand_in
        raw = [leg.scores.get(id, stand_in) for id in candidates]
        for id, z in zip(candidates, standardised(raw), strict=True):
            total[id] += leg.weight * z
    return sorted((Ranked(id=id, score=score) for id, score in total.items()), key=lambda one: -one.score)


def standardised(scores: Sequence[float]) -> list[float]:
    """Zero mean and unit deviation; all zero where the scores do not differ beyond rounding."""
    mean = math.fsum(scores) / len(scores)
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
    if deviation <= 1e-9 * max(1.0, *(abs(score) for score in scores)):
        return [0.0] * len(scores)
    return [(score - mean) / deviation for score in scores]
