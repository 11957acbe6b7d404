"""Starts the children of the guardian's supervisors in hosts: the Ray engine's starter."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from ray.exceptions import RayError

from regrow.cluster.directory import GuardianDirectory
from regrow.cluster.hosts import HostRecord
from regrow.cluster.orders import CellFailed, start_order
from regrow.cluster.ray_keeper import Keeper
from regrow.cluster.ray_transport import got_through
from regrow.runtime import (
    ActorId,
    Crashed,
    Dedicated,
    Exited,
    ExitReason,
    HostId,
    Incarnation,
    KillOutcome,
    RegrowError,
    Runtime,
    Started,
    StartFailed,
    StartRequest,
)
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.lifecycle import FreeExited
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.packing import pack, unpack
from regrow.runtime.starter import HOST_DIED, KILLED_BY_SUPERVISOR
from regrow.runtime.transport import PeerDead
from regrow.supervisors import AnySupervisorSpec

REACH_S = 10.0
"""How long a host is tried to be told something before other means are taken."""


class RayStarter:
    """The Starter port over the hosts of a keeper; supervisors themselves stay in the guardian."""

    def __init__(self, runtime: Runtime, keeper: Keeper, directory: GuardianDirectory) -> None:
        self._runtime = runtime
        self._keeper = keeper
        self._directory = directory
        self._local = LocalStarter(runtime)
        self._lives: dict[ActorId, tuple[Incarnation, ActorId | None, HostId]] = {}
        self._tellings: set[asyncio.Task[bool]] = set()
        self._killed_for: dict[HostId, ActorId] = {}
        """Hosts that had to be killed, and the one agent in each that would not end."""

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
            host = await self._keeper.host_for(actor, request.placement or Dedicated())
            record, handle = self._keeper.hosts.get(host), self._keeper.handles.get(host)
            if record is None or handle is None:
                return _failed(HOST_DIED, f"host {host} died before {actor} could start in it")
            # Before the call: the host may die, or the agent may end, before its answer is here.
            self._lives[actor] = (request.incarnation, request.parent, host)
            packed = pack(start_order(request))
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
        for actor, (incarnation, parent, host) in list(self._lives.items()):
            if host != record.host or parent is None:
                continue
            kind = Exited if guilty in (None, actor) else FreeExited  # its neighbours do not pay for it
            exited = kind(actor=actor, incarnation=incarnation, reason=reason, event=record.host)
            self._runtime.delivery.send(Envelope(Kind.SIGNAL, parent, exited, self._runtime.origin))

    def _behind(self, telling: Coroutine[Any, Any, bool]) -> None:
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
