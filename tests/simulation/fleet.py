"""Supervisors in one process and their workers in several simulated hosts, which die, fall silent and are found again.

A `Fleet` is the Starter of such a tree, and keeps to what the cluster's own starter and keeper do: an end is told when
the host can be heard, the death of a host is told of all its lives as one event, a kill in a host that can not be
heard is unconfirmed and condemns the whole host, and a start in it has no end before the verdict.

Where `way_s` gives more than nothing, calls take their time: they overtake each other, as those of Ray do, and what
was called runs to its end although its caller has gone. Ends come in the order of their link.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from regrow.runtime.address import ActorId, HostId, Incarnation
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.lifecycle import Crashed, Exited, ExitReason, FreeExited, Killed
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.runtime import Runtime
from regrow.runtime.starter import KILLED_BY_SUPERVISOR, KillOutcome, Started, StartFailed, StartRequest
from regrow.supervisors import AnySupervisorSpec
from tests.runtime.scripted import Nowhere
from tests.supervisors.stage import Actor, Stage, pass_time

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.cell import Cell

HOSTS = 3
"""So many hosts take new lives; one that can not is replaced."""

HOST_DIED = StartFailed(Crashed(type_name="HostDied", message="the host died while it started"))


class Witness(Protocol):
    """Is told of everything that passes between supervisors and their starter."""

    def starts(self, request: StartRequest) -> None:
        """A supervisor asks for a life."""
        ...

    def start_failed(self, request: StartRequest) -> None:
        """The supervisor is told that nothing is left of it."""
        ...

    def orders(self, actor: ActorId, incarnation: Incarnation) -> None:
        """A supervisor stops or kills a life."""
        ...

    def unconfirmed(self, actor: ActorId) -> None:
        """A supervisor is told that nobody knows whether what it killed is dead."""
        ...

    def over(self, actor: ActorId, incarnation: Incarnation, event: str = "", *, free: bool = False) -> None:
        """A supervisor is told that a life is over; `event` is the death of a host."""
        ...


@dataclass(frozen=True, slots=True)
class Life:
    """Where the latest life of a worker was begun."""

    incarnation: Incarnation
    parent: ActorId
    host: Host


class Host:
    """One process with workers."""

    def __init__(self, name: str, stage: Stage, ended: Callable[[Host, Cell, ExitReason], None]) -> None:
        self.name = name
        self.stage = stage
        self.runtime = Runtime(HostId(name), make_behavior=self._make, directory=Nowhere())
        self.starter = LocalStarter(self.runtime)
        self.is_alive = True
        self.is_told = False
        """Whether its death has been told."""
        self.is_heard = True
        """Whether it is not silent."""
        self.hears = True
        """Whether orders reach it while it is silent."""
        self.condemned_for: ActorId | None = None
        """Whose kill nobody could confirm: it dies as soon as it is found."""
        self.withheld: list[Exited] = []
        """Ends that were not told, since nobody heard."""
        self.last_word_at = 0.0
        """When the last of its ends that are under way arrives."""
        self._changed = asyncio.Event()
        self._actors: dict[ActorId, Actor] = {}
        announce = self.runtime.announce_exit

        def announced(cell: Cell, reason: ExitReason, *, quiet: bool) -> None:
            self._actors[cell.actor].end_life()
            announce(cell, reason, quiet=True)  # the parent is in another process: the fleet tells it
            if not quiet:
                ended(self, cell, reason)

        self.runtime.announce_exit = announced  # type: ignore[method-assign]

    @property
    def is_usable(self) -> bool:
        """Whether new lives may be begun in it."""
        return self.is_alive and self.is_heard and self.condemned_for is None

    @property
    def living(self) -> list[ActorId]:
        """Who runs, starts or stops in it."""
        return [actor for actor, cell in self.runtime.cells.items() if cell.behavior is not None]

    def changes(self) -> None:
        """Those who wait for word of it look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def answers(self) -> bool:
        """Waits while it is silent; whether it lives."""
        while self.is_alive and not self.is_heard:
            await self._changed.wait()
        return self.is_alive

    def _make(self, request: StartRequest) -> Behavior:
        actor = self._actors[request.actor] = Actor(self.stage, request)
        return actor


