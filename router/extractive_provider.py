"""The provider without network or weights: it ranks and quotes sentences of what it was given.

Every text it returns is made of quotations (markup stripped), the caller's own labels, or one of the
fixed phrases below. It costs nothing, and its tokens are estimated by length.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from regrow.router.digest import standing_for, within
from regrow.router.errors import RequestRejected
from regrow.router.markup import blocks, without_markup
from regrow.router.prompting import as_one_question
from regrow.router.provider import Emit, ProviderReply, estimated_usage
from regrow.router.ranking import Line, answering, lines_of, tokens_of
from regrow.router.request import FinishReason, ModelRequest, Quote, Work
from regrow.router.sentences import LONGEST_SENTENCE_CHARS, split
from regrow.router.terms import content_terms, kin, trigrams
from regrow.runtime.errors import Closed

if TYPE_CHECKING:
    from regrow.router.catalog import ModelCard

LIMIT_INPUT_CHARS: Final = 200_000
"""Prompt and passages together: at 1 µs a sign this is 0.2 s, for which nothing else in the host runs."""

ANSWER_SENTENCES: Final = 3
"""An answer has at most one more, where a sentence leans on the one before it."""

SUMMARY_SENTENCES: Final = 4
EXTRACT_SENTENCES: Final = 8
LIMIT_FOUND: Final = 200
"""Addresses, dates or numbers that one EXTRACT gives back."""

COMPRESS_SHARE: Final = 0.35
"""Part of the text that COMPRESS keeps, where the request does not ask for less."""

LIMIT_STEPS: Final = 20
"""Steps of one PLAN."""

NOTHING_GIVEN: Final = "This model only quotes what it is given, and it was given no text."
NOTHING_RELEVANT: Final = "Nothing in the passages given answers this."
NO_LABELS: Final = "There is nothing to choose between: the request names no labels."
NO_LABEL_FITS: Final = "None of the labels shares a word with the text."
NOTHING_OF_KIND: Final = "The text given holds nothing of the kind asked for."

# Each pattern has a bound where a text could make it look for its end again and again.
_PATTERNS: Final = (
    (re.compile(r"\be-?mail", re.I), re.compile(r"\b[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+\b")),
    (
        re.compile(r"\b(?:urls?|links?|web ?sites?|web addresses)\b", re.I),
        re.compile(r"\bhttps?://[^\s<>()\[\]\"'`]+[^\s<>()\[\]\"'`.,;:!?]"),
    ),
    (
        re.compile(r"\b(?:dates?|when)\b", re.I),
        re.compile(
            r"\b(?:\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}"
            r"|(?:\d{1,2} )?(?:January|February|March|April|May|June|July|August|September|October|November"
            r"|December)(?: \d{1,2},?)? \d{4})\b"
        ),
    ),
    (
        re.compile(r"\b(?:prices?|amounts?|costs?|dollars?|euros?)\b", re.I),
        re.compile(r"[$€£]\s?\d[\d,.]*\d|[$€£]\s?\d|\b\d[\d,.]{0,20}\s?(?:USD|EUR|GBP|dollars|euros)\b"),
    ),
    (re.compile(r"\bversions?\b", re.I), re.compile(r"\bv?\d+\.\d+(?:\.\d+)*(?:[-.]?(?:rc|alpha|beta|a|b)\d*)?\b")),
    (re.compile(r"\b(?:numbers?|figures?)\b", re.I), re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:\s?%)?")),
)
_SEQUENCE: Final = re.compile(r"(?:,|;)?\s*\b(?:and then|then|after that|afterwards|finally)\b,?\s+", re.IGNORECASE)


class ExtractiveProvider:
    """Summarises, answers, classifies, extracts and compresses by ranking sentences. Deterministic."""

    def __init__(self) -> None:
        self._closed = False

    async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
        """Give the sentences that serve `request` best; `finish` says when there are none.

        Raises:
            RequestRejected: prompt and passages are longer than LIMIT_INPUT_CHARS together.
            Closed: the provider was closed before.
        """
        if self._closed:
            raise Closed("the extractive provider was closed; make another one")
        request = as_one_question(request)
        length = len(request.prompt) + sum(len(passage.text) for passage in request.context)
        if length > LIMIT_INPUT_CHARS:
            raise RequestRejected(
                f"the extractive model reads at most {LIMIT_INPUT_CHARS:,} signs at once and was given {length:,}; "
                "send fewer or shorter passages",
                provider=card.provider,
                model=card.name,
            )
        reply = _WAYS[request.work](request)
        return ProviderReply(
            text=reply.text,
            finish=reply.finish,
            quotes=reply.quotes,
            sources=reply.sources,
            usage=estimated_usage(request, reply.text),
        )

    async def stream(self, request: ModelRequest, card: ModelCard, emit: Emit) -> ProviderReply:
        """Give the same as `complete`, quotation by quotation. Raises as it does."""
        reply = await self.complete(request, card)
        for piece in _pieces(reply):
            await emit(piece)
        return reply

    async def aclose(self) -> None:
        """Take no more requests."""
        self._closed = True


def _pieces(reply: ProviderReply) -> list[str]:
    """The text cut before each of its quotations."""
    cuts, at = [0], 0
    for quote in reply.quotes:
        at = reply.text.find(quote.text, at)
        if at < 0:
            break
        cuts.append(at)
        at += len(quote.text)
    ends = [*cuts[1:], len(reply.text)]
    return [reply.text[begin:end] for begin, end in zip(cuts, ends, strict=True) if begin < end]


def _answer(request: ModelRequest) -> ProviderReply:
    """SYNTHESIZE, REASON, GENERATE: the sentences of the passages that answer the prompt."""
    if not request.context:
        return _nothing(NOTHING_GIVEN)
    lines = _lines(request)
    if not request.prompt.strip():
        return _quoting(standing_for(lines, limit=SUMMARY_SENTENCES), request)
    return _quoting(answering(request.prompt, lines, limit=ANSWER_SENTENCES), request)


def _summary(request: ModelRequest) -> ProviderReply:
    lines = _lines(request)
    return _quoting(standing_for(lines, limit=SUMMARY_SENTENCES), request) if lines else _nothing(NOTHING_GIVEN)


def _compressed(request: ModelRequest) -> ProviderReply:
    lines = _lines(request)
    if not lines:
        return _nothing(NOTHING_GIVEN)
    whole = sum(tokens_of(line.text) for line in lines)
    limit = min(request.max_output_tokens, max(1, int(whole * COMPRESS_SHARE)))
    kept = within(lines, limit_tokens=limit) or standing_for(lines, limit=1)
    return _quoting(kept, request)


def _extract(request: ModelRequest) -> ProviderReply:
    """Things of a known shape where the prompt names one, else the sentences about what it names."""
    if not request.context:
        return _nothing(NOTHING_GIVEN)
    for asked, shape in _PATTERNS:
        if asked.search(request.prompt):
            found: dict[str, str] = {}
            for passage in request.context:
                for match in shape.finditer(passage.text):
                    found.setdefault(match.group().strip(), passage.source)
            if not found:
                return _nothing(NOTHING_OF_KIND)
            quotes = tuple(Quote(text=text, source=source) for text, source in list(found.items())[:LIMIT_FOUND])
            return _made_of(quotes, request, separator="\n", cut=len(found) > LIMIT_FOUND)
    lines = answering(request.prompt, _lines(request), limit=EXTRACT_SENTENCES)
    return _quoting(lines, request, separator="\n")


def _choice(request: ModelRequest) -> ProviderReply:
    """CLASSIFY, ROUTE: the label that shares most with the text; "label: description" counts as a whole."""
    if not request.labels:
        return _nothing(NO_LABELS)
    text = " ".join([request.prompt, *(passage.text for passage in request.context)])
    words, windows = set(content_terms(text)), trigrams(text)
    scores = [_fit(label, words, windows) for label in request.labels]
    best = max(range(len(scores)), key=scores.__getitem__)
    if scores[best] <= 0:
        return _nothing(NO_LABEL_FITS)
    return ProviderReply(text=request.labels[best])


def _plan(request: ModelRequest) -> ProviderReply:
    """The prompt's own sentences and items as numbered steps, in the order in which they were given."""
    steps: list[str] = []
    for block in blocks(request.prompt):
        for sentence in split(block.text):
            if len(sentence) > LONGEST_SENTENCE_CHARS:
                continue
            for part in _SEQUENCE.split(without_markup(sentence)):
                step = re.sub(r"^(?:first|finally|then|next)\b,?\s+", "", part.strip(" ,;."), flags=re.IGNORECASE)
                if step:
                    steps.append(step)
    if not steps:
        return _nothing(NOTHING_GIVEN)
    numbered = [f"{number}. {step[0].upper()}{step[1:]}" for number, step in enumerate(steps[:LIMIT_STEPS], start=1)]
    finish = FinishReason.LENGTH if len(steps) > LIMIT_STEPS else FinishReason.STOP
    return ProviderReply(text="\n".join(numbered), finish=finish)


