"""Which sentences stand for a whole text: summaries and compression by quoting. Pure.

The centroid of all words needs one pass, where a graph of all pairs (TextRank) needs quadratic time. Words
that a chosen sentence has said count less for the next (SumBasic, Nenkova and Vanderwende 2005).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from regrow.router.ranking import CUT_FACTOR, LEANING_FACTOR, LEANS, ODD_LENGTH_FACTOR, SAME, Line, overlap, tokens_of
from regrow.router.sentences import letters_share
from regrow.router.terms import content_terms

SAID_FACTOR: Final = 0.35
"""What a word counts in a summary once a chosen sentence has said it."""

_OPENING_BONUS: Final = 0.35
_PARAGRAPH_BONUS: Final = 0.05
# Between the sum, which favours long lines, and the mean, which favours catchwords.
_LENGTH_BASE: Final = 6
_LENGTH_POWER: Final = 0.8
_SUMMARY_WORDS: Final = (7, 45)
_FLUENT_LETTERS_SHARE: Final = 0.88


def standing_for(lines: Sequence[Line], *, limit: int) -> list[Line]:
    """Give up to `limit` lines that say most of what all lines say, in their order."""
    centre = _Centre(lines)
    chosen: list[int] = []
    covered: set[str] = set()
    left = list(range(len(lines)))
    while left and len(chosen) < limit:
        best = max(left, key=lambda at: centre.nearness(at, covered))
        chosen.append(best)
        covered.update(centre.kept[best])
        left = [at for at in left if overlap(lines[at], lines[best]) < SAME]
    return [lines[at] for at in sorted(chosen)]


def within(lines: Sequence[Line], *, limit_tokens: int) -> list[Line]:
    """Give the most central lines that fit into `limit_tokens`, in their order: extractive compression."""
    centre = _Centre(lines)
    kept: list[int] = []
    left = limit_tokens
    for at in sorted(range(len(lines)), key=lambda at: centre.nearness(at, set()), reverse=True):
        cost = tokens_of(lines[at].text)
        if cost <= left:
            kept.append(at)
            left -= cost
    return [lines[at] for at in sorted(kept)]


class _Centre:
    """What all lines are about, and how near each line is to it."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        self.kept = [frozenset(content_terms(line.text)) for line in lines]
        count = Counter(word for words in self.kept for word in words)
        # A word of one line only is no topic; its rarity must not make it one.
        weights = {word: seen * math.log(1 + len(lines) / seen) for word, seen in count.items() if seen > 1}
        heaviest = max(weights.values(), default=1.0)
        self._weights = {word: weight / heaviest for word, weight in weights.items()}

        self._factors = [_standing_alone(line) for line in lines]

    def nearness(self, at: int, covered: set[str]) -> float:
        """How much of the centre the line says that is not yet `covered`, per word, and how well it stands alone."""
        words = self.kept[at]
        score = sum(self._weights.get(word, 0.0) * (SAID_FACTOR if word in covered else 1.0) for word in words)
        score /= math.pow(len(words) + _LENGTH_BASE, _LENGTH_POWER)
        sentence = self._lines[at].sentence
        score += _OPENING_BONUS / (1 + sentence.position) + (_PARAGRAPH_BONUS if sentence.opens_paragraph else 0.0)
        return score * self._factors[at]


def _standing_alone(line: Line) -> float:
    """How well the line reads without those around it, 0 to 1."""
    factor = math.pow(min(1.0, letters_share(line.text) / _FLUENT_LETTERS_SHARE), 2)
    if not line.sentence.whole:
        factor *= CUT_FACTOR
    if LEANS.match(line.text):
        factor *= LEANING_FACTOR
    if not _SUMMARY_WORDS[0] <= len(line.words) <= _SUMMARY_WORDS[1]:
        factor *= ODD_LENGTH_FACTOR
    return factor
