"""The prose blocks of marked-up text: paragraphs and list items under their headings. Pure.

Reads Markdown, reStructuredText and HTML by their common signs, without deciding which it is, since a
passage may be any part of any of them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

FRONT_MATTER_LINES_LIMIT: Final = 40
"""A `---` further away than this does not close front matter; it is a rule."""

LIMIT_HEADING_CHARS: Final = 200
"""A longer line is hardly a heading; what is beyond this is left out."""

_FENCE: Final = re.compile(r"\s*(?:>\s*)*(`{3,}|~{3,})")
_HEADING: Final = re.compile(r"\s{0,3}#{1,6}\s+(.*?)\s*#*\s*$")
_UNDERLINE: Final = re.compile(r"\s*([=\-~^\"'*+#<>_.:`])\1{2,}\s*$")
_ITEM: Final = re.compile(r"\s*(?:[-*+•‣▪–]|\d{1,3}[.)]|\(?[a-z]\))\s+(?:\[[ xX]\]\s+)?(?=\S)")
_QUOTE: Final = re.compile(r"\s{0,3}(?:>(?!>)\s?)+")
_DIRECTIVE: Final = re.compile(r"\s*\.\.(?:\s+(?:\|[^|]*\|\s*)?([\w:-]+)::\s*(.*)|\s.*|)$")
_PROSE_DIRECTIVES: Final = frozenset(
    (
        "note warning tip important seealso attention caution danger error hint admonition "
        "deprecated versionadded versionchanged"
    ).split()
)
_REFERENCE: Final = re.compile(r"\s{0,3}\[[^\]]+\]:\s*\S+")
_FRONT_MATTER_KEY: Final = re.compile(r"[\w-]+\s*:|\s+\S|$")
_GRID: Final = re.compile(
    r"\s*(?:\+[-=+]+\+|[=\-]{2,}(?:\s+[=\-]{2,})+|\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)+\|?)\s*$"
)
_CODE_LINE: Final = re.compile(
    r"\s*(?:\$ |>>> |\.\.\. |#!|(?:import|from) [\w.]+(?: import|$)|(?:async )?def \w+\(|class \w+[(:]"
    r"|return\b.*[()\[\]]|@\w+|(?:const|let|var) \w+ =|[\w.\[\]\"']+ = |<\?|\}|\{)"
)
_CODE_SIGNS: Final = tuple("{}[]()=<>;|\\/$@&^%+_")
_CODE_SIGNS_SHARE: Final = 0.22
_DROPPED_OPEN: Final = re.compile(r"<!--|<(script|style|pre|table|svg|head)\b[^<>]*>", re.IGNORECASE)
_BLOCK_TAGS: Final = re.compile(
    r"</?(?:p|div|br|hr|ul|ol|dl|dd|dt|section|article|header|footer|main|nav|details|summary|body|html|blockquote|tr|td|th)\b[^<>]*>",
    re.IGNORECASE,
)
_INLINE_TAGS: Final = re.compile(
    r"</?(?:a|b|i|em|strong|code|span|sub|sup|kbd|small|u|s|img|picture|source|font|center|mark|abbr|cite|var|tt|label|input|button|iframe|figure|figcaption|del|ins|link|meta)\b[^<>]*>",
    re.IGNORECASE,
)
_HTML_HEADING: Final = re.compile(r"<h[1-6]\b[^<>]*>(.{0,300}?)</h[1-6]\s*>", re.DOTALL | re.IGNORECASE)
_HTML_ITEM: Final = re.compile(r"<li\b[^<>]*>", re.IGNORECASE)

_IMAGE: Final = re.compile(r"!\[[^\]]*\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\]]*\])")
_LINK: Final = re.compile(r"\[([^\[\]]+)\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\]]*\])")
_FOOTNOTE: Final = re.compile(r"\[\^[^\]]+\]|\[#?\w+\]_")
_ROLE: Final = re.compile(r":[\w:+-]+:`([^`<]*?)\s*(?:<[^`>]*>)?`")
_RST_LINK: Final = re.compile(r"(?<![`\w])`(?=\S)([^`<]+?)(?:\s*<[^`>]+>)?(?<=\S)`_{1,2}(?![\w`])")
_CODE_SPAN: Final = re.compile(r"(`+)\s?(.+?)\s?\1")
_EMPHASIS: Final = re.compile(r"(?<![\w*\\])(\*{1,3}|_{1,3})(?=\S)(.+?)(?<=\S)\1(?![\w*])")
_AUTOLINK: Final = re.compile(r"<((?:https?://|mailto:)[^<>\s]+)>")
_ASIDE: Final = re.compile(r"\x00(\d+)\x00")
_ESCAPED: Final = re.compile(r"\\([\\`*_{}\[\]()#+.!|<>-])")
_SPACE: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A paragraph or list item, inline markup still in it, under its nearest `heading`."""

    text: str
    heading: str = ""
    is_item: bool = False


