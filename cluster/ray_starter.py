"""Starts the children of the guardian's supervisors in hosts: the Ray engine's starter."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog
from ray.exceptions import RayError

from regrow.cluster.directory import GuardianDirectory
from regrow.cluster.hosts import HostRecord
from regrow.cluster.orders import CellFailed, start_order
from regrow.cluster.ray_keeper import Keeper
from regrow.cluster.ray_transport import got_through
from regrow.cluster.suspects import ALONE_AT_ONCE, HOSTS_BESIDE_POOLS, Suspects
from regrow.runtime import (
    ActorId,
    Crashed,
    Dedicated,
    Exited,
    ExitReason,
    HostId,
    Incarnation,
    KillOutcome,
    Packed,
    Placement,
    RegrowError,
    Runtime,
    Started,
    StartFailed,
    StartRequest,
)
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.journal_errors import JournalRefused, JournalUnknown
from regrow.runtime.lifecycle import Fenced, FreeExited
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.packing import pack, unpack
from regrow.runtime.starter import HOST_DIED, KILLED_BY_SUPERVISOR, Suspicion
from regrow.runtime.transport import PeerDead
from regrow.supervisors import AnySupervisorSpec

if TYPE_CHECKING:
    from regrow.cluster.journal_owner import JournalOwner

log = structlog.get_logger("regrow.starter")

LOOK_S = 2.0
"""How long a start waits to be told whether its agent has a message that may have killed its process."""
BEGIN_AGAIN_S = 0.1
"""Between two tries to let an agent begin."""
REACH_S = 10.0
"""How long a host is tried to be told something before other means are taken."""


class RayStarter:
    """The Starter port over the hosts of a keeper; supervisors themselves stay in the guardian."""

    def __init__(
        self, runtime: Runtime, keeper: Keeper, directory: GuardianDirectory, journal: JournalOwner | None = None
    ) -> None:
        self._runtime = runtime
        self._keeper = keeper
        self._directory = directory
        self._local = LocalStarter(runtime)
        self._lives: dict[ActorId, tuple[Incarnation, ActorId | None, HostId]] = {}
        self._tellings: set[asyncio.Task[bool | None]] = set()
        self._killed_for: dict[HostId, ActorId] = {}
        """Hosts that had to be killed, and the one agent in each that would not end."""
        self._journal = journal
        self._suspects = Suspects()
        self._up: dict[ActorId, Incarnation] = {}
        """The last life of each durable agent that has initialised."""

    async def prepare(self, requests: Sequence[StartRequest]) -> None:
        """Requests the hosts of several children together."""
        self._keeper.request(
            [
                (request.actor, request.placement)
                for request in requests
                if not isinstance(request.target, AnySupervisorSpec)
            ]
        )

    async def start(self, request: StartRequest) -> Started | StartFailed:
        """See Starter.start."""
        if isinstance(request.target, AnySupervisorSpec):
            return await self._local.start(request)
        actor = request.actor
        self._directory.starts(actor)
        host: HostId | None = None
        try:
            suspicion = self._suspects.suspicion(actor)
            placement = await self._place_of(actor, request.placement or Dedicated(), suspicion)
            host = await self._keeper.host_for(actor, placement)
            record, handle = self._keeper.hosts.get(host), self._keeper.handles.get(host)
            if record is None or handle is None:
                return _failed(HOST_DIED, f"host {host} died before {actor} could start in it")
            # Before the call: the host may die, or the agent may end, before its answer is here.
            self._lives[actor] = (request.incarnation, request.parent, host)
            if self._suspects.runs_alone(actor):
                record.for_suspect = True
            self._suspects.told(actor)
            is_durable = self._journal is not None and self._journal.holds_any((actor,))
            packed = pack(start_order(replace(request, suspicion=suspicion, held=is_durable)))
            with self._runtime.awaited_starts.waits(request, host):
                answer = unpack(await got_through(handle.start_cell, packed))
        except (PeerDead, RayError) as error:
            if host is not None:
                await self._keeper.kill(host)  # the call may have run: no life may go on that nobody knows of
            return _failed(HOST_DIED, f"host {host} died while {actor} started in it ({str(error).splitlines()[0]})")
        except RegrowError as error:
            await self.kill(actor, request.incarnation)  # an answer that can not be read may be of a life that runs
            return _failed(type(error).__name__, str(error))
        except asyncio.CancelledError:
            # What had begun must not go on unseen; in a pool its neighbours must not pay for that.
            await asyncio.shield(self.kill(actor, request.incarnation))
            raise
        if isinstance(answer, CellFailed):
            return StartFailed(answer.cause)
        self._directory.place(actor, host)
        if is_durable:
            self._up[actor] = request.incarnation
            self._behind(self._begin(actor, request.incarnation, host))
        return Started(host, record.pid)

    async def stop(self, actor: ActorId, incarnation: Incarnation, reason: ExitReason, grace_s: float | None) -> None:
        """See Starter.stop."""
        if actor in self._runtime.cells:
            await self._local.stop(actor, incarnation, reason, grace_s)
            return
        handle = self._handle(actor, incarnation)
        if handle is not None:
            # Not waited for: a process that hangs does not answer, and its time to stop runs from now on.
            self._behind(_tried(handle.stop_cell, actor, incarnation, pack(reason), grace_s))

    async def kill(self, actor: ActorId, incarnation: Incarnation, detail: str = KILLED_BY_SUPERVISOR) -> KillOutcome:
        """See Starter.kill. An agent alone in its host is killed by pid, which nothing can hold up."""
        if actor in self._runtime.cells:
            return await self._local.kill(actor, incarnation, detail)
        handle = self._handle(actor, incarnation)
        if handle is None:
            return KillOutcome.DEAD
        host = self._lives[actor][2]
        record = self._keeper.hosts.get(host)
        if record is not None and record.pool is not None:
            if await _tried(handle.kill_cell, actor, incarnation, detail):
                return KillOutcome.DEAD
        self._killed_for[host] = actor
        alone = record is not None and record.pool is None  # else it is not what its neighbours die of
        return KillOutcome.DEAD if await self._keeper.kill(host, detail if alone else "") else KillOutcome.UNCONFIRMED

    def forget(self, actor: ActorId) -> None:
        """See Starter.forget."""
        self._runtime.forget(actor)
        self._suspects.forget(actor)
        self._up.pop(actor, None)
        life = self._lives.pop(actor, None)
        host = self._directory.remove(actor) or (life[2] if life is not None else None)
        if host is None:
            return
        record, handle = self._keeper.hosts.get(host), self._keeper.handles.get(host)
        if record is not None and record.pool is not None and handle is not None:
            self._behind(_tried(handle.forget, actor, life[0] if life is not None else 0))
        self._keeper.leaves(actor, host)

    def life_is_over(self, actor: ActorId, incarnation: Incarnation) -> bool:
        """True when that life is over for certain: a later one was begun, or its host is dead."""
        cell = self._runtime.cells.get(actor)
        if cell is not None:
            return cell.is_over or cell.incarnation != incarnation
        life = self._lives.get(actor)
        if life is None:  # what agents spawn is known to their host alone, but their numbers are of its block
            return not self._keeper.has_living_block(incarnation)
        return incarnation < life[0] or (incarnation == life[0] and life[2] not in self._keeper.hosts)

    def host_died(self, record: HostRecord, reason: ExitReason) -> None:
        """Tells supervisors of every life that was in a dead host, as one event."""
        guilty = self._killed_for.pop(record.host, None)
        were_there = {actor: life for actor, life in self._lives.items() if life[2] == record.host}
        suspected = self._suspect(record, reason, were_there)
        for actor, (incarnation, parent, _) in were_there.items():
            if parent is None:
                continue
            is_free = actor in suspected or guilty not in (None, actor)  # its neighbours do not pay for it
            kind = FreeExited if is_free else Exited
            exited = kind(actor=actor, incarnation=incarnation, reason=reason, event=record.host)
            self._runtime.delivery.send(Envelope(Kind.SIGNAL, parent, exited, self._runtime.origin))

    def cleared(self, actor: ActorId) -> None:
        """See IsolatingStarter: its host joins the pool in which the agent would be."""
        placement = self._suspects.cleared(actor)
        life = self._lives.get(actor)
        record = self._keeper.hosts.get(life[2]) if life is not None else None
        if placement is not None and record is not None and record.for_suspect:
            record.pool = placement.pool

    async def _begin(self, actor: ActorId, incarnation: Incarnation, host: HostId) -> None:
        """Lets a durable agent begin with its messages, now that its end would be known as one."""
        while host in self._keeper.hosts and self._up.get(actor) == incarnation:
            if await _tried(self._keeper.handles[host].begin_cell, actor, incarnation):
                return
            await asyncio.sleep(BEGIN_AGAIN_S)

    def _suspect(
        self, record: HostRecord, reason: ExitReason, were_there: Mapping[ActorId, tuple[Incarnation, object, HostId]]
    ) -> frozenset[ActorId]:
        """Notes whose message may have killed a host. Gives those whose deaths were counted before."""
        # What we have killed, what was fenced and what died with its machine did not die of a message; nor did who had
        # not initialised yet.
        if record.by_order or isinstance(reason, Fenced) or not self._keeper.has_node_of(record):
            return frozenset()
        running = [actor for actor, life in were_there.items() if self._up.get(actor) == life[0]]
        return self._suspects.host_died(running, shared=len(were_there) > 1)

    async def _place_of(self, actor: ActorId, placement: Placement, suspicion: Suspicion) -> Placement:
        """Where it goes: into a host of its own for as long as a message of it may have killed the one before."""
        if not isinstance(placement, Packed) or suspicion is Suspicion.NONE:
            return placement
        if self._suspects.runs_alone(actor):
            self._keeper.withdraw(actor)
            return Dedicated()
        if not await self._has_mail(actor):
            return placement
        if not self._suspects.isolate(actor, placement, self._keeper.hosts.values()):
            log.warning(
                "an agent whose message may have killed its host stays with others, since there are as many hosts for "
                "suspects as there may be",
                agent=actor,
                alone_at_once=ALONE_AT_ONCE,
                hosts_beside_pools=HOSTS_BESIDE_POOLS,
            )
            return placement
        self._keeper.withdraw(actor)
        return Dedicated()

    async def _has_mail(self, actor: ActorId) -> bool:
        """Whether a durable agent's mailbox has a message; where nobody can say so in time, it stays with others."""
        assert self._journal is not None, "of others nothing is suspected"
        try:
            return await asyncio.wait_for(self._journal.journal.depth(actor), LOOK_S) > 0
        except (JournalUnknown, JournalRefused, TimeoutError):
            return False

    def _behind(self, telling: Coroutine[Any, Any, bool | None]) -> None:
        task = asyncio.get_running_loop().create_task(telling)
        self._tellings.add(task)
        task.add_done_callback(self._tellings.discard)

    def _handle(self, actor: ActorId, incarnation: Incarnation) -> Any | None:
        life = self._lives.get(actor)
        if life is None or life[0] != incarnation:
            return None
        return self._keeper.handles.get(life[2])


async def _tried(method: Any, *arguments: object) -> bool:
    """The result of a control call; False when the host is gone or can not be reached."""
    try:
        return bool(await asyncio.wait_for(got_through(method, *arguments), REACH_S))
    except (PeerDead, RayError, TimeoutError):
        return False


def _failed(kind: str, text: str) -> StartFailed:
    return StartFailed(Crashed(type_name=kind, message=text))
