"""What an operator may do with the children of a supervisor, as in OTP.

`Administration` holds a supervisor's children and their lives; `SupervisorBehavior` adds the decisions.
Each call waits for its turn in the supervisor's mailbox, so that it never meets a restart half done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from regrow.runtime.address import Incarnation
from regrow.runtime.context import CellContext
from regrow.runtime.starter import Starter
from regrow.supervisors.children import Child, ChildCounts, ChildList, ChildRow, Life
from regrow.supervisors.errors import AlreadyPresent, AlreadyStarted, ChildRunning
from regrow.supervisors.intensity import Intensity
from regrow.supervisors.lives import Lives, failed_to_start
from regrow.supervisors.report import ReportKind, SupervisorReport, bounded
from regrow.supervisors.spec import ChildSpec, Restart, SupervisorSpec
from regrow.supervisors.strategy import Status
from regrow.supervisors.turns import Turns

T = TypeVar("T")

ACTIVE = (Status.RUNNING, Status.RESTARTING)
"""What OTP calls running or restarting: the child is its supervisor's business, not the operator's."""


class Administration:
    """The children of one supervisor, and what may be asked about them in its own process."""

    def __init__(
        self,
        spec: SupervisorSpec,
        starter: Starter,
        *,
        incarnations: Callable[[], Incarnation],
        time: Callable[[], float],
        report: Callable[[SupervisorReport], None],
    ) -> None:
        self._spec = spec
        self._time = time
        self._report = report
        self._intensity = Intensity(max_restarts=spec.max_restarts, within_s=spec.within_s, backoff=spec.backoff)
        self._retries: dict[str, int] = {}
        self._turns = Turns()
        self._begun: CellContext | None = None
        self._comes_back = True
        self._children = ChildList()
        self._lives = Lives(
            starter,
            self._children,
            incarnations=incarnations,
            started=self._child_started,
            terminated=self._child_terminated,
        )

    # ---- asked by others -----------------------------------------------------------------------

    def rows(self) -> tuple[ChildRow, ...]:
        """The children as they are at this moment, even in the middle of a restart; () before the start."""
        return self._children.rows()

    async def which_children(self) -> tuple[ChildRow, ...]:
        """The children in start order, between restarts."""

        async def read() -> tuple[ChildRow, ...]:
            return self._children.rows()

        return await self._turn(read)

    async def count_children(self) -> ChildCounts:
        """How many children there are, between restarts."""

        async def count() -> ChildCounts:
            return self._children.counts()

        return await self._turn(count)

    async def get_childspec(self, id: str) -> ChildSpec:
        """The spec of a child. Raises NoSuchChild."""

        async def find() -> ChildSpec:
            return self._children.named(id).spec

        return await self._turn(find)

    async def start_child(self, spec: ChildSpec) -> ChildRow:
        """Adds a child, the last in start order, and starts it.

        Raises:
            AlreadyStarted: a child of that id runs.
            AlreadyPresent: a child of that id is there and does not run, or waits for its restart.
            FailedToStartChild: it did not start, and nothing is known of it any more.
            SpecError: this supervisor can not have such a child.
        """
        return await self._turn(partial(self._start_child, spec))

    async def stop_child(self, id: str) -> None:
        """Stops a child and returns when it is dead; also one that waits for its restart, or does not run.

        Only restart_child starts it again; a temporary one is removed. Raises NoSuchChild.
        """
        death = await self._turn(partial(self._stop_child, id))
        if death is not None:  # outside the turn: an unconfirmed death must not hold up the siblings
            await asyncio.wait((death,))

    async def restart_child(self, id: str) -> ChildRow:
        """Starts a child that does not run.

        Raises:
            NoSuchChild: there is no child of that id.
            ChildRunning: it runs, waits for its restart, or its last life is not certainly over.
            FailedToStartChild: it did not start, and is as it was.
        """
        return await self._turn(partial(self._restart_child, id))

    async def delete_child(self, id: str) -> None:
        """Removes a child that does not run. Raises NoSuchChild, or ChildRunning as restart_child does."""
        await self._turn(partial(self._delete_child, id))

    # ---- in the supervisor's turn --------------------------------------------------------------

    async def _turn(self, run: Callable[[], Awaitable[T]]) -> T:
        return await self._turns.wait_turn(self._begun, run)

    async def _start_child(self, spec: ChildSpec) -> ChildRow:
        replace(self._spec, children=(spec,))  # raises SpecError for what `Supervisor(children=…)` would refuse
        supervisor = self._supervisor
        present = self._children.get(spec.id)
        if present is not None:
            raise (AlreadyStarted if present.status is Status.RUNNING else AlreadyPresent)(supervisor, spec.id)
        child = self._children.add(spec)
        try:
            return await self._start_by_order(child)
        finally:
            if child.life is Life.NONE and child.status is not Status.RUNNING:
                self._children.remove(child)

    async def _stop_child(self, id: str) -> asyncio.Future[None] | None:
        """Returns the death to wait for: of this life, since another may follow before the caller looks."""
        child = self._children.named(id)
        self._retries.pop(id, None)
        await self._lives.end(child)
        self._intensity = self._intensity.forgotten(id)
        if child.spec.restart is Restart.TEMPORARY:
            self._remove(child)
        else:
            self._set_aside(child, Status.STOPPED)
        return child.death

    async def _restart_child(self, id: str) -> ChildRow:
        return await self._start_by_order(self._inactive(id))

    async def _delete_child(self, id: str) -> None:
        self._remove(self._inactive(id))
        self._intensity = self._intensity.forgotten(id)

    async def _start_by_order(self, child: Child) -> ChildRow:
        """An operator's start is tried once; the operator hears of its failure and nobody retries."""
        cause = await self._lives.start(child)
        if cause is not None:
            self._tell(ReportKind.START_FAILED, child)
            self._lives.forget(child)
            raise failed_to_start(child.id, cause)
        return child.row()

    def _inactive(self, id: str) -> Child:
        child = self._children.named(id)
        if child.status in ACTIVE or child.life is not Life.NONE:
            raise ChildRunning(self._supervisor, id)
        return child

    @property
    def _supervisor(self) -> str:
        return self._children.supervisor

    # ---- bookkeeping ---------------------------------------------------------------------------

    def _remove(self, child: Child) -> None:
        """Nothing is known of it any more, once its death is certain."""
        if child.unconfirmed:
            child.leaves, child.status = True, Status.STOPPED
            return
        self._children.remove(child)
        self._lives.forget(child)

    def _set_aside(self, child: Child, status: Status) -> None:
        """It stays known and does not run; who asks it now must not wait for a life that may never come."""
        child.status = status
        self._lives.forget(child)

    def _forget_ended(self) -> None:
        """Those that have no next life: all if this supervisor has none, else those its spec does not name."""
        lasting = {spec.id for spec in self._spec.children} if self._comes_back else frozenset[str]()
        for child in reversed(self._children):
            if child.id not in lasting:
                self._lives.forget(child)

    def _child_started(self, child: Child) -> None:
        self._intensity = self._intensity.started(child.id, now_s=self._time())
        self._tell(ReportKind.CHILD_STARTED, child)

    def _child_terminated(self, child: Child) -> None:
        self._intensity = self._intensity.stopped(child.id, now_s=self._time())
        self._tell(ReportKind.CHILD_TERMINATED, child)

    def _tell(self, kind: ReportKind, child: Child, *, delay_s: float = 0.0) -> None:
        self._report(
            SupervisorReport(
                kind=kind,
                supervisor=self._supervisor,
                child=child.id,
                incarnation=child.incarnation,
                reason=None if kind is ReportKind.CHILD_STARTED else bounded(child.last_reason),
                restarts=len(self._intensity.attempts),
                delay_s=delay_s,
            )
        )
