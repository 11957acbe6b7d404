"""What every side of a benchmark sends, and how it keeps a window of calls in flight.

Imports pydantic and nothing else, so that a peer can load it in a venv of its own. `workload` declares
the same fields as Regrow messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pydantic import BaseModel, ConfigDict

TEXT = "The link gathers what is sent while a call is in flight, so that one call carries many messages to the other."
SOURCE = "docs/links.md"
TOPIC = "delivery"
SCORE = 0.8125


class PlainQuestion(BaseModel):
    """A request of about 200 bytes as JSON, as strict as a Regrow message."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int
    source: str
    topic: str
    score: float
    text: str


class PlainAnswer(BaseModel):
    """The reply: the number and the text of its question."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int
    text: str


def plain_question(seq: int) -> PlainQuestion:
    """The question with this number, validated as it is made."""
    return PlainQuestion(seq=seq, source=SOURCE, topic=TOPIC, score=SCORE, text=TEXT)


async def in_window(count: int, window: int, once: Callable[[int], Awaitable[None]]) -> None:
    """Runs `once` for the numbers below `count`, at most `window` of them at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await once(number)

    if window == 1:
        await worker()
    else:
        await asyncio.gather(*(worker() for _ in range(window)))
