"""What one process has of durable state: its journal, its own number there, the store's time, and ids.

The numbers of commands are UUIDv7: they say when they were made, so that an old one can be refused.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from regrow.runtime.codec import FrameCodec
from regrow.runtime.command_ids import uuid7
from regrow.runtime.journal_entries import CommandId, HostEpoch, OperationId, Partition
from regrow.runtime.outage import HEALS, Outage
from regrow.runtime.retry_budget import RetryBudget

if TYPE_CHECKING:
    from regrow.runtime.errors import WorldBroke
    from regrow.runtime.journal import Journal
    from regrow.runtime.journal_answers import TurnEnded
    from regrow.runtime.journal_entries import Commit
    from regrow.runtime.journal_errors import JournalRefused
    from regrow.runtime.runtime import Runtime

T = TypeVar("T")
Pause: TypeAlias = "Callable[[WorldBroke, float], Awaitable[None]]"
"""Waits between two tries: of the error of the last one, for so many seconds."""

LEASE_TTL_MS = 10_000
"""How long a host that says nothing may still hold its agents."""
PARK_AFTER_S = LEASE_TTL_MS / 2_000
"""How long after its last renewal a host begins turns: by the time another may hold its agents, it is long still."""
AGAIN_FIRST_S = 0.05
AGAIN_MAX_S = 2.0
"""Between two tries of an operation whose answer was lost, or which the store could not take at the moment."""


class Durability:
    """The durable side of one runtime.

    Who is not `leased` from the beginning is parked until `renewed` is first called.
    """

    def __init__(
        self,
        runtime: Runtime,
        journal: Journal,
        host: HostEpoch,
        *,
        now_ms: int,
        rng: random.Random,
        leased: bool = True,
    ) -> None:
        self._loop = runtime.loop
        self._commits = runtime.metrics.commits
        self._parks_at = math.inf if leased else -math.inf
        self._renewal: asyncio.Future[None] = self._loop.create_future()
        self._refusal: JournalRefused | None = None
        self._offset_ms = now_ms - runtime.loop.time() * 1000
        self._rng = rng
        # Drawn once, and counted from there: each call would otherwise ask the system for chance.
        self._life = f"{rng.getrandbits(96):024x}-"
        self._operations = 0
        self.journal = journal
        self.host = host
        self.codec = FrameCodec(runtime.ref_to, runtime.loop.time)
        self.retry_budget = RetryBudget()
        self._outage = Outage(runtime.loop.time)

    def now_ms(self) -> int:
        """The store's time, as near as this process knows it."""
        return int(self._loop.time() * 1000 + self._offset_ms)

    def heard_ms(self, now_ms: int) -> None:
        """The store has said what time it is."""
        self._offset_ms = now_ms - self._loop.time() * 1000

    def expires_ms(self, deadline: float | None) -> int | None:
        """A deadline by this process's loop as one by the store's clock, for whoever comes to the message."""
        return None if deadline is None else int(deadline * 1000 + self._offset_ms)

    def deadline(self, expires_ms: int | None) -> float | None:
        """The same the other way round."""
        return None if expires_ms is None else (expires_ms - self._offset_ms) / 1000

    def command(self) -> CommandId:
        """A new id for a message."""
        return uuid7(self.now_ms(), self._rng.getrandbits(74))

    def operation(self) -> OperationId:
        """A new id for one call of the journal."""
        self._operations += 1
        return OperationId(f"{self._life}{self._operations:x}")

    @property
    def is_parked(self) -> bool:
        """True while it is not sure that this process still has its lease: no turn begins then, and no claim."""
        return self._loop.time() >= self._parks_at

    @property
    def is_served(self) -> bool:
        """Whether the journal serves this process, as far as it knows."""
        return not (self.is_parked or self._outage.is_on)

    def renewed(self, *, ago_s: float) -> None:
        """The lease was renewed by a call that left so long ago."""
        self._parks_at = self._loop.time() - ago_s + PARK_AFTER_S
        if not self.is_parked:
            self._wake()

    async def wait_leased(self) -> None:
        """Waits until this process may begin a turn; nothing is lost and nobody ends meanwhile."""
        while self.is_parked:
            await asyncio.shield(self._renewal)

    def refused(self, error: JournalRefused) -> None:
        """The store will never renew the lease: it is not the one in which the agents are."""
        self._refusal = error
        self._wake()

    async def wait_may_claim(self) -> None:
        """Waits until this process may claim an agent. Raises what `refused` was told."""
        while self.is_parked:
            if self._refusal is not None:
                raise self._refusal
            await asyncio.shield(self._renewal)

    def _wake(self) -> None:
        renewal, self._renewal = self._renewal, self._loop.create_future()
        renewal.set_result(None)

    async def commit(self, commit: Commit) -> TurnEnded:
        """See Journal.commit; how long an answer takes is counted."""
        began_s = self._loop.time()
        ended = await self.journal.commit(commit)
        self._commits.observe(self._loop.time() - began_s)
        return ended

    async def surely(self, operation: Callable[[], Awaitable[T]], *, pause: Pause | None = None) -> T:
        """Does an operation until its answer has come; it has one id, so the store does it once.

        While the store is away, full, takes no writes or refuses us, it is tried again: nobody ends of that, and it
        heals. `pause` waits between two tries, where that is to be done otherwise.
        Raises what does not heal: JournalOutdated, JournalRestored.
        """
        try:
            answer = await operation()
        except HEALS as error:
            answer = await self._tried_again(operation, error, pause or _sleep)
        self._outage.served()
        return answer

    async def _tried_again(self, operation: Callable[[], Awaitable[T]], error: WorldBroke, pause: Pause) -> T:
        pause_s = AGAIN_FIRST_S
        self._outage.begins()
        try:
            while True:
                self._outage.failed(error)
                await pause(error, pause_s)
                pause_s = min(2 * pause_s, AGAIN_MAX_S)
                try:
                    return await operation()
                except HEALS as again:
                    error = again
        finally:
            self._outage.ends()


async def _sleep(_error: WorldBroke, pause_s: float) -> None:
    await asyncio.sleep(pause_s)


async def open_durability(runtime: Runtime, journal: Journal, *, rng: random.Random | None = None) -> Durability:
    """A new life of a host in the journal, with its lease. Raises JournalUnknown and JournalRefused."""
    host = await journal.new_host_epoch()
    await journal.renew(host, ttl_ms=LEASE_TTL_MS)
    now_ms = (await journal.due(Partition(0))).now_ms
    return Durability(runtime, journal, host, now_ms=now_ms, rng=rng or random.SystemRandom())