def blocks(text: str) -> Iterator[Block]:
    """Give the prose blocks of `text` in order."""
    yield from _Reader(_without_html(text).expandtabs(4).split("\n")).read()


def without_markup(text: str) -> str:
    """Give `text` on one line without inline markup: links by their words, code and emphasis bare."""
    # Most text has few of these signs, and looking for one is much cheaper than a search by pattern.
    if "[" in text:
        text = _FOOTNOTE.sub("", _LINK.sub(r"\1", _IMAGE.sub("", text)))
    if "`" in text:
        text = _RST_LINK.sub(r"\1", _ROLE.sub(r"\1", text))
    if "<" in text:
        text = _AUTOLINK.sub(r"\1", text)
    text = _without_emphasis(text) if "*" in text or "_" in text or "`" in text else text
    if "\\" in text:
        text = _ESCAPED.sub(r"\1", text)
    return " ".join(text.split())


def looks_like_code(line: str) -> bool:
    """Tell whether one line is probably source code, a command or its output."""
    if _CODE_LINE.match(line):
        return True
    visible = sum(map(len, line.split()))
    return visible > 3 and sum(map(line.count, _CODE_SIGNS)) > _CODE_SIGNS_SHARE * visible


def _without_emphasis(text: str) -> str:
    """The text with code spans and emphasis bare. Signs within a code span are no emphasis, so spans step aside."""
    spans: list[str] = []

    def aside(match: re.Match[str]) -> str:
        spans.append(match.group(2))
        return f"\x00{len(spans) - 1}\x00"

    text = _CODE_SPAN.sub(aside, text.replace("\x00", ""))
    for _ in range(2):  # emphasis nests at most two deep in practice: **bold _and italic_**
        text = _EMPHASIS.sub(r"\2", text)
    return _ASIDE.sub(lambda match: spans[int(match.group(1))], text)


def _without_html(text: str) -> str:
    if "<" not in text:
        return html.unescape(text) if "&" in text else text
    text = _without_dropped_elements(text)
    text = _HTML_HEADING.sub(lambda match: f"\n\n# {_SPACE.sub(' ', _INLINE_TAGS.sub('', match.group(1)))}\n\n", text)
    text = _HTML_ITEM.sub("\n\n- ", text)
    text = _BLOCK_TAGS.sub("\n\n", text.replace("</li>", "\n\n"))
    return html.unescape(_INLINE_TAGS.sub("", text))


def _without_dropped_elements(text: str) -> str:
    """The text without comments, scripts, tables and the like.

    One pattern with a lazy middle would do, and would take quadratic time on a text that opens elements
    and never ends them; here the end of each kind is looked for in vain once.
    """
    parts: list[str] = []
    endless: set[str] = set()
    start = 0
    low = text.lower()
    for match in _DROPPED_OPEN.finditer(text):
        end_mark = f"</{match.group(1).lower()}" if match.group(1) else "-->"
        if match.start() < start or end_mark in endless:
            continue
        end = low.find(end_mark, match.end())
        if end < 0:
            endless.add(end_mark)
            continue
        parts.append(text[start : match.start()])
        start = end + 3 if end_mark == "-->" else text.find(">", end) + 1 or len(text)
    return "\n\n".join((*parts, text[start:]))


