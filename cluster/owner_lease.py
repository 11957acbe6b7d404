"""The lease of the process that owns an app on Ray: its driver renews it, and an app whose owner is silent stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

RENEWALS = 10
"""How often an owner says that it lives within the time of its lease, so that a few may come late."""


class OwnerLease:
    """What a guardian has heard of its owner."""

    def __init__(self, ttl_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self.renew()

    def renew(self) -> None:
        """The owner lives."""
        self._renewed_s = self._clock()

    @property
    def silence(self) -> float:
        """How much of its lease the owner has been silent for: 0 just now, 1 when the lease ends."""
        return (self._clock() - self._renewed_s) / self._ttl_s

    async def over(self) -> None:
        """Returns when the owner has been silent for as long as its lease.

        Looks are counted and not seconds, since a guardian that was held up itself, as by a machine that slept or has
        too much to do, hears only then what its owner has said meanwhile.
        """
        silent = 0
        while silent < RENEWALS:
            heard_s = self._renewed_s
            await asyncio.sleep(self._ttl_s / RENEWALS)
            silent = silent + 1 if self._renewed_s == heard_s else 0
