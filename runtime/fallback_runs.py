"""The counts of runs in a store that may be away: what only looks for circles goes on in this process then.

A cap can not be kept without the store, so what takes from one is refused by whoever asks. Calls of tools are judged by
what this process has seen since, and nobody waits long for a store that hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from regrow.runtime.guard_errors import RunsUnreachable
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.run_store import NOTHING, Amounts, CallNote, Calls, RunStore, Taken, WireCounts

if TYPE_CHECKING:
    from regrow.runtime.guards import Guards

T = TypeVar("T")

ANSWER_LIMIT_S: Final = 1.0
"""Who can do without the store waits so long for it; it answers in a millisecond, or in some where its disk is busy."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""After it has not answered they leave it alone, for as long as it has been away, within these two."""

log = structlog.get_logger("regrow.guards")


class FallbackRuns:
    """A store of runs, and in its place the memory of this process where that will do. Closes the store.

    One line of the log tells that the store does not answer, and one that it does again.
    """

    def __init__(self, store: RunStore, now_s: Callable[[], float]) -> None:
        self._store = store
        self._now_s = now_s
        self._here = MemoryRuns(now_s)
        self._trouble = ""
        """Why the store does not answer; empty where it does."""
        self._away_since_s = 0.0
        self._asked_from_s = 0.0

    async def take(self, run: str, amounts: Amounts, guards: Guards, *, id: str = "", held: Amounts = NOTHING) -> Taken:
        """As the port says."""
        with self._heard():
            return await self._store.take(run, amounts, guards, id=id, held=held)

    async def settle(self, run: str, id: str, amounts: Amounts) -> None:
        """As the port says."""
        with self._heard():
            await self._store.settle(run, id, amounts)

    async def note(self, run: str, agent: str, call: CallNote) -> None:
        """As the port says; in this process while the store does not answer."""
        try:
            await self._soon(partial(self._store.note, run, agent, call))
        except RunsUnreachable:
            await self._here.note(run, agent, call)

    async def calls(self, run: str, agent: str) -> Calls:
        """As the port says; while the store does not answer, those that this process has noted since."""
        try:
            return await self._soon(partial(self._store.calls, run, agent))
        except RunsUnreachable:
            return await self._here.calls(run, agent)

    async def sent(self, address: str, counts: WireCounts) -> WireCounts:
        """As the port says; whoever asks knows what this process has sent."""
        return await self._soon(partial(self._store.sent, address, counts))

    async def aclose(self) -> None:
        """Closes the store."""
        await self._store.aclose()

    async def _soon(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What the store answers soon. Raises RunsUnreachable where it does not, at once in the pause after that."""
        now_s = self._now_s()
        if self._trouble:
            if now_s < self._asked_from_s:
                raise RunsUnreachable(self._trouble)
            self._asked_from_s = now_s + ANSWER_LIMIT_S  # one looks whether it is back, and no others beside it
        with self._heard():
            try:
                async with asyncio.timeout(ANSWER_LIMIT_S):
                    return await ask()
            except TimeoutError as error:
                raise RunsUnreachable(f"the store of runs has not answered for {ANSWER_LIMIT_S:g} s") from error

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Takes notice of whether the store answers."""
        try:
            yield
        except RunsUnreachable as error:
            now_s = self._now_s()
            if not self._trouble:
                self._away_since_s = now_s
                log.warning(
                    "the store of runs does not answer, so this process counts the calls of tools by itself",
                    reason=str(error),
                )
            self._trouble = str(error)
            self._asked_from_s = now_s + min(max(now_s - self._away_since_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            raise
        if self._trouble:
            log.info("the store of runs answers again")
            self._trouble, self._here = "", MemoryRuns(self._now_s)