class _Reader:
    """Goes through the lines once; the paragraph being gathered is its only look back."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._heading = ""
        self._gathered: list[str] = []
        self._is_item = False

    def read(self) -> Iterator[Block]:
        lines = self._lines
        at = self._after_front_matter()
        if self._begins_in_code():
            at = next(n for n, line in enumerate(lines) if _FENCE.match(line)) + 1
        while at < len(lines):
            line = lines[at]
            fence = _FENCE.match(line)
            if fence is not None:
                yield from self._closed()
                at = self._after_fence(at + 1, fence.group(1))
            elif not line.strip():
                opens_literal = bool(self._gathered) and self._gathered[-1].rstrip().endswith("::")
                yield from self._closed()
                at = self._after_indented(at + 1, 1) if opens_literal else self._after_code(at + 1)
            elif _DIRECTIVE.match(line) and line.lstrip().startswith(".."):
                yield from self._closed()
                at = self._after_directive(at)
            elif line.lstrip().startswith(">>> "):
                yield from self._closed()
                at = self._after_paragraph(at)
            elif line.lstrip().startswith("|") or _GRID.match(line):
                yield from self._closed()
                at = self._after_table(at)
            else:
                yield from self._prose_line(line)
                at += 1
        yield from self._closed()

    def _prose_line(self, line: str) -> Iterator[Block]:
        heading = _HEADING.match(line)
        if heading is not None:
            yield from self._closed()
            self._heading = without_markup(heading.group(1)[:LIMIT_HEADING_CHARS])
            return
        if _UNDERLINE.match(line):
            if len(self._gathered) == 1 and len(line.strip()) >= min(len(self._gathered[0].strip()), 3):
                self._heading = without_markup(self._gathered.pop()[:LIMIT_HEADING_CHARS])
            yield from self._closed()
            return
        if _REFERENCE.match(line):
            yield from self._closed()
            return
        quoted = _QUOTE.match(line)
        if quoted is not None:
            line = line[quoted.end() :]
        item = _ITEM.match(line)
        if item is not None:
            yield from self._closed()
            self._is_item = True
            line = line[item.end() :]
        if line.strip():
            self._gathered.append(line)

    def _closed(self) -> Iterator[Block]:
        # A text cut within a code block has no fence to tell; its lines have.
        is_code = 2 * sum(map(looks_like_code, self._gathered)) > len(self._gathered)
        text = "" if is_code else " ".join(part.strip() for part in self._gathered)
        if text.endswith("::"):
            text = text[:-1]
        if text:
            yield Block(text=text, heading=self._heading, is_item=self._is_item)
        self._gathered = []
        self._is_item = False

    def _after_front_matter(self) -> int:
        if not self._lines or self._lines[0].strip() != "---":
            return 0
        for at, line in enumerate(self._lines[1:FRONT_MATTER_LINES_LIMIT], start=1):
            if line.strip() in ("---", "..."):
                return at + 1
            if not _FRONT_MATTER_KEY.match(line):
                return 0
        return 0

    def _begins_in_code(self) -> bool:
        """Whether the text was cut within a fenced block, so that its first fence closes one."""
        fences = [at for at, line in enumerate(self._lines) if _FENCE.match(line)]
        if len(fences) % 2 == 0:
            return False
        before = [line for line in self._lines[: fences[0]] if line.strip()]
        return bool(before) and 2 * sum(looks_like_code(line) for line in before) >= len(before)

    def _after_fence(self, at: int, mark: str) -> int:
        while at < len(self._lines):
            if self._lines[at].strip().lstrip("> ").startswith(mark):
                return at + 1
            at += 1
        return at

    def _after_indented(self, at: int, indent: int) -> int:
        while at < len(self._lines):
            line = self._lines[at]
            if line.strip() and len(line) - len(line.lstrip()) < indent:
                return at
            at += 1
        return at

    def _after_code(self, at: int) -> int:
        """Skip an indented block behind a blank line if its first line is code; else stay."""
        if at < len(self._lines) and self._lines[at].startswith("    ") and looks_like_code(self._lines[at]):
            return self._after_indented(at, 4)
        return at

    def _after_directive(self, at: int) -> int:
        line = self._lines[at]
        match = _DIRECTIVE.match(line)
        if match is not None and match.group(1) in _PROSE_DIRECTIVES:
            return at + 1
        return self._after_indented(at + 1, len(line) - len(line.lstrip()) + 1)

    def _after_paragraph(self, at: int) -> int:
        while at < len(self._lines) and self._lines[at].strip():
            at += 1
        return at

    def _after_table(self, at: int) -> int:
        while at < len(self._lines) and self._lines[at].strip():
            at += 1
        return at