_WAYS: Final = {
    Work.ROUTE: _choice,
    Work.SUMMARIZE: _summary,
    Work.EXTRACT: _extract,
    Work.CLASSIFY: _choice,
    Work.COMPRESS: _compressed,
    Work.PLAN: _plan,
    Work.SYNTHESIZE: _answer,
    Work.REASON: _answer,
    Work.GENERATE: _answer,
}


def _lines(request: ModelRequest) -> list[Line]:
    """The sentences of the passages; of the prompt where there are none, as in "summarise this: …"."""
    if request.context:
        return lines_of([(passage.text, passage.source) for passage in request.context])
    return lines_of([(request.prompt, "")])


def _fit(label: str, words: set[str], windows: frozenset[str]) -> float:
    """How far the text holds the label's words: whole, as kin, or in pieces."""
    asked = set(content_terms(label))
    if not asked:
        return 0.0
    held = sum(1.0 if term in words else 0.6 if any(kin(term, word) for word in words) else 0.0 for term in asked)
    pieces = trigrams(label)
    # Pieces decide between labels that hold words alike, and alone only when most of them are there.
    shared = len(pieces & windows) / (len(pieces) or 1)
    return held / math.sqrt(len(asked)) + (0.1 * shared if held or shared > 0.6 else 0.0)


