"""Hosts that are stopped in the middle of a commit, and replaced meanwhile where that lasts longer than their lease."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from chaos_log import FaultLog, Missed
from chaos_processes import Processes

from regrow import RegrowError
from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime import ActorId
from regrow.runtime.durability import LEASE_TTL_MS
from regrow.runtime.journal_answers import ClaimVerdict, Revocation
from regrow.runtime.journal_entries import HostEpoch, OperationId

LEASE_S = LEASE_TTL_MS / 1_000
PAST_LEASE_S = LEASE_S + 1.0
OTHER_TTL_MS = 6 * LEASE_TTL_MS
"""For a host that only claims: it does not renew."""
ANSWER_LIMIT_S = 240.0
"""For the journal to answer at all."""
LOOK_S = 0.1

V = TypeVar("V")


class StoppedHosts:
    """Has agents of stopped hosts claimed by another host, which gives them back."""

    def __init__(self, journal: RedisJournal, log: FaultLog) -> None:
        self._journal = journal
        self._log = log

    async def replace(self, agent: ActorId, host: Processes) -> None:
        """Claims an agent for another host when the lease of its stopped one is over, and wakes that one to its end.

        Then the agent is given back, and its supervisor starts it again. Raises Missed.
        """
        owner = (await self._journal.read(agent)).owner
        former = owner.host
        if former is None:
            raise Missed
        other = await self._journal.new_host_epoch()
        await _until(lambda: self._is_revoked(former))
        await self._journal.renew(other, ttl_ms=OTHER_TTL_MS)
        operation = OperationId(f"chaos {other}")
        claim = await _surely(lambda: self._journal.claim(agent, other, previous=owner, operation=operation))
        if claim.verdict is not ClaimVerdict.CLAIMED:
            raise Missed
        try:
            host.send(signal.SIGCONT)
            await _until(lambda: _has_ended(host))
        except Missed:
            self._log.unserved.append(f"{agent}, whose host was replaced while it was stopped, and does not end")
        finally:
            await _surely(lambda: self._journal.release(agent, claim.row.epoch))
            await _surely(lambda: self._journal.revoke(other, reaped=True))

    async def _is_revoked(self, host: HostEpoch) -> bool:
        return await self._journal.revoke(host) is Revocation.REVOKED


async def _has_ended(host: Processes) -> bool:
    return not await asyncio.to_thread(host.left)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Looks until it holds. Raises Missed."""
    deadline = monotonic() + 2 * PAST_LEASE_S
    while not await holds():
        if monotonic() > deadline:
            raise Missed
        await asyncio.sleep(LOOK_S)


async def _surely(call: Callable[[], Awaitable[V]]) -> V:
    """Calls the journal until it answers: what has an operation of its own may be sent again."""
    deadline = monotonic() + ANSWER_LIMIT_S
    while True:
        try:
            return await call()
        except RegrowError:
            if monotonic() > deadline:
                raise
            await asyncio.sleep(LOOK_S)
