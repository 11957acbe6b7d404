"""A process with supervision trees whose agents fail when they are told to, on virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from regrow.runtime.address import ActorId, HostId, Incarnation
from regrow.runtime.cell import State
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.lifecycle import Crashed, Exited, ExitReason, Killed, Normal, Shutdown
from regrow.runtime.local_starter import LocalStarter
from regrow.runtime.message import Message, Request
from regrow.runtime.runtime import Runtime
from regrow.runtime.starter import KILLED_BY_SUPERVISOR, KillOutcome, Started, Starter, StartFailed, StartRequest
from regrow.runtime.testing import run_virtual
from regrow.supervisors import (
    AnySupervisorSpec,
    DynamicSupervisorBehavior,
    SupervisorBehavior,
    SupervisorReport,
    supervisor_behavior,
)
from tests.runtime.scripted import Nowhere

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.cell import Cell
    from regrow.runtime.context import CellContext
    from regrow.runtime.ref import ActorRef

P = ParamSpec("P")

SOON_S = 0.001
"""Long enough for everything that does not wait for time, short for everything that does."""


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Runs an async test on virtual time."""

    @wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(test(*args, **kwargs))

    return run


async def pass_time(seconds: float) -> None:
    """Lets virtual time pass."""
    await asyncio.wait((asyncio.get_running_loop().create_future(),), timeout=seconds)


class Pong(Message):
    life: int


class Ping(Request[Pong]):
    pass


class Crash(Message):
    pass


class Finish(Message):
    pass


class Hang(Message):
    """Be busy until somebody cancels this."""


class Boom(Exception):
    """What the agents of these tests fail with."""


class Actor:
    """An agent that does as it is told."""

    def __init__(self, stage: Stage, request: StartRequest) -> None:
        self.stage = stage
        self.id = stage.short(request.actor)
        self.starting = False
        self.over = False
        self.gone = False

    async def started(self, ctx: CellContext) -> None:
        stage = self.stage
        stage.log.append(f"start {self.id}")
        stage.lives[self.id] += 1
        if stage.lives[self.id] > 1:
            stage.doubled.add(self.id)
        self.starting = True
        failed = True
        try:
            if self.id in stage.start_takes_s:
                await pass_time(stage.start_takes_s[self.id])
            if stage.fail_starts[self.id]:
                stage.fail_starts[self.id] -= 1
                stage.log.append(f"fail {self.id}")
                raise Boom(f"{self.id} does not start")
            failed = False
        finally:
            self.starting = False
            if failed or self.gone:
                self.end_life()

    def end_life(self) -> None:
        """It is over. The code of a start that was killed may run on for a while, and is then still there."""
        self.gone = True
        if not self.over and not self.starting:
            self.over = True
            self.stage.lives[self.id] -= 1

    async def handle(self, message: Message, ctx: CellContext) -> Message | None:
        match message:
            case Ping():
                return Pong(life=ctx.incarnation)
            case Crash():
                raise Boom(self.id)
            case Finish():
                ctx.stop(Normal())
            case _:
                await asyncio.get_running_loop().create_future()
        return None

    async def stopping(self, reason: ExitReason, ctx: CellContext) -> None:
        takes_s = self.stage.stop_takes_s.get(self.id)
        if takes_s is not None:
            await pass_time(takes_s)
        self.stage.log.append(f"stop {self.id}")


