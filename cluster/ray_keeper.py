"""The keeper of an app's hosts: makes them, spread over the nodes, learns at once of their deaths, kills them by pid.

It holds one pending `watch` call on each host; the failure of that call is the signal of death, some
milliseconds after a SIGKILL. One warm spare host with the app's code imported stands by, so that a
killed agent is back before anybody notices.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

import ray
import structlog
from ray.exceptions import RayError

from regrow.cluster import host_process
from regrow.cluster.errors import RayUnavailable, RedisUnavailable
from regrow.cluster.host_process import gone, kill
from regrow.cluster.hosts import HostRecord, Use, choose, node_for
from regrow.cluster.orders import HostJoined, HostOrder, Refusal
from regrow.cluster.ray_host import remote_host
from regrow.cluster.ray_nodes import bound_to, living_nodes, own_node
from regrow.cluster.ray_reaper import Reapers
from regrow.cluster.ray_transport import NAMESPACE, actor_name, contact_error, got_through
from regrow.runtime import ActorId, CodeNotImportable, ExitReason, Fenced, HostId, Killed, Misuse, Placement, WorldBroke
from regrow.runtime.packing import pack, unpack
from regrow.runtime.transport import PeerDead

if TYPE_CHECKING:
    from regrow.cluster.journal_owner import JournalOwner

log = structlog.get_logger("regrow.keeper")

JOIN_TIMEOUT_S = 60.0
"""From asking Ray for a host until it has imported the app; a cold worker on a busy machine takes seconds."""
JOIN_SETTLES_S = 5.0
"""How long the end of a host waits for its join; after that its lease ends by itself."""
BLOCK_OF_HOST = 100_000
"""Incarnations for what is spawned in one host, so that no later host gives a namesake the same number."""
FIRST_SPARE_AFTER_S = 2.0
"""An app that ends at once needs no spare, and the first seconds of one that stays belong to its own agents."""
SPARE_DELAY_S = 0.25
"""A new spare is made a little later, so that its start does not slow down the takeover that used the last one."""
PING_EVERY_S = 1.0
"""How often each host is asked for a sign of life. This looks for lost contact only: a death is told at once."""
MAX_PINGS_PER_S = 200
"""With more hosts than that, each is asked less often, for a call costs the guardian half a millisecond."""
PING_LOOK_S = 0.25
PING_LOOKS = 16
"""A host that has not answered at so many looks, each with a ping of its own, is out of reach. Many, for where a third
of all calls is lost, hosts are not; and a guardian that was held up itself sees at the next look what came since."""


class HostNews(Protocol):
    """Who is told of hosts."""

    def host_died(self, record: HostRecord, reason: ExitReason) -> None:
        """A host's process is dead, with all that was in it."""
        ...

    def host_ended(self, record: HostRecord) -> None:
        """A host that nobody needs was ended; its process is gone."""
        ...

    def host_joined(self, record: HostRecord) -> None:
        """A host is ready for cells."""
        ...

    def host_contact(self, record: HostRecord) -> None:
        """Whether a host can be reached has changed."""
        ...


