"""A host's hand on the journal: what its durable agents use, and the lease without which they begin nothing.

The lease has a thread, an event loop and a connection of its own: code that blocks the cells does not hold it up, and a
host that was stopped for too long ends before any of its code goes on for long.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

# Now, and not when an agent that was killed is to be back.
import regrow.actors.durable_life  # noqa: F401 # pyright: ignore[reportUnusedImport]
from regrow.cluster.high_water import HighWater
from regrow.cluster.host_lease import LeaseEnd, keep_lease
from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime.address import ActorId
from regrow.runtime.durability import Durability
from regrow.runtime.journal_entries import HostEpoch
from regrow.runtime.journal_errors import JournalRefused, JournalRestored, JournalUnknown

if TYPE_CHECKING:
    from regrow.cluster.orders import JournalOrder
    from regrow.runtime import Runtime

log = structlog.get_logger("regrow.lease")

EXIT_WITHOUT_LEASE = 72
"""The exit code of a host that holds its agents no more: a critical thing is missing, as sysexits has it."""


class HostJournal:
    """The durable side of one host process. It lives as long as the process does."""

    def __init__(
        self, runtime: Runtime, order: JournalOrder, *, app: str, guardian_silent_s: Callable[[], float]
    ) -> None:
        """Gives the runtime its durability, parked until the lease is taken; waits for nobody."""
        self._loop = runtime.loop
        self._order = order
        self._app = app
        self._water = HighWater(seen=order.mark)
        self._guardian_silent_s = guardian_silent_s
        self._journal = self._opened()
        durability = self._durability = Durability(
            runtime,
            self._journal,
            HostEpoch(order.epoch),
            now_ms=time.time_ns() // 1_000_000,
            rng=random.SystemRandom(),
            leased=False,
        )
        runtime.durability = durability
        runtime.delivery.new_command = durability.command
        threading.Thread(target=self._keep, name="regrow-lease", daemon=True).start()
        self._connecting = runtime.spawn_task(self._connect())

    async def _connect(self) -> None:
        """Connects the cells' own journal ahead of its first use, which may be one that somebody waits for."""
        with suppress(JournalUnknown, JournalRefused):  # whoever uses it meets the same, and says so
            await self._journal.read(ActorId(f"{self._app}/~"))

    def _opened(self) -> RedisJournal:
        """A journal for one event loop; what one of them has seen of the store, the others know."""
        order = self._order
        return RedisJournal.from_url(
            order.url,
            app=self._app,
            cluster=order.cluster,
            limits=order.history.limits(),
            replicas=order.replicas,
            water=self._water,
        )

    def _keep(self) -> None:
        reason = "its lease is not kept any more"
        try:
            reason = asyncio.run(self._keep_lease()).value
        finally:  # whatever broke: a host whose lease nobody renews holds its agents for nothing
            try:
                log.error("this host ends", reason=reason, pid=os.getpid(), exc_info=sys.exc_info()[0] is not None)
                sys.stderr.flush()
            finally:  # also where nobody takes that
                # Not in order: by now others may hold its agents, and what runs here runs beside their next lives.
                os._exit(EXIT_WITHOUT_LEASE)

    async def _keep_lease(self) -> LeaseEnd:
        loop = asyncio.get_running_loop()

        def renewed(left_s: float) -> None:
            self._loop.call_soon_threadsafe(self._renewed, time.monotonic() - (loop.time() - left_s))

        return await keep_lease(
            self._opened(),
            HostEpoch(self._order.epoch),
            renewed=renewed,
            refused=self._refused,
            guardian_silent_s=self._guardian_silent_s,
        )

    def _renewed(self, left_at: float) -> None:
        # Reckoned here and not in the thread: this loop may have been blocked since, or the whole process stopped.
        self._durability.renewed(ago_s=time.monotonic() - left_at)

    def _refused(self, error: JournalRefused) -> None:
        if isinstance(error, JournalRestored):
            self._loop.call_soon_threadsafe(self._journal.refuse, error)
            self._loop.call_soon_threadsafe(self._durability.refused, error)
