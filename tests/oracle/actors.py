"""What is supervised on our side: specs, workers that end as they are told, supervisors that tell of their start."""

from __future__ import annotations

import asyncio
from typing import Protocol

from regrow.runtime.address import ActorId
from regrow.runtime.context import CellContext
from regrow.runtime.lifecycle import ExitReason, Killed, Normal, crashed
from regrow.runtime.lifecycle import Shutdown as ShutdownReason
from regrow.runtime.message import Message
from regrow.runtime.starter import StartRequest
from regrow.supervisors import (
    AnySupervisorSpec,
    ChildSpec,
    DynamicSupervisor,
    DynamicSupervisorBehavior,
    Strategy,
    Supervisor,
    SupervisorBehavior,
    child,
)
from tests.oracle.trace import Kid, Sup


class Stage(Protocol):
    """Where the starts are written down."""

    async def begins(self, actor: ActorId) -> None:
        """A life initialises; raises Boom when it was told to fail."""
        ...

    def is_killed(self, supervisor: ActorId) -> None:
        """A supervisor was killed, and takes with it whoever is below."""
        ...


class Boom(Exception):
    """What the workers fail with."""


class End(Message):
    """Tells a worker to end in order; `how` as in Exit."""

    how: str


REASONS: dict[str, ExitReason] = {
    "normal": Normal(),
    "shutdown": ShutdownReason(),
    "detail": ShutdownReason(detail="detail"),
    "error": crashed(Boom("told to")),
    "kill": Killed(),
}


def supervisor_spec(sup: Sup) -> AnySupervisorSpec:
    """The tree as our own specs."""
    if sup.dynamic:
        (made_of,) = sup.kids
        return DynamicSupervisor(child_spec(made_of), max_restarts=sup.max_restarts, within_s=float(sup.within_s))
    return Supervisor(
        strategy=Strategy(sup.strategy),
        max_restarts=sup.max_restarts,
        within_s=float(sup.within_s),
        auto_shutdown=sup.auto_shutdown,
        children=[child_spec(kid) for kid in sup.kids],
    )


def child_spec(kid: Kid) -> ChildSpec:
    """One child as our own spec."""
    target = supervisor_spec(kid.target) if isinstance(kid.target, Sup) else TARGETS[kid.target]
    return child(target, kid.id, restart=kid.restart, shutdown_s=kid.shutdown_s, significant=kid.significant)


class Worker:
    """A worker of any of the three kinds."""

    def __init__(self, stage: Stage, request: StartRequest) -> None:
        self.stage = stage
        self._kind = request.target
        self._by_itself = False

    async def started(self, ctx: CellContext) -> None:
        await self.stage.begins(ctx.id)

    async def handle(self, message: Message, ctx: CellContext) -> None:
        assert isinstance(message, End)
        self._by_itself = True
        ctx.stop(REASONS[message.how])

    async def stopping(self, reason: ExitReason, ctx: CellContext) -> None:
        if self._by_itself:
            return
        if self._kind is Sour:
            raise Boom("does not stop nicely")
        if self._kind is Stubborn:
            await asyncio.get_running_loop().create_future()


class Plain(Worker):
    """Stops when it is told to."""


class Sour(Worker):
    """Fails while it stops."""


class Stubborn(Worker):
    """Does not hear that it should stop."""


TARGETS: dict[str, type[Worker]] = {"plain": Plain, "sour": Sour, "stubborn": Stubborn}


class OurSupervisor(SupervisorBehavior):
    """Ours, as it is; its start is written down, and fails when it was told to."""

    stage: Stage

    async def started(self, ctx: CellContext) -> None:
        await self.stage.begins(ctx.id)
        await super().started(ctx)

    async def ended(self, reason: ExitReason) -> None:
        if isinstance(reason, Killed):
            self.stage.is_killed(self._children.supervisor)
        await super().ended(reason)

    async def hold(self, gate: asyncio.Event) -> bool:
        """Keeps it busy until the gate opens."""
        return await self._turn(gate.wait)


class OurDynamic(DynamicSupervisorBehavior):
    """Ours, too; a trace names its children, since their numbers say nothing to OTP."""

    stage: Stage

    async def started(self, ctx: CellContext) -> None:
        await self.stage.begins(ctx.id)
        await super().started(ctx)

    async def ended(self, reason: ExitReason) -> None:
        if isinstance(reason, Killed):
            self.stage.is_killed(self._children.supervisor)
        await super().ended(reason)

    async def hold(self, gate: asyncio.Event) -> bool:
        """Keeps it busy until the gate opens."""
        return await self._turn(gate.wait)

    async def start_named(self, id: str) -> None:
        """What start_child does, with that id."""
        await self._turn(lambda: self._start_child(id, None))


ANY_SUPERVISOR = (OurSupervisor, OurDynamic)
