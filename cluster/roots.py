"""The two roots of an app, the user's tree and the services', in the process that holds supervisors.

Used by the inline engine and by the guardian alike; where children run is the starter's business.
"""

from __future__ import annotations

import asyncio
import itertools
import platform
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import structlog

from regrow.cluster.errors import AppNotStarted
from regrow.cluster.keyed_ids import KeyedIds
from regrow.cluster.reports import Reports
from regrow.cluster.services import ServiceConfig, known_service, service_spec, services_root
from regrow.cluster.tree import STRETCH_NODES, Stretch, TreeNode
from regrow.runtime import (
    ActorId,
    AskFailed,
    Behavior,
    Crashed,
    ExitReason,
    HostId,
    Incarnation,
    Runtime,
    Shutdown,
    Starter,
    StartRequest,
)
from regrow.runtime.cell import Cell, State
from regrow.runtime.errors import Closed
from regrow.runtime.lifecycle import crashed
from regrow.runtime.names import keep_registry
from regrow.runtime.registry import Registry
from regrow.supervisors import (
    AnySupervisorSpec,
    FailedToStartChild,
    KeyedSupervisorBehavior,
    Supervisor,
    SupervisorSpec,
)
from regrow.supervisors.children import ChildRow
from regrow.supervisors.spec import KeyedSpec, Kind, Strategy
from regrow.supervisors.supervisor import SupervisorBehavior, SupervisorOfAnySort, supervisor_behavior

log = structlog.get_logger("regrow.supervisor")

POOL_WITHIN_S = 60.0
"""How long who looks for an agent with a key waits for its supervisor, which may be restarting."""
LOOK_S = 0.05
"""Between two looks at that supervisor where nothing is reported of it."""

GROW_AGAIN = 5
AGAIN_S = 1.0
"""How often a tree that has run before is started again where a child does not start, and the time in between."""

Stats = Callable[[ActorId, HostId], tuple[str, int, str]]
"""Gives an agent's state, its mailbox depth and its node, wherever it runs; empty where nobody knows."""


