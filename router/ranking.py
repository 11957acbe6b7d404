"""Which sentences answer a question. Pure, and linear in the text.

Relevance is the share of the question's rare words that a sentence holds (idf as in BM25, Robertson and
Zaragoza 2009), with a smaller share for words of its neighbours and heading. Choosing follows maximal
marginal relevance (Carbonell and Goldstein 1998), so that no sentence says what another has said.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from regrow.router.sentences import Sentence, sentences
from regrow.router.terms import content_terms, kin, terms

KIN_WEIGHT: Final = 0.6
"""What a word of the same family counts beside the word itself."""

HEADING_WEIGHT: Final = 0.45
"""What a word counts that stands only in the heading above."""

NEIGHBOUR_WEIGHT: Final = 0.35
"""What a word counts that stands only in the sentence before or after."""

LEAST_RELEVANCE: Final = 0.28
"""Share of the question's weight below which the best sentence is no answer."""

LEAST_OF_BEST: Final = 0.72
"""A further sentence must be this relevant beside the best, or bring what is still missing."""

LEAST_OF_BEST_WITH_NEWS: Final = 0.3
"""How relevant it must be beside the best when it brings what is still missing."""

LEAST_NEWS: Final = 0.18
"""Share of the question's weight that counts as bringing what is still missing."""

SAME: Final = 0.75
"""Two sentences that share this part of their words say the same."""

_DIGITS: Final = re.compile(r"\d")
_REASONS: Final = re.compile(
    r"\b(?:because|since|so that|therefore|reason|otherwise|why|would|cause[sd]?|avoid|prevent)", re.IGNORECASE
)
_NAMES: Final = re.compile(r"\S [A-Z][a-z]+ [A-Z][a-z]+")
_CUES: Final = (
    (
        re.compile(
            r"\bhow (?:many|much|long|often|fast|large|big|old)\b|\bwhen\b|\bwhat year\b"
            r"|\b(?:limit|default|size|number)\b",
            re.I,
        ),
        _DIGITS,
    ),
    (re.compile(r"\bwhy\b", re.I), _REASONS),
    (re.compile(r"\bwho(?:m|se)?\b", re.I), _NAMES),
)
_CUE_BONUS: Final = 0.08
_DEFINITION: Final = re.compile(r"^\s*(?:what(?:'s| is| are| does)|who is|define|explain)\b", re.IGNORECASE)
_BEING: Final = frozenset(("is", "are", "was", "were", "mean", "hold", "give", "run", "take", "make", "do"))
_DEFINITION_BONUS: Final = 0.35
_SUBJECT_BONUS: Final = 0.15
_NAME: Final = re.compile(r"\b[A-Z]\w+|\b\w+_\w+")
_NAME_BONUS: Final = 0.04
_EARLY_BONUS: Final = 0.04
_ADJACENT_BONUS: Final = 0.05
LEANS: Final = re.compile(
    r"(?:This|That|It|They|These|Those|He|She|Such|Both|Therefore|However|But|So|Then|Instead|Inside them)\b"
)
LEANING_FACTOR: Final = 0.9
CUT_FACTOR: Final = 0.8
ODD_LENGTH_FACTOR: Final = 0.85
_SHORT_WORDS: Final = 5
_LONG_WORDS: Final = 60
_PASSAGE_DECAY: Final = 0.02
_PASSAGE_FLOOR: Final = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A sentence with the passage (its number, best first) and the source it came from."""

    sentence: Sentence
    passage: int
    source: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentence as it is quoted."""
        return self.sentence.text


def lines_of(passages: Sequence[tuple[str, str]]) -> list[Line]:
    """Give the sentences of (text, source) passages in order, each once however often it was passed."""
    found: list[Line] = []
    seen: set[tuple[str, ...]] = set()
    for passage, (text, source) in enumerate(passages):
        for sentence in sentences(text):
            words = tuple(terms(sentence.text))
            if words in seen:
                continue
            seen.add(words)
            found.append(Line(sentence=sentence, passage=passage, source=source, words=words))
    return found


