"""Text for a person's terminal, without what a terminal would obey.

Reasons of deaths, errors of providers and names hold what people and models have written. A sign that steers a terminal
could clear what stands on it, or have it type.
"""

from __future__ import annotations

SHOWN_AS = "·"
"""What stands for a sign that is not shown."""


def printable(text: str) -> str:
    """The text in one line, with SHOWN_AS for each sign that is not to be shown."""
    if text.isprintable():
        return text
    return "".join(" " if sign in "\n\t" else sign if sign.isprintable() else SHOWN_AS for sign in text)


def printable_lines(text: str) -> str:
    """The same, line by line."""
    return "\n".join(map(printable, text.split("\n")))