class Stage:
    """Starts trees below `root`; everything is named by its path below that."""

    def __init__(self, make_starter: Callable[[Runtime], Starter] = LocalStarter) -> None:
        self.loop = asyncio.get_running_loop()
        self.log: list[str] = []
        self.reports: list[SupervisorReport] = []
        self.lives: Counter[str] = Counter()
        self.actors: dict[ActorId, Actor] = {}
        self.doubled: set[str] = set()
        """Those of which two lives ran at once."""
        self.fail_starts: Counter[str] = Counter()
        self.start_takes_s: dict[str, float] = {}
        self.stop_takes_s: dict[str, float] = {}
        self.runtime = Runtime(HostId("here"), make_behavior=self._make, directory=Nowhere())
        self.starter = make_starter(self.runtime)
        self._incarnations = itertools.count(1)
        self.exits: list[tuple[str, ExitReason]] = []
        announce = self.runtime.announce_exit

        def announced(cell: Cell, reason: ExitReason, *, quiet: bool) -> None:
            if not isinstance(cell.request.target, AnySupervisorSpec):
                self.actors[cell.actor].end_life()
            if not quiet:
                self.exits.append((self.short(cell.actor), reason))
            announce(cell, reason, quiet=quiet)

        self.runtime.announce_exit = announced  # type: ignore[method-assign]

    def _make(self, request: StartRequest) -> Behavior:
        if isinstance(request.target, AnySupervisorSpec):
            return supervisor_behavior(
                request.target,
                self.starter,
                incarnations=self.next_incarnation,
                time=self.loop.time,
                jitter=lambda: 0.0,
                report=self.reported,
            )
        actor = self.actors[request.actor] = Actor(self, request)
        return actor

    def reported(self, report: SupervisorReport) -> None:
        """A supervisor told of an event."""
        self.reports.append(report)

    def next_incarnation(self) -> Incarnation:
        return Incarnation(next(self._incarnations))

    @property
    def far(self) -> FarStarter:
        assert isinstance(self.starter, FarStarter)
        return self.starter

    def exit_of(self, path: str) -> ExitReason:
        """Why it ended last."""
        return next(reason for other, reason in reversed(self.exits) if other == path)

    def kinds(self) -> list[tuple[str, str]]:
        """What the supervisors reported: kind and child."""
        return [(report.kind.value, report.child) for report in self.reports]

    def short(self, actor: str) -> str:
        """The path below the root."""
        return actor.removeprefix("root/")

    def actor(self, path: str = "") -> ActorId:
        return ActorId(f"root/{path}" if path else "root")

    async def try_start(self, spec: AnySupervisorSpec) -> Crashed | None:
        request = StartRequest(ActorId("root"), self.next_incarnation(), spec, survives_exit=False)
        return await self.runtime.start(request)

    async def start(self, spec: AnySupervisorSpec) -> None:
        failed = await self.try_start(spec)
        assert failed is None, failed.traceback

    async def stop(self, grace_s: float | None = None) -> None:
        """Stops the tree in order and waits for its end."""
        cell = self.runtime.cells["root"]  # type: ignore[index]
        cell.stop(Shutdown(), grace_s)
        await cell.wait_ended()

    def ref(self, path: str = "") -> ActorRef:
        return self.runtime.ref(self.actor(path))

    def cell(self, path: str = "") -> Cell:
        return self.runtime.cells[self.actor(path)]

    def supervisor(self, path: str = "") -> SupervisorBehavior:
        behavior = self.cell(path).behavior
        assert isinstance(behavior, SupervisorBehavior)
        return behavior

    def dynamic(self, path: str = "") -> DynamicSupervisorBehavior:
        behavior = self.cell(path).behavior
        assert isinstance(behavior, DynamicSupervisorBehavior)
        return behavior

    async def tell(self, path: str, message: Message) -> None:
        """Sends and lets everything happen that needs no time."""
        self.ref(path).tell_nowait(message)
        await pass_time(SOON_S)

    async def crash(self, path: str) -> None:
        await self.tell(path, Crash())

    def alive(self) -> set[str]:
        """The paths of all that run, supervisors included, without the root."""
        return {
            self.short(actor)
            for actor, cell in self.runtime.cells.items()
            if cell.state is State.RUNNING and actor != "root"
        }

    def states(self, path: str = "") -> dict[str, str]:
        behavior = self.cell(path).behavior
        assert isinstance(behavior, SupervisorBehavior | DynamicSupervisorBehavior)
        return {row.id: row.state for row in behavior.rows()}

    def drain(self) -> list[str]:
        """What happened since the last look."""
        log, self.log = self.log, []
        return log


class FarStarter:
    """A starter whose agents live where news may be slow: deaths can be withheld, kills unconfirmed."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.local = LocalStarter(runtime)
        self.deaf: set[str] = set()
        """Actors that do not hear a stop."""
        self.lost: set[str] = set()
        """Actors that do not hear a stop and whose deaths nobody can confirm."""
        self.short_lived: set[str] = set()
        """Actors whose next life is over before their start has returned."""
        self.prepared: list[tuple[str, ...]] = []
        self.forgotten: list[str] = []

    async def prepare(self, requests: tuple[StartRequest, ...]) -> None:
        self.prepared.append(tuple(request.actor for request in requests))

    async def start(self, request: StartRequest) -> Started | StartFailed:
        outcome = await self.local.start(request)
        if request.actor in self.short_lived:
            self.short_lived.discard(request.actor)
            self.runtime.cells[request.actor].kill()
        return outcome

    async def stop(self, actor: ActorId, incarnation: Incarnation, reason: ExitReason, grace_s: float | None) -> None:
        if actor not in self.lost | self.deaf:
            await self.local.stop(actor, incarnation, reason, grace_s)

    async def kill(self, actor: ActorId, incarnation: Incarnation, detail: str = KILLED_BY_SUPERVISOR) -> KillOutcome:
        if actor in self.lost:
            return KillOutcome.UNCONFIRMED
        return await self.local.kill(actor, incarnation, detail)

    def forget(self, actor: ActorId) -> None:
        self.forgotten.append(actor)
        self.local.forget(actor)

    def lose(self, actor: str) -> None:
        """The actor's node does not answer any more."""
        self.lost.add(actor)

    async def confirm(self, actor: str) -> None:
        """The lost actor is dead after all."""
        self.lost.discard(actor)
        self.runtime.cells[ActorId(actor)].kill("its node is gone")
        await pass_time(SOON_S)

    def host_dies(self, *actors: str, event: str = "host-1") -> None:
        """All these actors end at once, by one event."""
        for actor in actors:
            cell = self.runtime.cells[ActorId(actor)]
            parent, cell.parent = cell.parent, None  # its keeper tells the parent, and says by which event
            cell.kill("host died")
            assert parent is not None
            exited = Exited(actor=actor, incarnation=cell.incarnation, reason=Killed(detail="host died"), event=event)
            self.runtime.delivery.send(Envelope(Kind.SIGNAL, parent, exited, self.runtime.origin))