def answering(question: str, lines: Sequence[Line], *, limit: int) -> list[Line]:
    """Give up to `limit` lines that answer `question`, in reading order; none where nothing is relevant."""
    asked = _Asked(question, lines)
    relevance = [asked.relevance(at) for at in range(len(lines))]
    if not lines or max(relevance) <= 0:
        return []
    best = max(range(len(lines)), key=relevance.__getitem__)
    if asked.share(best) < LEAST_RELEVANCE:
        return []
    chosen = [best]
    covered = dict(asked.held(best))
    while len(chosen) < limit:
        following = _next_line(asked, lines, relevance, chosen, covered)
        if following is None:
            break
        chosen.append(following)
        for term, weight in asked.held(following).items():
            covered[term] = max(covered.get(term, 0.0), weight)
    return _readable(lines, chosen, limit=limit)


def tokens_of(text: str) -> int:
    """Estimate the tokens of `text`: four signs each, the rule of thumb for English."""
    return -(-len(text) // 4)


class _Asked:
    """A question's words with their weights, and how far each line holds them."""

    def __init__(self, question: str, lines: Sequence[Line]) -> None:
        self._lines = lines
        self.asked = tuple(dict.fromkeys(content_terms(question)))
        self._pairs = set(zip(self.asked, self.asked[1:], strict=False))
        self._wants_subject = bool(_DEFINITION.match(question))
        self._names = tuple(set(_NAME.findall(question[1:])))
        self._cues = [cue for asks, cue in _CUES if asks.search(question)]
        families = self._families()
        self._own = [self._held_in(line.words, families) for line in lines]
        self._above = {
            above: self._held_in(terms(" ".join(above)), families) for above in {_above(line) for line in lines}
        }
        count = Counter(term for held in self._own for term in held)
        total = len(lines)
        # A word that stands nowhere counts as if it stood once: as a sign of a foreign topic, but no more.
        seen = {term: max(1, count[term]) for term in self.asked}
        self.weights = {term: math.log(1 + (total - seen[term] + 0.5) / (seen[term] + 0.5)) for term in self.asked}
        self._whole = sum(self.weights.values()) or 1.0

    def held(self, at: int) -> dict[str, float]:
        """How far the line itself holds each of the question's words, 0 to 1."""
        return self._own[at]

    def share(self, at: int) -> float:
        """The share of the question's weight that the line holds, neighbours and heading included."""
        held = dict(self._headings_of(at))
        for neighbour in (at - 1, at + 1):
            if self._adjoins(at, neighbour):
                for term, weight in self._own[neighbour].items():
                    held[term] = max(held.get(term, 0.0), NEIGHBOUR_WEIGHT * weight)
        for term, weight in self._own[at].items():
            held[term] = max(held.get(term, 0.0), weight)
        return sum(self.weights[term] * weight for term, weight in held.items()) / self._whole

    def relevance(self, at: int) -> float:
        """The share, with what form and place say about how well the line would answer."""
        own = self._own[at]
        if not own:
            return 0.0
        line = self._lines[at]
        score = self.share(at)
        score += _ADJACENT_BONUS * min(
            3, sum(pair in self._pairs for pair in zip(line.words, line.words[1:], strict=False))
        )
        score += _CUE_BONUS * sum(bool(cue.search(line.text)) for cue in self._cues)
        if self._wants_subject:
            score += self._as_definition(line)
        score += _NAME_BONUS * sum(name in line.text for name in self._names)
        score += _EARLY_BONUS / (1 + line.sentence.position)
        if not line.sentence.whole:
            score *= CUT_FACTOR
        if LEANS.match(line.text):
            score *= LEANING_FACTOR
        if not _SHORT_WORDS <= len(line.words) <= _LONG_WORDS:
            score *= ODD_LENGTH_FACTOR
        return score * max(_PASSAGE_FLOOR, 1 - _PASSAGE_DECAY * line.passage)

    def news(self, at: int, covered: dict[str, float]) -> float:
        """The share of the question's weight that the line adds to what is covered."""
        return (
            sum(
                self.weights[term] * max(0.0, weight - covered.get(term, 0.0)) for term, weight in self._own[at].items()
            )
            / self._whole
        )

    def _as_definition(self, line: Line) -> float:
        """What it counts that the line begins with its subject, and more so if a verb of being follows."""
        words = line.words[1:] if line.words[0] in ("the", "a", "an") else line.words
        length = len(self.asked)
        if set(self.asked) <= set(words[:length]):
            return _DEFINITION_BONUS if words[length : length + 1] and words[length] in _BEING else _SUBJECT_BONUS
        return 0.0

    def _adjoins(self, at: int, neighbour: int) -> bool:
        if not 0 <= neighbour < len(self._lines):
            return False
        one, other = self._lines[at], self._lines[neighbour]
        return one.passage == other.passage and one.sentence.heading == other.sentence.heading

    def _headings_of(self, at: int) -> dict[str, float]:
        held = self._above[_above(self._lines[at])]
        return {term: HEADING_WEIGHT * weight for term, weight in held.items()}

    def _families(self) -> dict[str, list[tuple[str, float]]]:
        """For each word of the lines, the asked words it stands for, with the weight of that."""
        vocabulary = {word for line in self._lines for word in line.words}
        vocabulary.update(word for above in {_above(line) for line in self._lines} for word in terms(" ".join(above)))
        by_start: dict[str, list[str]] = {}
        for word in vocabulary:
            by_start.setdefault(word[:4], []).append(word)
        families: dict[str, list[tuple[str, float]]] = {}
        for term in self.asked:
            families.setdefault(term, []).append((term, 1.0))
            for word in by_start.get(term[:4], ()):
                if word != term and kin(word, term):
                    families.setdefault(word, []).append((term, KIN_WEIGHT))
        return families

    def _held_in(self, words: Sequence[str], families: dict[str, list[tuple[str, float]]]) -> dict[str, float]:
        held: dict[str, float] = {}
        for word in words:
            for term, weight in families.get(word, ()):
                held[term] = max(held.get(term, 0.0), weight)
        return held


def _above(line: Line) -> tuple[str, str]:
    """What stands over the line: its heading, and its source, whose name often tells the topic."""
    return line.sentence.heading, line.source


def _next_line(
    asked: _Asked, lines: Sequence[Line], relevance: Sequence[float], chosen: Sequence[int], covered: dict[str, float]
) -> int | None:
    """The line that adds most to the chosen ones, or None where no other is worth its place."""
    best = relevance[chosen[0]]
    found: int | None = None
    most = 0.0
    for at, line in enumerate(lines):
        if at in chosen or relevance[at] <= 0:
            continue
        news = asked.news(at, covered)
        least = LEAST_OF_BEST_WITH_NEWS if news >= LEAST_NEWS else LEAST_OF_BEST
        if relevance[at] < least * best:
            continue
        repeated = max(overlap(line, lines[other]) for other in chosen)
        if repeated >= SAME:
            continue
        worth = relevance[at] + news - 0.5 * repeated
        if worth > most:
            found, most = at, worth
    return found


def _readable(lines: Sequence[Line], chosen: Sequence[int], *, limit: int) -> list[Line]:
    """The chosen lines by passage, the best passage first, each in its order.

    A line that leans on the one before it ("It …", "This …") brings that one along while there is room.
    """
    kept = list(chosen)
    for at in chosen:
        if len(kept) > limit:
            break
        line, before = lines[at], at - 1
        if not LEANS.match(line.text) or line.sentence.opens_paragraph or before < 0 or before in kept:
            continue
        if lines[before].passage == line.passage:
            kept.append(before)
    passages = list(dict.fromkeys(lines[at].passage for at in chosen))
    kept.sort(key=lambda at: (passages.index(lines[at].passage), at))
    return [lines[at] for at in kept]


def overlap(one: Line, other: Line) -> float:
    """The part of the shorter line's words that the other has too."""
    first, second = set(one.words), set(other.words)
    return len(first & second) / (min(len(first), len(second)) or 1)
