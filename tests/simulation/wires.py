"""Whole processes in one: runtimes joined by faulty wires, a directory that knows the truth, actors that come back.

The wires carry real frames. The truth is the guardian's directory, asked over the network as hosts ask it; a host's
death is known here and there at different times. Crashed actors start again in their host, those of a dead host
elsewhere, as supervisors would have it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from regrow.cluster.directory import GuardianDirectory, RememberingDirectory
from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.codec import FrameCodec
from regrow.runtime.lifecycle import ExitReason, Killed
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.names import keep_registry
from regrow.runtime.peers import Peers
from regrow.runtime.registry import REGISTRY, Registry
from regrow.runtime.runtime import Runtime
from regrow.runtime.starter import KILLED_BY_SUPERVISOR, KillOutcome, Started, StartFailed, StartRequest
from regrow.runtime.testing import CALM, FaultPlan, Wires, pass_time
from regrow.runtime.verdicts import HostDied, HostReachable, HostUnreachable

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.cell import Cell
    from regrow.runtime.envelope import Envelope
    from regrow.runtime.link import LinkSettings
    from regrow.runtime.ref import ActorRef

Target = Callable[[], "Behavior"]

ROUND_TRIP_S = 0.002
"""What a question to the guardian takes."""
NOTICED_S = 4.0
"""From the moment when a process stops until its guardian says so."""


async def _no_service(actor: ActorId) -> bool:
    return False


class Node:
    """One life of one process."""

    def __init__(self, world: World, host: HostId, *, listens: bool) -> None:
        self.host = host
        self.is_dead = False
        self.dead: list[tuple[str, object]] = []
        """Dead letters of this process: reason and message."""
        self._world = world
        self.directory = RememberingDirectory(world.locate)
        self.runtime = Runtime(host, make_behavior=_make, directory=self.directory, principal="tester")
        self.runtime.on_root_exit = self._ended
        self.runtime.delivery.life_is_over = world.life_is_over
        add = self.runtime.dead_letters.add

        def kept(envelope: Envelope, reason: str, incarnation: int = 0) -> None:
            self.dead.append((reason, envelope.message))
            add(envelope, reason, incarnation)

        self.runtime.dead_letters.add = kept  # type: ignore[method-assign]
        self.transport = world.wires.transport(host, listens=listens)
        codec = FrameCodec(self.runtime.ref_to, self.runtime.loop.time)
        self.peers = Peers(self.runtime, codec, self.transport, world.settings)
        world.wires.join(host, self.peers)

    def ref(self, actor: str, life: int | None = None) -> ActorRef:
        """A ref that sends from this process."""
        return self.runtime.ref_to(Address(ActorId(actor), Incarnation(life) if life is not None else None))

    def cell(self, actor: str) -> Cell:
        return self.runtime.cells[ActorId(actor)]

    def reasons(self) -> dict[str, int]:
        """Dead letters by reason."""
        return dict(self.runtime.dead_letters.counts)

    def _ended(self, cell: Cell, reason: ExitReason) -> None:
        if not self.is_dead:
            self._world.ended(self, cell, reason)


class World:
    """The processes, and where their actors are."""

    def __init__(
        self,
        seed: int = 0,
        plan: FaultPlan = CALM,
        settings: LinkSettings | None = None,
        *,
        restart_after_s: float | None = None,
        noticed_s: float = NOTICED_S,
    ) -> None:
        self.wires = Wires(seed, plan)
        self.settings = settings
        self.restart_after_s = restart_after_s
        """None: who ends stays dead until the test starts it again."""
        self.truth = GuardianDirectory(HostId("guardian"), _no_service)
        self._noticed_s = noticed_s
        self.guardian: Node | None = None
        self.registry = Registry()
        self.nodes: dict[str, Node] = {}
        self.all_nodes: list[Node] = []
        self.ends: list[tuple[str, ExitReason]] = []
        self._targets: dict[ActorId, tuple[Target, MailboxSettings]] = {}
        self._begun: dict[ActorId, tuple[Incarnation, HostId]] = {}
        self._lives = itertools.count(1)
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[Any]] = set()

    def node(self, name: str, *, listens: bool = False) -> Node:
        """A new process of that name."""
        made = Node(self, HostId(f"{name}#{next(self._numbers)}"), listens=listens)
        self.nodes[name] = made
        self.all_nodes.append(made)
        if self.guardian is not None:
            self._obeys(made, self.guardian)
        return made

    async def with_guardian(self) -> Node:
        """From now on a process keeps the names, and its word on the others is the only verdict, as on Ray."""
        guardian = self.node("guardian")
        self.guardian = guardian
        self.registry = await keep_registry(guardian.runtime)
        self.truth.place(REGISTRY, guardian.host)
        for node in self.living:
            if node is not guardian:
                self._obeys(node, guardian)
        return guardian

    def _obeys(self, node: Node, guardian: Node) -> None:
        node.peers.arbiter = guardian.host
        guardian.peers.meet(node.host)
        node.peers.meet(guardian.host)

    @property
    def living(self) -> list[Node]:
        return [node for node in self.nodes.values() if not node.is_dead]

    async def start(
        self, node: Node, actor: str, target: Target, *, mailbox: MailboxSettings | None = None
    ) -> ActorRef:
        """Starts a life of an actor; gives a ref to it in its own process."""
        self._targets[ActorId(actor)] = target, mailbox or MailboxSettings()
        await self._start(node, ActorId(actor))
        return node.ref(actor)

    def next_life(self, actor: str, target: Target) -> None:
        """The actor's next life is to be made like this."""
        self._targets[ActorId(actor)] = target, MailboxSettings()

    async def _start(self, node: Node, actor: ActorId) -> None:
        request = self._request(actor)
        self.truth.starts(actor)
        self._begun[actor] = request.incarnation, node.host
        failed = await node.runtime.start(request)
        if not node.is_dead:
            assert failed is None, failed.traceback
            self.truth.place(actor, node.host)

    def _request(self, actor: ActorId) -> StartRequest:
        """What the next life of an actor is started with."""
        target, mailbox = self._targets[actor]
        return StartRequest(actor, Incarnation(next(self._lives)), target, mailbox=mailbox)

    async def life_is_over(self, actor: ActorId, incarnation: Incarnation) -> bool:
        """What a process is told when it asks the guardian about one life."""
        await round_trip()
        latest, host = self._begun.get(actor, (Incarnation(0), HostId("")))
        is_dead = host not in [node.host for node in self.living]
        return incarnation < latest or (incarnation == latest and is_dead)

    async def locate(self, actor: ActorId) -> HostId | None:
        """What a process is told when it asks the guardian."""
        loop = asyncio.get_running_loop()
        answered = loop.create_future()
        loop.call_later(ROUND_TRIP_S, answered.set_result, None)
        await answered
        return await self.truth.locate(actor)

    def ended(self, node: Node, cell: Cell, reason: ExitReason) -> None:
        """An actor of a living process ended."""
        self.ends.append((cell.actor, reason))
        if self.restart_after_s is not None:
            self._later(self.restart_after_s, self._restart, node, cell.actor)

    def kill(self, name: str) -> None:
        """Kills a process, as SIGKILL would; its actors start again elsewhere once that is known."""
        node = self.nodes.pop(name)
        node.is_dead = True
        reason = Killed(detail=f"{name} was killed")
        self.wires.cut(node.host, reason, tell=self.guardian is None)
        node.peers.close()
        self._spawn(node.runtime.aclose())
        self._later(self.wires.random.uniform(*self.wires.plan.verdict_s), self._verdict, node, reason)

    def _verdict(self, node: Node, reason: ExitReason) -> None:
        if self.guardian is not None:
            self.registry.host_died(node.host)
            self.guardian.peers.died(node.host, reason)
            self.guardian.peers.tell_all(HostDied(host=node.host, reason=reason))
        self._host_died(node)

    def freeze(self, name: str) -> None:
        """A process stops, as by SIGSTOP; some time later its guardian says that it does not answer."""
        node = self.nodes[name]
        self.wires.freeze(node.host)
        self._later(self._noticed_s, self._contact, node, HostUnreachable(host=node.host))

    def thaw(self, name: str) -> None:
        """The process goes on, as by SIGCONT."""
        node = self.nodes[name]
        self.wires.thaw(node.host)
        self._later(ROUND_TRIP_S, self._contact, node, HostReachable(host=node.host))

    def _contact(self, node: Node, verdict: HostUnreachable | HostReachable) -> None:
        assert self.guardian is not None, "who says so? call with_guardian first"
        is_lost = isinstance(verdict, HostUnreachable)
        if node.is_dead or is_lost is not self.wires.is_frozen(node.host):
            return
        peers = self.guardian.peers
        (peers.lost_contact if is_lost else peers.regained_contact)(node.host)
        peers.tell_all(verdict)

    def _host_died(self, node: Node) -> None:
        for actor in self.truth.host_died(node.host):
            if self.restart_after_s is not None:
                self._later(self.restart_after_s, self._restart, None, actor)

    def _restart(self, node: Node | None, actor: ActorId) -> None:
        if node is None:
            homes = [other for other in self.living if self.wires.can_call(other.host)]
            node = self.wires.random.choice(homes) if homes else None
        if node is not None and not node.is_dead:
            self._spawn(self._start(node, actor))

    def _later(self, delay_s: float, act: Callable[..., None], *arguments: object) -> None:
        asyncio.get_running_loop().call_later(delay_s, act, *arguments)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error  # the loop's exception handler shows it; a silent one would hide what the test looks for

    async def close(self) -> None:
        """Stops every process that lives."""
        for node in self.living:
            node.is_dead = True
            node.peers.close()
            await node.runtime.aclose()


