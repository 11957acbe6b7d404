"""The lease of one process in the journal: renewed again and again, and what its end means.

It decides nothing about turns: `Durability` parks them while the lease is not renewed, and whoever started the
process learns here that it is over. Runs on any event loop, in a host on one of its own (`host_journal`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

import structlog

from regrow.runtime.durability import LEASE_TTL_MS
from regrow.runtime.errors import Bug, RegrowError
from regrow.runtime.journal_errors import JournalRefused, JournalUnknown

if TYPE_CHECKING:
    from regrow.runtime.journal import Journal
    from regrow.runtime.journal_entries import HostEpoch

log = structlog.get_logger("regrow.lease")

LEASE_TTL_S = LEASE_TTL_MS / 1_000
RENEW_EVERY_S = LEASE_TTL_S / 4
"""So that one renewal may get lost before turns are parked."""
AGAIN_S = 0.25
"""Between two tries while the store does not answer."""


class LeaseEnd(Enum):
    """Why a process may go on no more."""

    REVOKED = "it was revoked, or found dead, so that others hold its agents or are about to"
    CUT_OFF = "neither the journal nor the guardian has been heard for the time of a lease"


async def keep_lease(
    journal: Journal,
    host: HostEpoch,
    *,
    renewed: Callable[[float], None],
    refused: Callable[[JournalRefused], None],
    guardian_silent_s: Callable[[], float],
) -> LeaseEnd:
    """Renews the lease until it is over for good, and says why it is.

    `renewed` is told of each renewal with the loop's time at which it left; `refused` of each refusal of the store.
    """
    loop = asyncio.get_running_loop()
    failing_since_s: float | None = None
    while True:
        left_s = loop.time()
        try:
            held = await journal.renew(host, ttl_ms=LEASE_TTL_MS)
        except (JournalUnknown, JournalRefused, Bug) as error:  # the last one of an answer that nobody knows
            if failing_since_s is None:
                failing_since_s = loop.time()  # from its end on: this process itself may have been stopped meanwhile
                log.warning("the lease of this host could not be renewed; it is tried again", reason=str(error))
            _tell(error, refused)
            if min(loop.time() - failing_since_s, guardian_silent_s()) > LEASE_TTL_S:
                return LeaseEnd.CUT_OFF
            await asyncio.sleep(AGAIN_S)
            continue
        if not held:
            return LeaseEnd.REVOKED
        if failing_since_s is not None:
            log.info("the lease of this host is renewed again", after_s=round(loop.time() - failing_since_s, 1))
            failing_since_s = None
        renewed(left_s)
        await asyncio.sleep(RENEW_EVERY_S)


def _tell(error: RegrowError, refused: Callable[[JournalRefused], None]) -> None:
    if isinstance(error, JournalRefused):
        refused(error)
