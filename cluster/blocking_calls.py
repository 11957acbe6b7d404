"""Calls that block, such as an fsync, done in a thread one after the other, so that no event loop is held."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class BlockingCalls:
    """Does calls of one event loop in the order in which they were handed over, each when the one before has ended.

    How many wait is bounded by who hands them over: each waits for its own.
    """

    def __init__(self) -> None:
        self._last: asyncio.Task[None] | None = None

    def do(self, call: Callable[[], None]) -> Awaitable[None]:
        """Hands a call over at once; what is returned waits until it has ended, and raises what it raises.

        Who is cancelled meanwhile does not take the call back, and who does not care need not wait.
        """
        self._last = doing = asyncio.get_running_loop().create_task(_behind(self._last, call))
        return asyncio.shield(doing)

    async def done(self, *, within_s: float | None = None) -> bool:
        """Waits until all that was handed over has ended, whatever became of it; False where that takes longer."""
        if self._last is None:
            return True
        ended, _ = await asyncio.wait([self._last], timeout=within_s)
        return bool(ended)


async def _behind(before: asyncio.Task[None] | None, call: Callable[[], None]) -> None:
    # Not a lock: a cancelled holder would release it while its thread still writes, and a later write be overtaken.
    if before is not None and not before.done():
        await asyncio.wait([before])
    await asyncio.to_thread(call)
