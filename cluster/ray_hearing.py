"""What the guardian hears of its hosts: they tell by themselves, are asked when somebody looks, and before they end.

What they have told is in the HostBook, and outlives them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ray.exceptions import RayError

from regrow.cluster.host_book import DeathsTold, HostBook, HostTold, LatestMessages
from regrow.cluster.letters import Letters, told_by
from regrow.cluster.loop_lag import loop_lag_s
from regrow.cluster.metrics import AppMetrics, measured
from regrow.cluster.orders import unpack_as
from regrow.cluster.ray_transport import got_through
from regrow.runtime.deaths import had_and_has
from regrow.runtime.packing import pack
from regrow.runtime.transport import PeerDead

if TYPE_CHECKING:
    from collections.abc import Set

    from regrow.cluster.incidents import Incidents
    from regrow.cluster.ray_keeper import Keeper
    from regrow.runtime import ActorId, HostId, Runtime

LOOK_LIMIT_S = 2.0
"""How long a look waits for a host that does not answer, such as a stopped one."""


class Hearing:
    """Of one life of the guardian, whose own runtime counts as well."""

    def __init__(self, runtime: Runtime, keeper: Keeper, incidents: Incidents | None) -> None:
        self._runtime = runtime
        self._incidents = incidents
        self._keeper = keeper
        self._book = HostBook()

    def heard(self, host: HostId, packed: bytes) -> None:
        """A host tells of itself; one that is no longer there has told, and must not be counted twice."""
        if packed and host in self._keeper.handles:
            fresh = self._book.note(host, unpack_as(HostTold, packed), self._runtime.loop.time())
            if self._incidents is not None:
                for letter in fresh.letters:
                    self._incidents.lost(
                        letter.receiver,
                        reason=letter.reason,
                        message=letter.message,
                        sender=letter.sender,
                        incarnation=letter.incarnation,
                        age_s=letter.age_s,
                    )
                self._incidents.lost_others(fresh.others)

    def heard_deaths(self, packed: bytes) -> None:
        """A host tells how lives in it have ended, and what was set aside, each once."""
        told = unpack_as(DeathsTold, packed)
        if self._incidents is not None:
            self._incidents.died(told.deaths, now_s=told.at_s, left_out=told.left_out)
            self._incidents.set_aside(told.set_aside, now_s=told.at_s)

    async def letters(self) -> Letters:
        """The dead letters of this process and of all hosts, dead or alive."""
        await self._ask_all()
        now_s = self._runtime.loop.time()
        return told_by(self._runtime.dead_letters, now_s).with_more(self._book.letters(now_s))

    async def metrics(self) -> AppMetrics:
        """What this process and all hosts have counted, dead or alive."""
        await self._ask_all()
        self.close()  # of a host that has just died, supervisors may be told only later
        found = self._book.metrics(self._runtime.loop.time())
        return found.with_hosts(measured(self._runtime, await loop_lag_s()))

    async def messages(self, actor: ActorId) -> bytes:
        """See Engine.messages, packed; empty where no process within reach has that actor."""
        here = self._runtime.cells.get(actor)
        if here is not None:
            return pack(LatestMessages(messages=had_and_has(here, self._runtime.loop.time())))
        hosts = self._keeper.within_reach().values()
        told = await asyncio.gather(*(_answer(handle.messages, actor) for handle in hosts))
        return next(filter(None, told), b"")

    async def last_look(self, host: HostId, handle: Any) -> None:
        """A host that is about to be ended answers who waits there, and tells of itself once more."""
        await self._ask(host, handle.leave)
        self._close({other for other in self._keeper.handles if other != host})

    def close(self) -> None:
        """What hosts that are no longer there have told stays."""
        self._close(self._keeper.handles.keys())

    def _close(self, living: Set[HostId]) -> None:
        self._book.close(living, self._runtime.loop.time())

    async def _ask_all(self) -> None:
        hosts = self._keeper.within_reach()
        await asyncio.gather(*(self._ask(host, handle.told) for host, handle in hosts.items()))

    async def _ask(self, host: HostId, method: Any) -> None:
        """Writes down what a host tells; one that does not answer has told most of it before."""
        self.heard(host, await _answer(method))


async def _answer(method: Any, *arguments: object) -> bytes:
    """What a host says; nothing where it does not answer within LOOK_LIMIT_S."""
    try:
        return bytes(await asyncio.wait_for(got_through(method, *arguments), LOOK_LIMIT_S))
    except (PeerDead, RayError, TimeoutError):
        return b""
