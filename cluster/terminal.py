"""The console of what people see: nothing that a terminal would obey gets through it; see printable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from typing import IO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from regrow.cluster.printable import SHOWN_AS

PLAIN_WIDTH_CHARS = 1_000
"""The width of a table that goes into a file or pipe, where nothing is cut off to fit."""


def console_for(to: IO[str]) -> Console:
    """The console for a terminal, or for a file or pipe, where nothing is cut off.

    A sign that the encoding of `to` lacks is written as a question mark.
    """
    if isinstance(to, TextIOWrapper):  # as with LC_ALL=C, where lines of a tree have no signs
        to.reconfigure(errors="replace")
    width = None if to.isatty() else PLAIN_WIDTH_CHARS
    return _Console(file=to, width=width, highlight=False, markup=False, emoji=False)


class _Console(Console):
    """Does for all that is printed what `printable` does, in so many columns as rich has counted."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See Console."""
        segments = map(_shown, super().render(renderable, options))
        return segments if self.is_terminal else _without_ends(segments)


def _shown(segment: Segment) -> Segment:
    if segment.control or segment.text.isprintable() or segment.text == "\n":
        return segment
    return Segment("".join(map(_in_place, segment.text)), segment.style)


def _without_ends(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Lines without the spaces that fill their last column: a pipe may lead to a terminal, which breaks long lines."""
    blank: list[Segment] = []
    for segment in segments:
        if segment.text == "\n":
            blank.clear()
        body = segment.text.rstrip(" ")
        if body or segment.control:
            yield from blank
            yield Segment(body, segment.style, segment.control)
            spaces = segment.text[len(body) :]
            blank = [Segment(spaces)] if spaces else []
        else:
            blank.append(segment)
    yield from blank


def _in_place(sign: str) -> str:
    return sign if sign.isprintable() or sign == "\n" else SHOWN_AS * cell_len(sign)
