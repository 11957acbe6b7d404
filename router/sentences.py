"""Readable sentences out of Markdown, reStructuredText, HTML or plain text. Pure.

What a person would not read aloud (code blocks, tables, rules, link targets, markup) is left out;
headings are kept beside the sentences they stand over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from regrow.router.markup import Block, blocks, without_markup

LONG_SENTENCE_CHARS: Final = 320
"""A longer one is parted at its semicolons and dots, so that a quotation stays short."""

LONGEST_SENTENCE_CHARS: Final = 600
"""A longer one that cannot be parted is dropped: it is no prose."""

FEWEST_WORDS: Final = 4
"""A shorter one is a label or a leftover, and says nothing when quoted alone."""

LEAST_LETTERS_SHARE: Final = 0.6
"""Part of the visible signs that must be letters, so that formulas and code are not quoted as prose."""

_TERMINATORS: Final = ".!?…"
_WIDE_TERMINATORS: Final = "。！？"
_CLOSERS: Final = "\"'”’»)]`*_"
_STOP: Final = re.compile(r"[.!?…][.!?…\"'”’»)\]`*_]*(?=\s)|[。！？]")
_PARTS: Final = re.compile(r"; | · ")
# Words in bold at the start of a paragraph name its topic, as a heading does.
_LEAD: Final = re.compile(r"\*\*(.{3,80}?)\*\*")
_IDENTIFIER: Final = re.compile(r"\w*(?:_\w|\w\()|\w+:\s")
_LETTER: Final = re.compile(r"[^\W\d_]")
_ASCII_NO_LETTERS: Final = bytes(code for code in range(128) if not chr(code).isalpha())
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_WORD: Final = re.compile(r"\S*[^\W\d_]\S*")
_ABBREVIATIONS: Final = frozenset(
    (
        "e.g i.e etc vs cf al approx dr mr mrs ms prof st no nos vol fig figs eq eqs sec ch pp p ed eds inc ltd co jr "
        "sr ca resp incl max min"
    ).split()
)
# These end a sentence as often as not; they count as abbreviations only before a number ("no. 5", "p. 12").
_BEFORE_NUMBER: Final = frozenset("no nos vol fig figs eq eqs sec ch pp p ed max min co".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One sentence of a text: markup stripped, on one line, with where it stood.

    `heading` is the nearest heading above it (or a question it answers), `position` its number in the
    text from 0, `opens_paragraph` whether nothing precedes it there, and `whole` is False where the
    text seems to have been cut within it.
    """

    text: str
    heading: str = ""
    position: int = 0
    opens_paragraph: bool = False
    whole: bool = True


def sentences(text: str) -> tuple[Sentence, ...]:
    """Give the readable sentences of `text` in order; linear in its length."""
    found: list[Sentence] = []
    all_blocks = list(blocks(text))
    last = len(all_blocks) - 1
    intro = ""
    for at, block in enumerate(all_blocks):
        if not block.is_item:
            intro = ""
        named = replace(block, heading=f"{block.heading} {intro}".strip()) if intro else block
        of_block = list(_sentences_of(named, first=at == 0, last=at == last))
        if (
            of_block
            and at < last
            and of_block[-1].text.endswith(":")
            and all_blocks[at + 1].is_item
            and not block.is_item
        ):
            # "It promises three things:" says nothing without its list, and names what the items are.
            intro = of_block.pop().text
        for sentence in of_block:
            found.append(replace(sentence, position=len(found)))
    return tuple(found)