class AwayStarter:
    """The Starter port over another process of a world, as a cluster's is over its hosts."""

    def __init__(self, world: World, home: Node, node: Node) -> None:
        self._world = world
        self._home = home.runtime
        self._node = node
        self._away = LocalStarter(node.runtime)

    async def start(self, request: StartRequest) -> Started | StartFailed:
        """See Starter."""
        await pass_time(ROUND_TRIP_S)
        self._world.truth.starts(request.actor)
        with self._home.awaited_starts.waits(request, self._node.host):
            outcome = await self._away.start(request)
        if isinstance(outcome, Started):
            self._world.truth.place(request.actor, outcome.host)
        return outcome

    async def stop(self, actor: ActorId, incarnation: Incarnation, reason: ExitReason, grace_s: float | None) -> None:
        """See Starter."""
        await pass_time(ROUND_TRIP_S)
        await self._away.stop(actor, incarnation, reason, grace_s)

    async def kill(self, actor: ActorId, incarnation: Incarnation, detail: str = KILLED_BY_SUPERVISOR) -> KillOutcome:
        """See Starter."""
        await pass_time(ROUND_TRIP_S)
        return await self._away.kill(actor, incarnation, detail)

    def forget(self, actor: ActorId) -> None:
        """See Starter."""
        self._world.truth.remove(actor)
        self._away.forget(actor)


def _make(request: StartRequest) -> Behavior:
    target: Any = request.target
    behavior: Behavior = target()
    return behavior


async def round_trip() -> None:
    """Waits for as long as a call and its return take, on the clock of the simulation."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(ROUND_TRIP_S, over.set_result, None)
    await over
