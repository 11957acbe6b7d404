"""The supervisor: starts its children, notices their ends, and does what the deciders say.

It is a behavior like any other: every restart, retry and request is one turn, so they never
interleave. Only deaths are noted between turns, since a turn may be waiting for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from regrow.runtime.address import Incarnation
from regrow.runtime.context import CellContext
from regrow.runtime.errors import Refused
from regrow.runtime.lifecycle import Down, Exited, ExitReason, ExitSignal
from regrow.runtime.message import Message
from regrow.runtime.starter import Starter
from regrow.supervisors.administration import Administration
from regrow.supervisors.children import spec_row
from regrow.supervisors.dynamic import DynamicSupervisorBehavior
from regrow.supervisors.keyed import KeyedSupervisorBehavior
from regrow.supervisors.lives import leave_to_parent
from regrow.supervisors.report import SupervisorReport
from regrow.supervisors.requests import (
    ChildDeleted,
    CountChildren,
    DeleteChild,
    GetChildSpec,
    RestartChild,
    StartChild,
    StopChild,
    WhichChildren,
)
from regrow.supervisors.restarts import RetryStart
from regrow.supervisors.spec import AnySupervisorSpec, KeyedSpec, SupervisorSpec
from regrow.supervisors.turns import TakeTurn


class SupervisorBehavior(Administration):
    """Supervises the children of one spec, by the rules of SEMANTICS 2.

    `incarnations` gives a number that only grows, `time` monotonic seconds, `jitter` a random number
    in [0, 1); `report` is told of every event and must not raise. The methods for administration
    are called in the supervisor's own process; each waits for its turn between restarts.
    """

    async def started(self, ctx: CellContext) -> None:
        """Starts the children in spec order.

        Raises FailedToStartChild when one does not start; then nothing of any of them is left. The
        same holds when the start is cancelled.
        """
        self._begin(ctx)
        self._children.begin(ctx.id, self._spec.children)
        complete = False
        try:
            requests = await self._lives.prepare()
            for child in self._children:
                cause = await self._lives.start(child, requests[child.id])
                if cause is not None:
                    error = self._not_started(child, cause)
                    leave_to_parent(error)
                    raise error
            complete = True
        finally:
            if not complete:
                await self._lives.end_all()
                for child in reversed(self._children):
                    self._lives.forget(child)

    async def handle(self, message: Message, ctx: CellContext) -> Message | None:
        """Decides on an exit, tries a start again, or answers."""
        match message:
            case Exited():
                await self._child_exited(message, ctx)
            case RetryStart():
                await self._retry(message, ctx)
            case TakeTurn():
                return await self._turns.take(message, ctx)
            case WhichChildren():
                return self._some_rows(message.skip)
            case CountChildren():
                return self._counts()
            case StopChild():
                await self._stop_child(message.id, message.incarnation)
                return self._child_stopped(message.id)
            case StartChild():
                return await self._answered(self._start_child(self._wanted(message, ctx)))
            case RestartChild():
                return await self._answered(self._restart_child(message.id))
            case GetChildSpec():
                return spec_row(self._children.named(message.id).spec)
            case DeleteChild():
                await self._delete_child(message.id)
                return ChildDeleted()
            case ExitSignal() | Down():
                pass  # whoever links with a supervisor does not take it along
            case _:
                raise Refused(f"{ctx.id} is a supervisor and has no use for {type(message).__name__}")
        return None

    async def stopping(self, reason: ExitReason, ctx: CellContext) -> None:
        """Stops the children one by one in reverse start order; returns when all are dead."""
        await self._lives.end_all()
        self._forget_ended()

    async def ended(self, reason: ExitReason) -> None:
        """Kills what is left after a crash, a kill or a start cut short; returns when all are dead."""
        await self._lives.kill_all()
        self._forget_ended()
        self._lives.leave()


SupervisorOfAnySort: TypeAlias = SupervisorBehavior | DynamicSupervisorBehavior | KeyedSupervisorBehavior
"""The behavior of a supervisor."""


def supervisor_behavior(
    spec: AnySupervisorSpec,
    starter: Starter,
    *,
    incarnations: Callable[[], Incarnation],
    time: Callable[[], float],
    jitter: Callable[[], float],
    report: Callable[[SupervisorReport], None],
) -> SupervisorOfAnySort:
    """The behavior for a spec of any sort; see SupervisorBehavior for the arguments."""
    if isinstance(spec, SupervisorSpec):
        return SupervisorBehavior(spec, starter, incarnations=incarnations, time=time, jitter=jitter, report=report)
    if isinstance(spec, KeyedSpec):
        return KeyedSupervisorBehavior(
            spec, starter, incarnations=incarnations, time=time, jitter=jitter, report=report
        )
    return DynamicSupervisorBehavior(spec, starter, incarnations=incarnations, time=time, jitter=jitter, report=report)
