"""What the tests of streams share: a request that is answered in parts, and actors that do as a test says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from regrow.runtime.message import Message, StreamRequest
from tests.runtime.scripted import Scripted, ignore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from regrow.runtime.context import CellContext
    from regrow.runtime.stream import Stream


class Token(Message):
    """One part."""

    n: int
    text: str = ""


class Told(Message):
    """The reply: how many parts there were."""

    parts: int


class Tell(StreamRequest[Token, Told]):
    """Expects so many tokens."""

    parts: int = 3


class Teller(Scripted):
    """Answers every Tell with as many tokens as it asks for; `before` is called ahead of each."""

    def __init__(self, before: Callable[[int], Awaitable[object]] | None = None) -> None:
        super().__init__(self._tell)
        self._before = before
        self.emitted = 0
        self.cancelled = 0

    async def _tell(self, message: Any, ctx: CellContext) -> object:
        if not isinstance(message, Tell):
            return await ignore(message, ctx)
        try:
            for n in range(message.parts):
                if self._before is not None:
                    await self._before(n)
                await ctx.emit(Token(n=n))
                self.emitted += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Told(parts=message.parts)


async def read(stream: Stream[Token, Told], limit: int | None = None) -> list[int]:
    """The numbers of the tokens, at most so many."""
    numbers: list[int] = []
    async for token in stream:
        numbers.append(token.n)
        if limit is not None and len(numbers) == limit:
            break
    return numbers


async def read_through(stream: Stream[Token, Told], numbers: list[int] | None = None) -> None:
    """Opens a stream and reads it to its end, into `numbers`. Raises what ends it."""
    async with stream:
        async for token in stream:
            if numbers is not None:
                numbers.append(token.n)
