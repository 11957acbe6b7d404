"""Text as passages: paragraphs under their headings, small enough to be quoted, large enough to be understood alone.

Markdown, plain text, reStructuredText and HTML become blocks, which are headings and paragraphs with the line where
they begin; blocks are packed into passages. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser

PASSAGE_CHARS = 1_200
"""A passage is about this long at most: eight of them are a good page for a model to read."""

SMALL_PASSAGE_CHARS = 400
"""A passage shorter than this takes in the next section too; alone it would say too little to be found."""

LIMIT_TITLE_CHARS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Some paragraphs of a document, their heading before them, and where they stand."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Block:
    """A heading (`level` from 1) or a paragraph (0), and the line or page `at` which it begins."""

    at: int
    text: str
    level: int = 0


# ---- cutting -------------------------------------------------------------------------------------


def packed(blocks: Iterable[Block], source: str) -> Iterator[Passage]:
    """Paragraphs gathered up to PASSAGE_CHARS, each run of them under the headings that lead to it.

    `source` is what the line or page is appended to.
    """
    trail: dict[int, str] = {}
    parts: list[str] = []
    begins = size = 0
    names_section = True
    for block in blocks:
        if block.level:
            trail = {level: title for level, title in trail.items() if level < block.level}
            trail[block.level] = _on_one_line(block.text)[:LIMIT_TITLE_CHARS]
            names_section = True
            if size >= SMALL_PASSAGE_CHARS:
                yield Passage(text="\n\n".join(parts), source=f"{source}{begins}")
                parts, size = [], 0
            continue
        for lines, piece in pieces(block.text):
            if parts and size + len(piece) > PASSAGE_CHARS:
                yield Passage(text="\n\n".join(parts), source=f"{source}{begins}")
                parts, size = [], 0
            if not parts:
                begins = block.at + lines
            if trail and (names_section or not parts):
                parts.append("# " + " › ".join(trail.values()))
                names_section = False
            parts.append(piece)
            size += len(piece)
    if parts:
        yield Passage(text="\n\n".join(parts), source=f"{source}{begins}")


def _on_one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


_BETWEEN_LINES = re.compile(r"\n")
_BETWEEN_ITEMS = re.compile(r"\n(?=\s*(?:[-*+•]|\d+[.)])\s)")
_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[^\Wa-z_])")
_BETWEEN_WORDS = re.compile(r"\s")


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """The text in pieces of about PASSAGE_CHARS, cut where it hurts least; with the number of lines before each."""
    fenced = _FENCE.match(text)
    fence = fenced.group(1) if fenced else ""
    places = (_BETWEEN_LINES,) if fenced else (_BETWEEN_ITEMS, _BETWEEN_SENTENCES, _BETWEEN_LINES, _BETWEEN_WORDS)
    start = 0
    while start < len(text):
        end = len(text)
        if end - start > PASSAGE_CHARS:
            window = text[start : start + PASSAGE_CHARS]
            ends = (max((cut.end() for cut in place.finditer(window)), default=0) for place in places)
            end = start + next((at for at in ends if at > SMALL_PASSAGE_CHARS), PASSAGE_CHARS)
        piece = text[start:end].strip("\n")
        if fence and start:
            piece = f"{fence}\n{piece}"
        if fence and end < len(text):
            piece = f"{piece}\n{fence}"
        if piece.strip():
            yield text.count("\n", 0, start), piece
        start = end


# ---- text ----------------------------------------------------------------------------------------

_ATX = re.compile(r" {0,3}(#{1,6})\s+(.+?)\s*#*$")
_UNDERLINE = re.compile(r"\s*([=\-~^\"'*+#_:.`])\1{2,}\s*$")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
_LINK_TARGET = re.compile(r" {0,3}(?:\.\. _.+:|\[[^\]]+\]:\s+\S)")
"""What a link leads to, written apart from it; nobody reads that."""

_FRONT_MATTER = re.compile(r"---\n(?:[\w-]+:.*\n|[ \t-].*\n|\n){1,40}?(?:---|\.\.\.)\n")


def text_blocks(text: str, *, is_markdown: bool) -> Iterator[Block]:
    """Headings and paragraphs of Markdown, or of plain text and reStructuredText, which underline their headings."""
    front = _FRONT_MATTER.match(text) if is_markdown else None
    first = text.count("\n", 0, front.end()) if front else 0
    gathered: list[str] = []
    underlines: list[str] = []
    fence = ""
    for at, line in enumerate([*text.split("\n")[first:], ""], start=first + 1):
        opens = _FENCE.match(line) if is_markdown else None
        if fence:
            gathered.append(line)
            if line.strip().startswith(fence):
                yield from _paragraph(at + 1, gathered)
                fence = ""
        elif opens:
            yield from _paragraph(at, gathered)
            fence = opens.group(1)
            gathered.append(line)
        elif is_markdown and (title := _ATX.match(line)):
            yield from _paragraph(at, gathered)
            yield Block(at, title.group(2), len(title.group(1)))
        elif (rule := _UNDERLINE.match(line)) and len(gathered) <= 1:
            if gathered:  # without a title above it is a rule, or the line over a title
                sign = rule.group(1)
                underlines.extend([] if sign in underlines else [sign])
                yield Block(at - 1, gathered.pop().strip(), underlines.index(sign) + 1)
        elif line.strip() and not _LINK_TARGET.match(line):
            gathered.append(line)
        else:
            yield from _paragraph(at, gathered)
    yield from _paragraph(text.count("\n") + 2, gathered)


def _paragraph(end: int, gathered: list[str]) -> Iterator[Block]:
    if gathered:
        yield Block(end - len(gathered), "\n".join(gathered))
        gathered.clear()


# ---- HTML ----------------------------------------------------------------------------------------

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_DROPPED = frozenset({"script", "style", "template", "svg", "nav"})
_CONTENT = frozenset({"body", "main", "article", "h1"})
"""Where one of these begins, an element that is dropped has ended, even if its end tag was forgotten."""
_BREAKS = frozenset(
    "p div li ul ol dl dt dd table tr section article header footer main blockquote pre br hr body form figure "
    "figcaption details summary aside title".split()
) | frozenset(_HEADINGS)


class _HtmlReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.title: list[Block] = []
        self.blocks: list[Block] = []
        self._text: list[str] = []
        self._at = 1
        self._level = 0
        self._mark = ""
        self._in_pre = False
        self._dropped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _CONTENT:
            self._dropped = 0
        self._dropped += tag in _DROPPED
        if tag in _BREAKS and not (self._in_pre and tag == "br"):
            self.break_off()
        if tag in _HEADINGS:
            self._level = _HEADINGS[tag]
        elif tag == "li":
            self._mark = "- "
        elif tag in ("td", "th") and self._text:
            self._text.append(" | ")
        elif tag == "br":
            self._text.append("\n")
        self._in_pre = self._in_pre or tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropped = max(0, self._dropped - 1)
        if tag in _BREAKS:
            self.break_off(tag)
        if tag == "pre":
            self._in_pre = False

    def handle_data(self, data: str) -> None:
        if self._dropped:
            return
        if not self._text:
            self._at = self.getpos()[0] + len(data) - len(data.lstrip("\n"))
        self._text.append(data)

    def break_off(self, tag: str = "") -> None:
        """Ends the block that is being gathered; a title is kept apart, since headings say it better."""
        text = "".join(self._text)
        self._text.clear()
        if not text.strip():
            return
        if tag == "title":
            self.title.append(Block(self._at, _on_one_line(text), 1))
        elif self._in_pre:
            self.blocks.append(Block(self._at, f"```\n{text.strip(chr(10))}\n```"))
        else:
            words = _on_one_line(text.replace("¶", ""))  # the sign behind headings that links to them
            self.blocks.append(Block(self._at, words if self._level else self._mark + words, self._level))
        self._level, self._mark = 0, ""


def html_blocks(text: str) -> list[Block]:
    """Headings and paragraphs of a page, without scripts, styles and navigation."""
    reader = _HtmlReader()
    reader.feed(text)
    reader.close()
    reader.break_off()
    has_headings = any(block.level for block in reader.blocks)
    return reader.blocks if has_headings else [*reader.title[:1], *reader.blocks]