class Keeper:
    """The hosts of one app, on all nodes of its Ray."""

    def __init__(self, order: HostOrder, life: HostId, news: HostNews, journal: JournalOwner | None = None) -> None:
        self._order = order.model_copy(update={"guardian_life": life})
        self._life = life
        self._news = news
        self._journal = journal
        self.runs_url = ""
        self.last_look: Callable[[HostId, Any], Awaitable[None]] = _no_look
        """Called with a host and its handle before the host is ended; must not raise."""
        self._class = remote_host()
        self._node = own_node()
        self._reapers = Reapers(order.guardian_actor)
        self._numbers = itertools.count(1)
        self._incarnations = itertools.count(order.first_incarnation + BLOCK_OF_HOST, BLOCK_OF_HOST)
        self.hosts: dict[HostId, HostRecord] = {}
        self.handles: dict[HostId, Any] = {}
        self._joining: dict[HostId, asyncio.Task[None]] = {}
        self._spares: list[HostId] = []
        self._spare_wanted = False
        self._tasks: set[asyncio.Task[object]] = set()
        self._closed = False

    def within_reach(self) -> dict[HostId, Any]:
        """The hosts that have joined and answer, with their handles."""
        return {h: handle for h, handle in self.handles.items() if self.hosts[h].pid and self.hosts[h].reachable}

    def has_living_block(self, incarnation: int) -> bool:
        """True when that number is one for what is spawned in a host that lives."""
        firsts = (record.first_incarnation for record in self.hosts.values() if record.first_incarnation)
        return any(first <= incarnation < first + BLOCK_OF_HOST for first in firsts)

    def has_node_of(self, record: HostRecord) -> bool:
        """Whether the machine on which a host ran is still there."""
        return record.node_id == self._node or record.node_id in living_nodes()

    async def host_for(self, actor: ActorId, placement: Placement) -> HostId:
        """A host for an actor, ready for cells. Raises CodeNotImportable, RayUnavailable."""
        host = self._reserve(actor, placement)
        await self._joined(host)
        return host

    def request(self, wanted: list[tuple[ActorId, Placement]]) -> None:
        """Requests the hosts of several actors together, so that they start side by side."""
        for actor, placement in wanted:
            self._reserve(actor, placement)

    def withdraw(self, actor: ActorId) -> None:
        """An actor that runs nowhere goes to none of the pools for which it was requested."""
        for record in self.hosts.values():
            if record.pool is not None:
                record.actors.discard(actor)

    def keep_spare(self) -> None:
        """From soon on one warm host stands by."""
        self._spare_wanted = True
        self._spawn(self._make_spare(FIRST_SPARE_AFTER_S))

    def leaves(self, actor: ActorId, host: HostId) -> None:
        """An actor will not come back to its host; an empty host that was its own ends."""
        record = self.hosts.get(host)
        if record is None:
            return
        record.actors.discard(actor)
        is_own = record.pool is None or record.for_suspect
        if not record.actors and is_own and host not in self._spares:
            self._spawn(self.end(host))

    async def kill(self, host: HostId, detail: str = "") -> bool:
        """Kills a host's process; False when nobody has confirmed that it is dead.

        Its death is told like any, with `detail` for its cause where one is given.
        """
        record = self.hosts.get(host)
        if record is None or record.pid == 0:
            return record is None
        record.kill_detail, record.by_order = detail, True
        was_alive, record.alive = record.alive, False  # nothing new is started in it, however long its death takes
        if record.node_id != self._node:
            return await self._reapers.end(record.node_id, host, record.pid)
        if was_alive:  # else it has been killed, and its number may soon be another's
            kill(record.pid)
        return True

    async def end(self, host: HostId) -> None:
        """Ends a host and waits until its process is gone; no death is told of it."""
        record, handle = self.hosts.get(host), self.handles.get(host)
        if record is None or handle is None:
            return
        record.alive = False
        await self._settled(record)
        if record.pid and record.reachable and not self._closed:
            await self.last_look(host, handle)
        if self.hosts.pop(host, None) is None:
            return  # it died meanwhile, or somebody else has ended it
        del self.handles[host]
        ray.kill(handle)
        if record.pid:
            is_gone = await self._see_gone(record)
            if self._journal is not None:
                await self._journal.bury(record.epoch, reaped=is_gone)
        if not self._closed:
            self._news.host_ended(record)

    async def _settled(self, record: HostRecord) -> None:
        """Waits a moment for a host that still joins and may hold a lease: only by its pid is it known to be gone."""
        joining = self._joining.get(record.host)
        if record.epoch and joining is not None and joining is not asyncio.current_task():
            await asyncio.wait([joining], timeout=JOIN_SETTLES_S)

    async def _see_gone(self, record: HostRecord) -> bool:
        """Returns when an ended host's process is gone; False where nobody can tell."""
        if record.node_id != self._node:
            is_gone = await self._reapers.end(record.node_id, record.host, record.pid)
            if not is_gone:
                log.warning("nobody has seen an ended host on another node gone", host=record.host, pid=record.pid)
            return is_gone
        if not record.reachable:
            kill(record.pid)  # what Ray asks of it, it does not hear
        if await gone(record.pid):
            return True
        kill(record.pid)
        return await gone(record.pid)

    async def close(self) -> None:
        """Ends every host."""
        self._closed = True
        self._spare_wanted = False
        self._spares.clear()
        await asyncio.gather(*(self.end(host) for host in list(self.hosts)))
        for task in (*self._tasks, *self._joining.values()):
            task.cancel()
        self._reapers.close()

    # ---- making hosts --------------------------------------------------------------------------

    def _reserve(self, actor: ActorId, placement: Placement) -> HostId:
        choice = choose(actor, placement, self.hosts, self._spares)
        host = choice.host if isinstance(choice, Use) else self._create()
        if host in self._spares:
            self._spares.remove(host)
            self._spawn(self._make_spare(SPARE_DELAY_S))
        record = self.hosts[host]
        record.actors.add(actor)
        if record.pool is None:
            record.pool = getattr(placement, "pool", None)
        return host

    def _create(self) -> HostId:
        if self._closed:
            raise RayUnavailable("the app is stopping, so no new host is started")
        # A host's id names one life of it; the guardian's life in it keeps ids of earlier guardians apart.
        host = HostId(f"{self._life}.h{next(self._numbers)}")
        # An embedded Redis serves its own machine alone, so hosts that may hold durable agents stay there.
        beside = self._node if self._journal is not None and self._journal.is_embedded else None
        node = node_for(living_nodes(beside=beside), self.hosts.values(), own=self._node) or beside
        where = bound_to(node) if node is not None else None
        options = self._class.options(name=actor_name(host), namespace=NAMESPACE, scheduling_strategy=where)
        self.handles[host] = options.remote(host)
        self.hosts[host] = HostRecord(host, node_id=node or self._node)
        self._joining[host] = asyncio.get_running_loop().create_task(self._join(host))
        return host

    async def _join(self, host: HostId) -> None:
        handle = self.handles[host]
        self._spawn(self._watch(host, handle))
        try:
            packed = pack(await self._ordered(self.hosts[host]))
            answer = unpack(await asyncio.wait_for(got_through(handle.join, packed), JOIN_TIMEOUT_S))
        except RedisUnavailable:
            await self.end(host)
            raise
        except (PeerDead, RayError, TimeoutError) as error:
            text = (
                f"Ray gave no host process within {JOIN_TIMEOUT_S:g} s"
                if isinstance(error, TimeoutError)
                else str(error)
            )
            await self.end(host)
            raise RayUnavailable(f"{text}; look at `ray status`, and whether the machine has memory left") from error
        finally:
            self._joining.pop(host, None)
        if isinstance(answer, Refusal):
            await self.end(host)
            raise (CodeNotImportable if answer.error == "CodeNotImportable" else Misuse)(answer.text)
        assert isinstance(answer, HostJoined)
        record = self.hosts.get(host)
        if record is not None:
            record.pid, record.node, record.node_id = answer.pid, answer.node, answer.node_id
            if record.node_id != self._node:
                self._reapers.stand_by(record.node_id)
            elif self._journal is not None:
                await self._journal.joined(record.epoch, record.pid)
                if self.hosts.get(host) is not record:
                    return  # it has died meanwhile, and that is told already
            self._news.host_joined(record)
            self._spawn(self._keep_contact(record, handle))

    async def _ordered(self, record: HostRecord) -> HostOrder:
        """What a new host is told. Raises RedisUnavailable."""
        record.first_incarnation = next(self._incarnations)
        told: dict[str, object] = {"host": record.host, "first_incarnation": record.first_incarnation}
        told["runs_url"] = self.runs_url
        if self._journal is not None:
            journal = told["journal"] = await self._journal.order()
            record.epoch = journal.epoch
        return self._order.model_copy(update=told)

    async def _joined(self, host: HostId) -> None:
        task = self._joining.get(host)
        if task is not None:
            await asyncio.shield(task)

    async def _make_spare(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if not self._spare_wanted or self._spares or self._closed:
            return
        host = self._create()
        self._spares.append(host)  # taken while it still joins, it is waited for like any other
        try:
            await self._joined(host)
        except (WorldBroke, CodeNotImportable, Misuse) as error:
            if host in self._spares:
                self._spares.remove(host)
            if not self._closed:
                log.warning("no warm host stands by", reason=str(error).splitlines()[0])

    # ---- deaths --------------------------------------------------------------------------------

    async def _watch(self, host: HostId, handle: Any) -> None:
        while True:
            try:
                await handle.watch.remote()
            except RayError as error:
                verdict = contact_error(error)
                if isinstance(verdict, PeerDead):
                    self._dead(host, verdict.reason)
                    return
                await asyncio.sleep(SPARE_DELAY_S)  # contact lost is not death: watch again
            else:
                return

    def _dead(self, host: HostId, reason: ExitReason) -> None:
        record = self.hosts.pop(host, None)
        self.handles.pop(host, None)
        if host in self._spares:
            self._spares.remove(host)
            self._spawn(self._make_spare(SPARE_DELAY_S))
        if record is not None:
            record.alive = False
            said = record.kill_detail or (reason.detail if isinstance(reason, Killed) else str(reason))
            reason = Killed(detail=f"{said} (pid {record.pid})") if record.pid else reason
            if self._journal is None or not record.pid:
                self._news.host_died(record, reason)
            elif self._journal.holds_any(record.actors):
                self._spawn(self._tell_behind_revocation(record, reason, self._journal))
            else:
                self._news.host_died(record, reason)
                self._spawn(self._revoke(record, self._journal))  # for what was spawned there

    async def _tell_behind_revocation(self, record: HostRecord, reason: ExitReason, journal: JournalOwner) -> None:
        """Tells a death when the next lives of the durable agents that were there may follow them."""
        was_revoked = await self._revoke(record, journal)
        self._news.host_died(record, Fenced() if was_revoked else reason)

    async def _revoke(self, record: HostRecord, journal: JournalOwner) -> bool:
        """See JournalOwner.bury."""
        if record.node_id == self._node:
            is_gone = await host_process.end(self._order.guardian_actor, record.host, record.pid)
        else:
            is_gone = await self._reapers.end(record.node_id, record.host, record.pid)
        return await journal.bury(record.epoch, reaped=is_gone)

    async def _keep_contact(self, record: HostRecord, handle: Any) -> None:
        """Asks a host again and again for a sign of life, and tells when it gives none and when it does again."""
        while record.host in self.hosts:
            await asyncio.sleep(max(PING_EVERY_S, len(self.hosts) / MAX_PINGS_PER_S))
            try:
                await self._sign_of_life(record, handle)
            except (PeerDead, RayError):
                return  # `watch` tells of it
            self._contact(record, reachable=True)

    async def _sign_of_life(self, record: HostRecord, handle: Any) -> None:
        """Returns once a host has answered, however long that takes. Raises PeerDead, RayError."""
        look_s = max(PING_LOOK_S, len(self.hosts) / MAX_PINGS_PER_S)
        pings: set[asyncio.Task[Any]] = set()
        answered: set[asyncio.Task[Any]] = set()
        try:
            for _ in range(PING_LOOKS):
                pings.add(asyncio.ensure_future(got_through(handle.ping)))  # one more each time, for calls get lost
                answered, _ = await asyncio.wait(pings, timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
                if answered:
                    break
            else:
                self._contact(record, reachable=False)
                answered, _ = await asyncio.wait(pings, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for ping in pings:
                ping.cancel()
        for error in filter(None, [ping.exception() for ping in answered]):
            raise error

    def _contact(self, record: HostRecord, *, reachable: bool) -> None:
        if record.reachable != reachable and record.host in self.hosts:
            record.reachable = reachable
            self._news.host_contact(record)

    def _spawn(self, coroutine: Coroutine[Any, Any, object]) -> None:
        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _no_look(host: HostId, handle: Any) -> None:
    pass
