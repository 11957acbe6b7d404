"""The console of what people see: nothing that a terminal would obey gets through it; see printable."""

from __future__ import annotations

from collections.abc import Iterable
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
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable() or segment.text == "\n":
                yield segment
            else:
                yield Segment("".join(map(_in_place, segment.text)), segment.style)


def _in_place(sign: str) -> str:
    return sign if sign.isprintable() or sign == "\n" else SHOWN_AS * cell_len(sign)
