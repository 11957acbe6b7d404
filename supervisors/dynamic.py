"""The supervisor of many children that are made of one spec while it runs: OTP's simple_one_for_one.

Each child has a number for an id, which no other life of this supervisor gives again, so that a ref
never comes to mean somebody else. All that is done for one child costs the same beside ten and beside
ten thousand others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from regrow.runtime.address import Incarnation
from regrow.runtime.context import CellContext
from regrow.runtime.errors import Refused
from regrow.runtime.lifecycle import Down, Exited, ExitReason, ExitSignal
from regrow.runtime.message import Message
from regrow.runtime.packing import Opaque
from regrow.runtime.placement import Packed
from regrow.runtime.starter import Starter
from regrow.supervisors.children import Child, ChildCounts, ChildRow, Life, spec_row
from regrow.supervisors.errors import DynamicChild, MaxChildren, UnfitChild
from regrow.supervisors.report import SupervisorReport
from regrow.supervisors.requests import (
    ANY_LIFE,
    CountChildren,
    DeleteChild,
    GetChildSpec,
    RestartChild,
    StartChild,
    StopChild,
    WhichChildren,
)
from regrow.supervisors.restarts import Restarts, RetryStart
from regrow.supervisors.spec import ChildSpec, DynamicSupervisorSpec, Kind, SupervisorSpec
from regrow.supervisors.strategy import Status
from regrow.supervisors.turns import TakeTurn


class DynamicSupervisorBehavior(Restarts):
    """Supervises as many children of one spec as it is asked for, by the rules of SEMANTICS 2.

    The arguments are those of SupervisorBehavior; so is what its methods for administration promise.
    """

    def __init__(
        self,
        spec: DynamicSupervisorSpec,
        starter: Starter,
        *,
        incarnations: Callable[[], Incarnation],
        time: Callable[[], float],
        jitter: Callable[[], float],
        report: Callable[[SupervisorReport], None],
    ) -> None:
        rules = SupervisorSpec(max_restarts=spec.max_restarts, within_s=spec.within_s, backoff=spec.backoff)
        super().__init__(rules, starter, incarnations=incarnations, time=time, jitter=jitter, report=report)
        self._max_children = spec.max_children
        self._template = spec.child

    # ---- asked by others -----------------------------------------------------------------------

    async def start_child(self, config: object | None = None) -> ChildRow:
        """Starts one more child with this config, or with that of the spec.

        Raises:
            MaxChildren: there are as many as there may be.
            FailedToStartChild: it did not start, and nothing is known of it any more.
        """
        return await self._turn(lambda: self._start_child(self._free_id(), config))

    async def stop_child(self, id: str, incarnation: int = ANY_LIFE) -> None:
        """Stops a child and returns when it is dead; nothing is known of it any more.

        Also one that waits for its restart; and nothing happens where there is none, as in OTP. With an
        `incarnation` only that life of it is meant: nothing happens when it is over and another runs.
        """
        child = await self._turn(partial(self._stop_child, id, incarnation))
        if child is not None:  # outside the turn: an unconfirmed death must not hold up the siblings
            await child.wait_dead()

    async def get_childspec(self, id: str) -> ChildSpec:
        """The spec of a child; where there is none, the one of which all are made, as in OTP."""

        async def find() -> ChildSpec:
            return self._spec_of(id)

        return await self._turn(find)

    # ---- what the cell calls -------------------------------------------------------------------

    async def started(self, ctx: CellContext) -> None:
        """Begins without children."""
        self._begin(ctx)
        self._children.begin(ctx.id, ())
        if self._template.placement is None and self._template.kind is Kind.WORKER:
            self._template = replace(self._template, placement=Packed(ctx.id))

    async def handle(self, message: Message, ctx: CellContext) -> Message | None:
        """Decides on an exit, tries a start again, or answers."""
        match message:
            case Exited():
                await self._child_exited(message, ctx)
            case RetryStart():
                await self._retry(message, ctx)
            case TakeTurn():
                return await self._turns.take(message, ctx)
            case StartChild():
                if message.spec:
                    told = "it is a DynamicSupervisor and makes all its children of one spec; give a config or nothing"
                    raise UnfitChild(ctx.id, told)
                config = Opaque(packed=message.config) if message.config else None
                return await self._answered(self._start_child(self._free_id(), config))
            case StopChild():
                await self._stop_child(message.id, message.incarnation)
                return self._child_stopped(message.id)
            case GetChildSpec():
                return spec_row(self._spec_of(message.id))
            case WhichChildren():
                return self._some_rows(message.skip)
            case CountChildren():
                return self._counts()
            case RestartChild() | DeleteChild():
                raise DynamicChild(ctx.id, message.id)
            case ExitSignal() | Down():
                pass  # whoever links with a supervisor does not take it along
            case _:
                raise Refused(f"{ctx.id} is a supervisor and has no use for {type(message).__name__}")
        return None

    async def stopping(self, reason: ExitReason, ctx: CellContext) -> None:
        """Stops all children at once, with one deadline for all; returns when all are dead."""
        await self._lives.end_together(self._template.shutdown_s)
        self._forget_ended()

    async def ended(self, reason: ExitReason) -> None:
        """Kills what is left after a crash or a kill; returns when all are dead."""
        await self._lives.kill_together()
        self._forget_ended()
        self._lives.leave()

    # ---- in the supervisor's turn --------------------------------------------------------------

    def _spec_of(self, id: str) -> ChildSpec:
        child = self._children.get(id)
        return child.spec if child is not None else self._template

    def _free_id(self) -> str:
        return str(self._incarnations())

    async def _start_child(self, id: str, config: object | None) -> ChildRow:
        if len(self._children) >= self._max_children:
            raise MaxChildren(self._supervisor, self._max_children)
        if config is None:
            spec = replace(self._template, id=id)
        elif self._template.kind is Kind.SUPERVISOR:
            raise Refused(f"{self._supervisor} makes supervisors, which take no config; start its child without one")
        else:
            spec = replace(self._template, id=id, config=config)
        child = self._children.add(spec)
        try:
            return await self._start_by_order(child)
        finally:
            if child.life is Life.NONE and child.status is not Status.RUNNING:
                self._remove(child)  # also where the start was cut short, of which nobody else will know

    async def _stop_child(self, id: str, incarnation: int) -> Child | None:
        child = self._children.get(id)
        if child is None or incarnation not in (ANY_LIFE, child.last_up):
            return None
        self._retries.pop(id, None)
        await self._lives.end(child)
        self._intensity.forgotten(id)
        self._remove(child)
        return child

    def _finished(self, child: Child) -> None:
        """Nobody could ask for it again: it is gone."""
        self._remove(child)

    def _counts(self) -> ChildCounts:
        counts = self._children.counts()
        return counts.model_copy(update={"specs": 1})