class Roots:
    """Starts, watches and stops the trees of one app."""

    def __init__(
        self, app: str, make_config: Callable[[], Awaitable[ServiceConfig]], *, first_incarnation: int = 1
    ) -> None:
        self.app = ActorId(app)
        self.ended: asyncio.Future[ExitReason] = asyncio.get_running_loop().create_future()
        self.registry = Registry()
        self._make_config = make_config
        self._incarnations = itertools.count(first_incarnation)
        self._starter: Starter | None = None
        self._runtime: Runtime | None = None
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._starting_services = asyncio.Lock()
        self._keyed = KeyedIds({})
        self.reports = Reports()
        self.released: Callable[[ActorId], None] = _nobody_minds
        """Told of each agent with a key that does not run any more."""

    def attach(self, runtime: Runtime, starter: Starter) -> None:
        """Names the runtime whose cells the supervisors are, and what starts their children."""
        self._runtime = runtime
        self._starter = starter
        runtime.on_root_exit = self._root_ended

    def next_incarnation(self) -> Incarnation:
        """The number of the next life of any actor of this app."""
        return Incarnation(next(self._incarnations))

    def make_supervisor(self, spec: AnySupervisorSpec) -> Behavior:
        """The behavior of one supervisor of the tree."""
        assert self._starter is not None and self._runtime is not None
        behavior = supervisor_behavior(
            spec,
            self._starter,
            incarnations=self.next_incarnation,
            time=self._runtime.loop.time,
            jitter=random.random,
            report=self.reports,
        )
        if isinstance(behavior, KeyedSupervisorBehavior):
            behavior.released = self._released
        return behavior

    async def start(self, spec: SupervisorSpec, *, grows_back: bool = False) -> None:
        """Starts the user's tree. Raises AppNotStarted with what failed and where.

        One that `grows_back` has run before, so a child that does not start is no fault of its code (its host may have
        been killed meanwhile): it is tried again, GROW_AGAIN times.
        """
        assert self._runtime is not None
        self._keyed = KeyedIds.of(self.app, spec)
        self.registry = await keep_registry(self._runtime)
        for left in reversed(range(GROW_AGAIN if grows_back else 0)):
            try:
                await self._start_root(self.app, spec)
            except AppNotStarted as error:
                log.warning("the app does not grow back yet; it is started again", reason=str(error), tries=left + 1)
                await asyncio.sleep(AGAIN_S)
            else:
                return
        await self._start_root(self.app, spec)

    async def start_on_demand(self, actor: ActorId) -> bool:
        """Starts a service or an agent with a key that does not run; False where the id is neither.

        Raises AskFailed with the reason of a start that failed, and the Refused of one that may not be.
        """
        return await self._activate(actor) or await self._ensure_service(actor)

    def is_keyed(self, actor: ActorId) -> bool:
        """Whether an agent is one with a key, also while its supervisor does not run."""
        return self._keyed.made_from(actor) is not None

    def pool_of(self, actor: ActorId) -> KeyedSupervisorBehavior | None:
        """The supervisor of an agent with a key, while it runs; None for all others."""
        supervisor = self.supervisor(parent_id(actor))
        return supervisor if isinstance(supervisor, KeyedSupervisorBehavior) else None

    async def _activate(self, actor: ActorId) -> bool:
        assert self._runtime is not None
        pool, deadline = parent_id(actor), self._runtime.loop.time() + POOL_WITHIN_S
        while self._runtime.loop.time() < deadline:
            cell = self._runtime.cells.get(pool)
            if cell is None or not isinstance(cell.request.target, KeyedSpec):
                return False
            try:
                if isinstance(cell.behavior, KeyedSupervisorBehavior):
                    await cell.behavior.activate(actor.rpartition("/")[2])
                    return True
            except Closed:
                pass
            except FailedToStartChild as error:
                cause = error.cause if isinstance(error.cause, Crashed) else crashed(error)
                raise AskFailed(actor, cause, f"{actor} could not be started ({cause})") from error
            await self.reports.wait_next(LOOK_S)  # the supervisor starts, or its next life is to come
        return False

    async def _ensure_service(self, actor: ActorId) -> bool:
        name = known_service(self.app, actor)
        if name is None:
            return False
        task = self._starting.get(name)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            # Also after a start that failed: what was missing, such as Redis, may be there now.
            task = self._starting[name] = asyncio.get_running_loop().create_task(self._start_service(name))
        await asyncio.shield(task)
        return True

    async def stop(self) -> None:
        """Stops the user's tree, then the services, each in reverse start order."""
        assert self._runtime is not None
        self.released = _nobody_minds  # all end now, and nobody is to start them again
        for root in (self.app, services_root(self.app)):
            cell = self._runtime.cells.get(root)
            if cell is not None:
                cell.stop(Shutdown(detail="the app was stopped"), None)
                await cell.wait_ended()

    async def walk(self, stats: Stats) -> AsyncIterator[Stretch]:
        """The tree of every root that runs, the user's first; others run between two stretches.

        The children of a supervisor are those of one moment; each is told as it is when the walk comes to it.
        """
        nodes: list[TreeNode] = []
        depths: list[int] = []
        for node, depth in self._walk(stats):
            nodes.append(node)
            depths.append(depth)
            if len(nodes) == STRETCH_NODES:
                yield Stretch(nodes=tuple(nodes), depths=tuple(depths))
                nodes, depths = [], []
                await asyncio.sleep(0)
        if nodes:
            yield Stretch(nodes=tuple(nodes), depths=tuple(depths))

    def _walk(self, stats: Stats) -> Iterator[tuple[TreeNode, int]]:
        for root in (self.app, services_root(self.app)):
            if self.supervisor(root) is not None:
                yield self._root_node(root), 0
                yield from self._below(root, stats, 1)

    def _below(self, actor: ActorId, stats: Stats, depth: int) -> Iterator[tuple[TreeNode, int]]:
        supervisor = self.supervisor(actor)
        for row in supervisor.rows_one_by_one() if supervisor is not None else ():
            yield self._child_node(row, stats), depth
            if row.kind is Kind.SUPERVISOR:
                yield from self._below(ActorId(row.actor), stats, depth + 1)

    def _child_node(self, row: ChildRow, stats: Stats) -> TreeNode:
        actor = ActorId(row.actor)
        state, mailbox, node = stats(actor, HostId(row.host or ""))
        strategy, intensity = "", ""
        if row.kind is Kind.SUPERVISOR and self.supervisor(actor) is not None:
            node = platform.node()  # supervisors live here, and of this process no host tells
            strategy, intensity = self._rules(actor)
        return TreeNode(
            id=row.actor,
            kind=row.kind.value,
            state=row.state if row.state != "running" else state or row.state,
            incarnation=row.incarnation,
            mailbox=mailbox,
            restarts=row.restarts,
            pid=row.pid or 0,
            host=row.host or "",
            node=node,
            last_reason=row.last_reason,
            restart=row.restart.value,
            strategy=strategy,
            intensity=intensity,
        )

    def _root_node(self, actor: ActorId) -> TreeNode:
        assert self._runtime is not None
        cell = self._runtime.cells[actor]
        strategy, intensity = self._rules(actor)
        return TreeNode(
            id=actor,
            kind=Kind.SUPERVISOR.value,
            state=cell.state.value,
            incarnation=cell.incarnation,
            pid=self._runtime.pid,
            host=self._runtime.host,
            node=platform.node(),
            strategy=strategy,
            intensity=intensity,
        )

    def _rules(self, supervisor: ActorId) -> tuple[str, str]:
        """Its strategy, and how many restarts it bears."""
        assert self._runtime is not None
        spec = self._runtime.cells[supervisor].request.target
        assert isinstance(spec, AnySupervisorSpec)
        strategy = spec.strategy if isinstance(spec, SupervisorSpec) else Strategy.ONE_FOR_ONE
        return strategy.value, f"{spec.max_restarts} in {spec.within_s:g} s"

    @property
    def starter(self) -> Starter:
        """What starts and ends the children of every supervisor here."""
        assert self._starter is not None
        return self._starter

    def rows(self) -> Iterator[ChildRow]:
        """Every child of every supervisor that runs, a supervisor before its own children."""
        for root in (self.app, services_root(self.app)):
            yield from self._rows_below(root)

    def row(self, actor: ActorId) -> ChildRow | None:
        """What the supervisor of an actor knows of it; None when it has no such child, or does not run itself."""
        supervisor = self.supervisor(parent_id(actor))
        return supervisor.row(actor) if supervisor is not None else None

    def runs(self, actor: ActorId) -> bool:
        """True for a supervisor that has started all its children and does not end."""
        assert self._runtime is not None
        return self.supervisor(actor) is not None and self._runtime.cells[actor].state is State.RUNNING

    def supervisor(self, actor: ActorId) -> SupervisorOfAnySort | None:
        """The supervisor of that id, of any sort, while it runs."""
        cell = self._runtime.cells.get(actor) if self._runtime is not None else None
        behavior = cell.behavior if cell is not None else None
        return behavior if isinstance(behavior, SupervisorOfAnySort) else None

    def _rows_below(self, actor: ActorId) -> Iterator[ChildRow]:
        supervisor = self.supervisor(actor)
        for row in supervisor.rows() if supervisor is not None else ():
            yield row
            yield from self._rows_below(ActorId(row.actor))

    async def _start_root(self, actor: ActorId, spec: SupervisorSpec) -> None:
        assert self._runtime is not None
        request = StartRequest(actor=actor, incarnation=self.next_incarnation(), target=spec, survives_exit=False)
        failed = await self._runtime.start(request)
        if failed is not None:
            raise AppNotStarted(self.app, failed)

    async def _start_service(self, name: str) -> None:
        root = services_root(self.app)
        config = await self._make_config()
        async with self._starting_services:  # two services may be needed for the first time at once
            if self.supervisor(root) is None:
                await self._start_root(root, Supervisor(max_restarts=10, within_s=60.0))
        supervisor = self.supervisor(root)
        assert isinstance(supervisor, SupervisorBehavior)
        await supervisor.start_child(service_spec(name, config))

    def _released(self, actor: ActorId) -> None:
        self.released(actor)

    def _root_ended(self, cell: Cell, reason: ExitReason) -> None:
        if cell.actor == self.app and not self.ended.done():
            self.ended.set_result(reason)
        if cell.actor == services_root(self.app) and reason.abnormal:
            log.error("the services of the app gave up; the next use starts them again", reason=str(reason))
            self._starting.clear()


def _nobody_minds(actor: ActorId) -> None:
    pass


def parent_id(actor: ActorId) -> ActorId:
    """The id of who supervises or spawned an actor; empty for a root."""
    return ActorId(actor.rpartition("/")[0])
