"""Calls that block, such as one of a control socket, each in a thread that does not hold up the end of the program.

The threads of asyncio's own pool are waited for when Python ends; an order that waits a minute for its agent would
keep somebody's Ctrl-C waiting as long.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from regrow.runtime.errors import Refused

T = TypeVar("T")


class Calls:
    """At most `limit` calls at once."""

    def __init__(self, limit: int, *, of: str) -> None:
        """`of` says what they are, for whoever is refused."""
        self._limit = limit
        self._of = of
        self._running = 0

    async def do(self, call: Callable[[], T]) -> T:
        """What it gives, or raises. A call whose caller has gone goes on. Raises Refused where too many run."""
        if self._running >= self._limit:
            raise Refused(f"{self._running} {self._of} are not done yet; wait for one of them")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def settle(set_outcome: Callable[[Any], None], outcome: object) -> None:
            self._running -= 1
            if not done.done():
                set_outcome(outcome)

        def run() -> None:
            try:
                told: tuple[Callable[[Any], None], object] = (done.set_result, call())
            except Exception as error:  # raised again where the call is waited for
                told = (done.set_exception, error)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, *told)

        self._running += 1
        threading.Thread(target=run, name=f"regrow-{self._of.replace(' ', '-')}", daemon=True).start()
        return await done