class Fleet:
    """The starter of a tree whose workers are in hosts; its faults are `dies`, `falls_silent`, `is_found`."""

    def __init__(self, supervisors: Runtime) -> None:
        self.hosts: list[Host] = []
        """Those whose death has not been told."""
        self.all_hosts: list[Host] = []
        self.lives: dict[ActorId, Life] = {}
        self.stage: Stage
        self.witness: Witness
        self.rng: random.Random
        self.way_s: Callable[[], float] = lambda: 0.0
        """How long the next call, return or word of an end is under way."""
        self._supervisors = supervisors
        self._local = LocalStarter(supervisors)

    # ---- what supervisors ask ------------------------------------------------------------------

    async def start(self, request: StartRequest) -> Started | StartFailed:
        """See Starter."""
        self.witness.starts(request)
        outcome = await self._started(request)
        if isinstance(outcome, StartFailed):
            self.witness.start_failed(request)
        return outcome

    async def _started(self, request: StartRequest) -> Started | StartFailed:
        actor, life = request.actor, request.incarnation
        if isinstance(request.target, AnySupervisorSpec):
            return await self._local.start(request)
        assert request.parent is not None
        host = self._home()
        earlier, self.lives[actor] = self.lives.get(actor), Life(life, request.parent, host)
        if earlier is not None and earlier.host is not host:
            earlier.host.runtime.forget(actor)
        starting = asyncio.ensure_future(self._begun(host, request))
        try:
            await asyncio.wait([starting])
            answered = await host.answers()
            await self._way()
        except asyncio.CancelledError:
            # What had begun must not go on unseen.
            await asyncio.shield(self._kill(actor, life, "start was cancelled"))
            raise
        return starting.result() if answered else HOST_DIED

    async def _begun(self, host: Host, request: StartRequest) -> Started | StartFailed:
        """The call of a start, which nobody can take back."""
        if (way_s := self.way_s()) > 0:
            await pass_time(way_s)
            if not host.hears and not await host.answers():
                return HOST_DIED
        return await host.starter.start(request)

    async def _way(self) -> None:
        if (way_s := self.way_s()) > 0:
            await pass_time(way_s)

    async def stop(self, actor: ActorId, incarnation: Incarnation, reason: ExitReason, grace_s: float | None) -> None:
        """See Starter."""
        self.witness.orders(actor, incarnation)
        host = self._host_of(actor, incarnation)
        if actor in self._supervisors.cells:
            await self._local.stop(actor, incarnation, reason, grace_s)
        elif host is not None and host.is_alive and (host.is_heard or host.hears):
            await host.starter.stop(actor, incarnation, reason, grace_s)

    async def kill(self, actor: ActorId, incarnation: Incarnation, detail: str = KILLED_BY_SUPERVISOR) -> KillOutcome:
        """See Starter."""
        self.witness.orders(actor, incarnation)
        outcome = await self._kill(actor, incarnation, detail)
        if outcome is KillOutcome.UNCONFIRMED:
            self.witness.unconfirmed(actor)
        return outcome

    async def _kill(self, actor: ActorId, incarnation: Incarnation, detail: str) -> KillOutcome:
        host = self._host_of(actor, incarnation)
        if host is not None and actor not in self._supervisors.cells:
            await self._way()
        if actor in self._supervisors.cells:
            await self._local.kill(actor, incarnation, detail)
        elif host is not None and host.is_alive and host.is_heard:
            await host.starter.kill(actor, incarnation, detail)
            await self._way()
        elif host is not None and not host.is_told and not host.is_heard:
            if host.is_alive and host.hears:
                await host.starter.kill(actor, incarnation, detail)
            host.condemned_for = host.condemned_for or actor
            return KillOutcome.UNCONFIRMED
        self.witness.over(actor, incarnation)
        return KillOutcome.DEAD

    def forget(self, actor: ActorId) -> None:
        """See Starter."""
        self._local.forget(actor)
        self.lives.pop(actor, None)
        for host in self.all_hosts:
            host.runtime.forget(actor)

    def _host_of(self, actor: ActorId, incarnation: Incarnation) -> Host | None:
        life = self.lives.get(actor)
        return life.host if life is not None and life.incarnation == incarnation else None

    def _home(self) -> Host:
        """Where a life is begun: in any host that takes one."""
        usable = [host for host in self.hosts if host.is_usable]
        while len(usable) < HOSTS:
            made = Host(f"host-{len(self.all_hosts) + 1}", self.stage, self._ended)
            self.hosts.append(made)
            self.all_hosts.append(made)
            usable.append(made)
        return self.rng.choice(usable)

    # ---- what happens to hosts -----------------------------------------------------------------

    def _ended(self, host: Host, cell: Cell, reason: ExitReason) -> None:
        """A life in a host is over; told if the host lives and is heard."""
        assert cell.parent is not None
        exited = Exited(actor=cell.actor, incarnation=cell.incarnation, reason=reason)
        if host.is_alive and not host.is_heard:
            host.withheld.append(exited)
        elif host.is_alive:
            self._tell_in_turn(host, cell.parent, exited)

    def _tell_in_turn(self, host: Host, parent: ActorId, exited: Exited) -> None:
        """Ends come in the order of the link, and none after the death of their host is told."""
        loop = asyncio.get_running_loop()
        host.last_word_at = max(host.last_word_at, loop.time() + self.way_s())
        if host.last_word_at <= loop.time():
            self._tell(parent, exited)
            return

        def arrive() -> None:
            if not host.is_told:
                self._tell(parent, exited)

        loop.call_at(host.last_word_at, arrive)

    def dies(self, host: Host) -> None:
        """Its process is gone, with all that was in it; `is_told_dead` is the verdict."""
        host.is_alive = False
        host.runtime.closed = True  # a start whose call is on its way there begins nothing
        for actor in host.living:
            host.runtime.cells[actor].kill("its host died")
        host.changes()

    def is_told_dead(self, host: Host) -> None:
        """All lives in a dead host are told to be over, as one event."""
        assert not host.is_alive and not host.is_told
        host.is_told = True
        self.hosts.remove(host)
        host.changes()
        for actor, life in list(self.lives.items()):
            if life.host is host:
                kind = Exited if host.condemned_for in (None, actor) else FreeExited  # its neighbours do not pay for it
                reason = Killed(detail=f"{host.name} died")
                self._tell(life.parent, kind(actor=actor, incarnation=life.incarnation, reason=reason, event=host.name))

    def falls_silent(self, host: Host, *, hears: bool) -> None:
        """Contact is lost: nothing comes from it, and orders come to it only if it `hears`."""
        host.is_heard, host.hears = False, hears

    def is_found(self, host: Host) -> None:
        """Contact is back; if a kill was waiting for that, the host dies at once."""
        host.is_heard = host.hears = True
        if host.condemned_for is not None:
            self.dies(host)
            self.is_told_dead(host)
            return
        withheld, host.withheld = host.withheld, []
        for exited in withheld:
            life = self.lives.get(ActorId(exited.actor))
            if life is not None:
                self._tell_in_turn(host, life.parent, exited)
        host.changes()

    def _tell(self, parent: ActorId, exited: Exited) -> None:
        free = isinstance(exited, FreeExited)
        self.witness.over(ActorId(exited.actor), Incarnation(exited.incarnation), exited.event, free=free)
        delivery = self._supervisors.delivery
        delivery.send(Envelope(Kind.SIGNAL, parent, exited, self._supervisors.origin))
