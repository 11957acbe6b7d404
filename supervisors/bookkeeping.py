"""What every supervisor keeps: its children, their lives, its restart window; and what it tells of them.

`Restarts` adds what it does when a child ends; `SupervisorBehavior` and `DynamicSupervisorBehavior` are
the two sorts of supervisors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import TypeVar

from regrow.runtime.address import Incarnation
from regrow.runtime.context import CellContext
from regrow.runtime.lifecycle import Cleared, Crashed, Refund
from regrow.runtime.starter import Starter
from regrow.supervisors.children import ROWS_LIMIT, Child, ChildCounts, ChildList, ChildRow, ChildRows
from regrow.supervisors.errors import FailedToStartChild
from regrow.supervisors.intensity import Intensity
from regrow.supervisors.lives import Lives, failed_to_start
from regrow.supervisors.report import ReportKind, SupervisorReport, bounded
from regrow.supervisors.requests import ChildStopped, NotStarted, not_started
from regrow.supervisors.spec import SupervisorSpec
from regrow.supervisors.strategy import Status
from regrow.supervisors.turns import Turns

T = TypeVar("T")


class Bookkeeping:
    """The children of one supervisor. `rules` is its spec, whose children are those that come back with it."""

    def __init__(
        self,
        rules: SupervisorSpec,
        starter: Starter,
        *,
        incarnations: Callable[[], Incarnation],
        time: Callable[[], float],
        report: Callable[[SupervisorReport], None],
    ) -> None:
        self._spec = rules
        self._incarnations = incarnations
        self._time = time
        self._report = report
        self._intensity = Intensity(max_restarts=rules.max_restarts, within_s=rules.within_s, backoff=rules.backoff)
        self._retries: OrderedDict[str, int] = OrderedDict()
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
        return tuple(self._children.rows())

    def rows_one_by_one(self) -> Iterator[ChildRow]:
        """The same children, each as it is when the iterator comes to it: with ten thousand, others run in between."""
        return self._children.rows()

    def row(self, actor: str) -> ChildRow | None:
        """One of them by its full id; None where it is no child."""
        child = self._children.of_actor(actor)
        return child.row() if child is not None else None

    async def which_children(self) -> tuple[ChildRow, ...]:
        """The children in start order, between restarts."""

        async def read() -> tuple[ChildRow, ...]:
            return tuple(self._children.rows())

        return await self._turn(read)

    async def count_children(self) -> ChildCounts:
        """How many children there are, between restarts."""

        async def count() -> ChildCounts:
            return self._counts()

        return await self._turn(count)

    def on_word_of_child(self, word: Refund | Cleared) -> None:
        """See BehaviorTraits. Of who is no child any more there is nothing to refund."""
        child = self._children.of_actor(word.actor)
        if child is None:
            return
        if isinstance(word, Refund):
            self._intensity.refund(child.id, restarts=word.restarts, until=word.until)
        else:
            self._lives.cleared(child)

    # ---- for the sorts of supervisors ----------------------------------------------------------

    def _begin(self, ctx: CellContext) -> None:
        """The supervisor learns who it is."""
        ctx.trap_exits()
        self._begun = ctx
        self._comes_back = ctx.runtime.cells[ctx.id].request.survives_exit

    async def _turn(self, run: Callable[[], Awaitable[T]]) -> T:
        return await self._turns.wait_turn(self._begun, run)

    def _counts(self) -> ChildCounts:
        return self._children.counts()

    def _some_rows(self, skip: int) -> ChildRows:
        """As many as one reply takes, from the one at place `skip` on."""
        some = islice(self._children, max(0, skip), max(0, skip) + ROWS_LIMIT)
        return ChildRows(children=tuple(child.row() for child in some), total=len(self._children))

    async def _start_by_order(self, child: Child) -> ChildRow:
        """An operator's start is tried once; the operator hears of its failure and nobody retries."""
        cause = await self._lives.start(child)
        if cause is not None:
            raise self._not_started(child, cause)
        return child.row()

    def _not_started(self, child: Child, cause: Crashed | FailedToStartChild) -> FailedToStartChild:
        self._tell(ReportKind.START_FAILED, child)
        self._lives.forget(child)
        return failed_to_start(child.id, cause)

    async def _answered(self, start: Awaitable[ChildRow]) -> ChildRow | NotStarted:
        """A failed start as an answer: it is no failure of the supervisor."""
        try:
            return await start
        except FailedToStartChild as error:
            return not_started(error)

    def _child_stopped(self, id: str) -> ChildStopped:
        child = self._children.get(id)
        return ChildStopped(confirmed=child is None or not child.unconfirmed)

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
        self._intensity.started(child.id, now_s=self._time())
        self._tell(ReportKind.CHILD_STARTED, child)

    def _child_restarted(self, child: Child) -> None:
        """A life has begun in place of one that ended."""
        child.restarts += 1
        if self._begun is not None:
            self._begun.runtime.metrics.restarted(child.last_reason)

    def _child_terminated(self, child: Child) -> None:
        self._intensity.stopped(child.id, now_s=self._time())
        self._tell(ReportKind.CHILD_TERMINATED, child)

    @property
    def _supervisor(self) -> str:
        return self._children.supervisor

    def _tell(self, kind: ReportKind, child: Child, *, delay_s: float = 0.0) -> None:
        self._report(
            SupervisorReport(
                kind=kind,
                supervisor=self._supervisor,
                child=child.id,
                incarnation=child.incarnation,
                reason=None if kind is ReportKind.CHILD_STARTED else bounded(child.last_reason),
                restarts=self._intensity.restarts,
                delay_s=delay_s,
                max_restarts=self._intensity.max_restarts,
                within_s=self._intensity.within_s,
                restart=child.spec.restart,
                host=child.host or "",
                pid=child.pid or 0,
            )
        )
