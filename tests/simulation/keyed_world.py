"""A guardian with agents that are reached by key, as it is in a cluster, over hosts that die and faulty wires."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regrow.cluster.directory import GuardianDirectory
from regrow.cluster.durable_ids import DurableIds
from regrow.cluster.making import BehaviorFactory
from regrow.cluster.roots import Roots
from regrow.cluster.services import ServiceConfig
from regrow.cluster.waker import Waker
from regrow.runtime.address import ActorId
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.lifecycle import Crashed, Exited
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.registry import REGISTRY
from regrow.runtime.starter import HOST_DIED, KILLED_BY_SUPERVISOR, KillOutcome, Started, StartFailed
from regrow.runtime.testing import CALM, FaultPlan
from regrow.supervisors import AnySupervisorSpec
from tests.simulation.durable_world import DurableWorld
from tests.simulation.wires import round_trip

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from regrow.runtime.address import HostId, Incarnation
    from regrow.runtime.lifecycle import ExitReason
    from regrow.runtime.runtime import Runtime
    from regrow.runtime.starter import StartRequest
    from regrow.supervisors import SupervisorSpec
    from tests.simulation.wires import Node


class KeyedWorld(DurableWorld):
    """A world whose guardian runs the tree of an app. All agents below `kind` are durable."""

    def __init__(self, seed: int = 0, plan: FaultPlan = CALM, *, kind: str) -> None:
        super().__init__(seed, plan)
        self.is_durable = DurableIds([ActorId(f"{kind}/*")])
        """Whether an agent is durable, as every process knows."""
        self.hosts: list[Node] = []
        self.starter: PoolStarter

    async def with_app(self, app: str, tree: SupervisorSpec) -> None:
        """Starts a guardian, and the tree in it."""
        guardian = self.node("guardian")
        roots = Roots(app, _no_service)
        self.truth = GuardianDirectory(guardian.host, roots.start_on_demand)
        self.truth.here = guardian.runtime.cells.__contains__
        guardian.runtime.delivery.directory = self.truth
        maker = BehaviorFactory(roots.make_supervisor)  # a node of a world makes agents alone
        guardian.runtime._make_behavior = maker  # pyright: ignore[reportPrivateUsage] # nobody else changes it
        self.starter = PoolStarter(self, guardian.runtime)
        roots.attach(guardian.runtime, self.starter)
        self.guardian = guardian
        await roots.start(tree)
        self.registry = roots.registry
        self.truth.place(REGISTRY, guardian.host)
        self.roots = roots
        self.waker = Waker(roots, guardian.runtime, self.journal, is_durable=self.is_durable, first=())

    def behind(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs it beside everything else."""
        self._spawn(coroutine)

    def node(self, name: str, *, listens: bool = False) -> Node:
        """See World."""
        made = super().node(name, listens=listens)
        made.runtime.delivery.is_durable = self.is_durable
        return made

    async def host(self, name: str) -> Node:
        """See DurableWorld."""
        made = await super().host(name)
        self.hosts.append(made)
        return made

    def active(self, actor: str) -> int:
        """In how many processes that live an agent runs."""
        cells = [node.runtime.cells.get(actor) for node in self.hosts if not node.is_dead]  # type: ignore[call-overload]
        return sum(cell is not None and cell.behavior is not None for cell in cells)

    def _host_died(self, node: Node) -> None:
        self.hosts.remove(node)
        self.truth.host_died(node.host)
        self.starter.host_died(node.host, f"{node.host} died")


class PoolStarter:
    """The Starter port over the hosts of a world, one at random for each start."""

    def __init__(self, world: KeyedWorld, home: Runtime) -> None:
        self._world = world
        self._home = home
        self._local = LocalStarter(home)
        self._lives: dict[ActorId, tuple[Incarnation, ActorId | None, Node]] = {}

    async def start(self, request: StartRequest) -> Started | StartFailed:
        """See Starter."""
        if isinstance(request.target, AnySupervisorSpec):
            return await self._local.start(request)
        actor, agent = request.actor, request.target
        self._world.truth.starts(actor)
        node = self._world.wires.random.choice([host for host in self._world.hosts if not host.is_dead])
        self._lives[actor] = request.incarnation, request.parent, node
        await round_trip()
        made: Any = replace(request, target=lambda: agent.made(None))  # type: ignore[attr-defined]
        starting = asyncio.ensure_future(node.runtime.start(made))
        while not node.is_dead and not starting.done():
            await asyncio.wait((starting,), timeout=0.01)
        await round_trip()
        if node.is_dead:
            return StartFailed(Crashed(type_name=HOST_DIED, message=f"{node.host} died"))
        failed = starting.result()
        if failed is not None:
            return StartFailed(failed)
        self._world.truth.place(actor, node.host)
        return Started(node.host, 1)

    async def stop(self, actor: ActorId, incarnation: Incarnation, reason: ExitReason, grace_s: float | None) -> None:
        """See Starter."""
        if actor in self._home.cells:
            await self._local.stop(actor, incarnation, reason, grace_s)
        elif actor in self._lives:
            await round_trip()
            await LocalStarter(self._lives[actor][2].runtime).stop(actor, incarnation, reason, grace_s)

    async def kill(self, actor: ActorId, incarnation: Incarnation, detail: str = KILLED_BY_SUPERVISOR) -> KillOutcome:
        """See Starter."""
        if actor in self._home.cells:
            return await self._local.kill(actor, incarnation, detail)
        if actor in self._lives:
            await round_trip()
            return await LocalStarter(self._lives[actor][2].runtime).kill(actor, incarnation, detail)
        return KillOutcome.DEAD

    def forget(self, actor: ActorId) -> None:
        """See Starter."""
        self._home.forget(actor)
        self._world.truth.remove(actor)
        life = self._lives.pop(actor, None)
        if life is not None:
            self._world.behind(self._forget(actor, life[0], life[2]))

    async def _forget(self, actor: ActorId, incarnation: Incarnation, node: Node) -> None:
        await round_trip()
        cell = node.runtime.cells.get(actor)
        if cell is not None and cell.incarnation <= incarnation and not node.is_dead:
            node.runtime.forget(actor)

    def host_died(self, host: HostId, detail: str) -> None:
        """Tells the supervisors of every life that was in a dead host, as one event."""
        for actor, (incarnation, parent, node) in list(self._lives.items()):
            if node.host == host and parent is not None:
                reason = Crashed(type_name="Killed", message=detail)
                exited = Exited(actor=actor, incarnation=incarnation, reason=reason, event=host)
                self._home.delivery.send(Envelope(Kind.SIGNAL, parent, exited, self._home.origin))


async def _no_service() -> ServiceConfig:
    raise AssertionError("no service is used here")