def split(text: str) -> list[str]:
    """Part one paragraph into its sentences, markup and all.

    >>> split("It waits, e.g. 5.0 s. Then `kill` ends it.")
    ['It waits, e.g. 5.0 s.', 'Then `kill` ends it.']
    """
    parts: list[str] = []
    start = 0
    for end in _ends(text):
        piece = text[start:end]
        # An open bracket or code span means that the stop belongs to the inside of it.
        if piece.count("(") > piece.count(")") or piece.count("`") % 2:
            if end - start < LONGEST_SENTENCE_CHARS:
                continue
        parts.append(piece.strip())
        start = end
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def is_prose(text: str) -> bool:
    """Tell whether `text` reads as words rather than as code, a label or a row of numbers."""
    words = len(_WORD.findall(text)) + len(_UNSPACED.findall(text)) // 2
    return words >= FEWEST_WORDS and letters_share(text) >= LEAST_LETTERS_SHARE


def letters_share(text: str) -> float:
    """Give the part of the visible signs of `text` that are letters, 0 to 1."""
    visible = sum(map(len, text.split()))
    # ASCII, which most text is, is counted by a table some twenty times faster than by a pattern.
    letters = len(text.encode().translate(None, _ASCII_NO_LETTERS)) if text.isascii() else len(_LETTER.findall(text))
    return letters / visible if visible else 0.0


def _sentences_of(block: Block, *, first: bool, last: bool) -> Iterator[Sentence]:
    lead = _LEAD.match(block.text)
    title = f"{block.heading} {without_markup(lead.group(1))}".strip() if lead else block.heading
    heading = title
    pieces = [part for piece in split(block.text) for part in _shortened(piece)]
    opens = True
    for at, piece in enumerate(pieces):
        text = without_markup(piece).rstrip("; ")
        if text.endswith("?"):
            # A question in the text is no answer; what follows it probably is.
            heading = text
            continue
        if not is_prose(text):
            if opens and lead is None and len(text.split()) < FEWEST_WORDS:
                # A catchword ("Delivery.") names what follows it, as a heading does.
                heading = f"{title} {text}".strip()
            continue
        cut_before = first and at == 0 and not block.is_item and text[0].islower()
        cut_after = last and at == len(pieces) - 1 and not block.is_item and text[-1] not in _ENDINGS
        yield Sentence(text=text, heading=heading, opens_paragraph=opens, whole=not (cut_before or cut_after))
        opens = False


_ENDINGS: Final = _TERMINATORS + _WIDE_TERMINATORS + _CLOSERS + ":;"


def _shortened(piece: str) -> list[str]:
    if len(piece) <= LONG_SENTENCE_CHARS:
        return [piece]
    parts: list[str] = []
    start = 0
    for match in _PARTS.finditer(piece):
        part = piece[start : match.start()]
        if part.count("(") > part.count(")") or part.count("`") % 2:
            continue
        parts.append(part.strip())
        start = match.end()
    parts.append(piece[start:].strip())
    return [part for part in parts if len(part) <= LONGEST_SENTENCE_CHARS]


def _ends(text: str) -> Iterator[int]:
    """Give the places just behind each sentence end, before the space that follows it."""
    for match in _STOP.finditer(text):
        if text[match.start()] in _WIDE_TERMINATORS:
            yield match.end()
            continue
        following = match.end() + 1
        while following < len(text) and text[following].isspace():
            following += 1
        if _starts_sentence(text, following) and not _is_abbreviation(text, match.start(), following):
            yield match.end()


def _starts_sentence(text: str, at: int) -> bool:
    while at < len(text) and text[at] in "\"'“‘«([*_":
        at += 1
    return at < len(text) and (not text[at].islower() or _IDENTIFIER.match(text, at) is not None)


def _is_abbreviation(text: str, stop: int, following: int) -> bool:
    if text[stop] != ".":
        return False
    start = stop
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] == "."):
        start -= 1
    word = text[start:stop]
    if word.lower() in _BEFORE_NUMBER:
        return text[following].isdigit()
    if word.lower() in _ABBREVIATIONS:
        return word.lower() != "etc"
    # An initial ("J. Smith") or the number of a list item that stands in running text ("1. First").
    return (len(word) == 1 and word.isupper()) or (word.isdigit() and start == 0)