def _quoting(lines: Sequence[Line], request: ModelRequest, *, separator: str = " ") -> ProviderReply:
    if not lines:
        return _nothing(NOTHING_RELEVANT)
    quotes = tuple(Quote(text=line.text, source=line.source) for line in lines)
    return _made_of(quotes, request, separator=separator, cut=False)


def _made_of(quotes: tuple[Quote, ...], request: ModelRequest, *, separator: str, cut: bool) -> ProviderReply:
    """The quotes as one text, as many as `max_output_tokens` hold, and always one."""
    kept: list[Quote] = []
    left = request.max_output_tokens
    for quote in quotes:
        left -= tokens_of(quote.text)
        if left < 0 and kept:
            cut = True
            break
        kept.append(quote)
    ended = kept if separator == "\n" else [_ended(quote) for quote in kept]
    return ProviderReply(
        text=separator.join(quote.text for quote in ended),
        finish=FinishReason.LENGTH if cut else FinishReason.STOP,
        quotes=tuple(kept),
        sources=tuple(dict.fromkeys(quote.source for quote in kept if quote.source)),
    )


def _ended(quote: Quote) -> Quote:
    """The quote with a full stop, where it was a list item without one; else the next would run on."""
    closed = quote.text.endswith((".", "!", "?", "…", "。", "！", "？", '."', ".”", ".)"))
    return quote if closed else Quote(text=f"{quote.text.rstrip(':,')}.", source=quote.source)


def _nothing(phrase: str) -> ProviderReply:
    return ProviderReply(text=phrase, finish=FinishReason.NOTHING_FOUND)
