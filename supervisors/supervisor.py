"""The supervisor of fixed children: starts them, notices their ends, and does what the deciders say.

It is a behavior like any other: every restart, retry and request is one turn, so they never
interleave. Only deaths are noted between turns, since a turn may be waiting for one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from regrow.runtime.address import Incarnation
from regrow.runtime.context import CellContext
from regrow.runtime.errors import Refused
from regrow.runtime.lifecycle import Down, Escalated, Exited, ExitReason, ExitSignal, FreeExited, Shutdown
from regrow.runtime.message import Message
from regrow.runtime.starter import Starter
from regrow.supervisors.administration import Administration
from regrow.supervisors.children import REASON_LIMIT_CHARS, Child, ChildRows, CountChildren, WhichChildren
from regrow.supervisors.lives import failed_to_start, leave_to_parent
from regrow.supervisors.report import ReportKind, SupervisorReport
from regrow.supervisors.spec import Strategy, SupervisorSpec
from regrow.supervisors.strategy import ChildExit, Decision, Status, decide, decide_retry
from regrow.supervisors.turns import TakeTurn

WHOLE_GROUP = ""
"""With back-off, one retry is for all that wait under rest_for_one and one_for_all; no child has this id."""


class RetryStart(Message):
    """It is time to try a start again. `counted` when its restart has been recorded already."""

    child: str
    life: int
    number: int
    counted: bool


class SupervisorBehavior(Administration):
    """Supervises the children of one spec, by the rules of SEMANTICS 2.

    `incarnations` gives a number that only grows, `time` monotonic seconds, `jitter` a random number
    in [0, 1); `report` is told of every event and must not raise. The methods for administration
    are called in the supervisor's own process; each waits for its turn between restarts.
    """

    def __init__(
        self,
        spec: SupervisorSpec,
        starter: Starter,
        *,
        incarnations: Callable[[], Incarnation],
        time: Callable[[], float],
        jitter: Callable[[], float],
        report: Callable[[SupervisorReport], None],
    ) -> None:
        super().__init__(spec, starter, incarnations=incarnations, time=time, report=report)
        self._jitter = jitter
        self._numbers = itertools.count(1)
        self._last_event = ""

    # ---- what the cell calls -------------------------------------------------------------------

    async def started(self, ctx: CellContext) -> None:
        """Starts the children in spec order.

        Raises FailedToStartChild when one does not start; then nothing of any of them is left. The
        same holds when the start is cancelled.
        """
        ctx.trap_exits()
        self._begun = ctx
        self._comes_back = ctx.runtime.cells[ctx.id].request.survives_exit
        self._children.begin(ctx.id, self._spec.children)
        complete = False
        try:
            requests = await self._lives.prepare()
            for child in self._children:
                cause = await self._lives.start(child, requests[child.id])
                if cause is not None:
                    self._tell(ReportKind.START_FAILED, child)
                    error = failed_to_start(child.id, cause)
                    leave_to_parent(error)
                    raise error
            complete = True
        finally:
            if not complete:
                await self._lives.end_all()
                for child in reversed(self._children):
                    self._lives.forget(child)

    def on_exit_of_child(self, exited: Exited) -> bool:
        """See BehaviorTraits. What it leaves undecided comes back as a message, in its turn."""
        return self._lives.died(exited)

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
                return ChildRows(children=self._children.rows())
            case CountChildren():
                return self._children.counts()
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

    # ---- ends and restarts ---------------------------------------------------------------------

    async def _child_exited(self, message: Exited, ctx: CellContext) -> None:
        child = self._children.of_life(message.actor, message.incarnation)
        if child is None or child.exited is None:
            return  # an operation has settled it, or it is of an earlier life
        if child.status is not Status.RUNNING:
            await self._death_confirmed(child, ctx)
            return
        event, free = child.exited.event, isinstance(child.exited, FreeExited)
        exits: list[ChildExit] = []
        for other in self._children.undecided(child.exited):
            assert other.exited is not None
            exits.append(ChildExit(other.id, other.exited.reason))
            other.exited = None
        decision = decide(self._spec.strategy, self._children.states(), exits, auto_shutdown=self._spec.auto_shutdown)
        # A host's children may be told of one after the other; they stay one event (SEMANTICS 2).
        counted = free or (event != "" and event == self._last_event)
        if decision.counts:
            self._last_event = event
        await self._carry_out(decision, ctx, counted=counted)

    async def _death_confirmed(self, child: Child, ctx: CellContext) -> None:
        """The life of which nobody knew whether it was over: it is, so what waited for that goes on."""
        child.exited = None
        if child.leaves:
            self._remove(child)
        elif child.status not in (Status.RESTARTING, Status.WAITING):
            self._lives.forget(child)
        if child.status is not Status.RESTARTING:  # an operator stopped it; who waited for its death only goes on
            for other in self._children:
                if other.status is Status.WAITING:
                    other.status = Status.RESTARTING
        alone = self._spec.strategy is Strategy.ONE_FOR_ONE
        if not (child.id in self._retries if alone else self._retries):
            decision = decide_retry(self._spec.strategy, self._children.states(), child.id)
            await self._carry_out(decision, ctx, counted=True)

    async def _retry(self, message: RetryStart, ctx: CellContext) -> None:
        key = self._retry_key(message.child)
        if message.life != ctx.incarnation or self._retries.get(key) != message.number:
            return  # taken back, or of an earlier life
        del self._retries[key]
        child = self._children.get(message.child)
        if self._retries and (child is None or child.status is not Status.RESTARTING):
            return  # it runs again, or was stopped; those that failed meanwhile have a retry of their own
        decision = decide_retry(self._spec.strategy, self._children.states(), message.child)
        await self._carry_out(decision, ctx, counted=message.counted)

    async def _carry_out(self, decision: Decision, ctx: CellContext, *, counted: bool) -> None:
        """Counts, stops, forgets and starts. `counted`: this restart is in the window already."""
        delay_s = 0.0
        if decision.counts and not counted:
            cause = self._children.named(decision.caused_by[0])
            verdict = self._intensity.record(cause.id, now_s=self._time(), jitter=self._jitter())
            self._intensity, delay_s = verdict.intensity, verdict.delay_s
            kind = ReportKind.ESCALATED if verdict.escalates else ReportKind.RESTARTING
            self._tell(kind, cause, delay_s=delay_s)
            if verdict.escalates:
                why = str(cause.last_reason)[:REASON_LIMIT_CHARS]
                ctx.stop(Escalated(child=cause.id, restarts=len(verdict.intensity.attempts), cause=why))
                return
        for id in decision.caused_by:
            self._children.named(id).status = Status.RESTARTING
        for id in decision.stop:
            await self._lives.end(self._children.named(id))
        for id in decision.forget:
            self._remove(self._children.named(id))
        for id in decision.finish:
            self._set_aside(self._children.named(id), Status.FINISHED)
        for id in decision.start:
            if id not in decision.caused_by:
                self._children.named(id).status = Status.WAITING
        if decision.shuts_down:
            ctx.stop(Shutdown(detail="a significant child ended"))
        elif delay_s > 0:
            self._retry_later(decision, ctx, delay_s)
        else:
            await self._restart(decision.start, ctx)

    async def _restart(self, ids: Sequence[str], ctx: CellContext) -> None:
        """Starts these children in order; one that does not start is tried again in a later turn."""
        strategy = self._spec.strategy
        children = [self._children.named(id) for id in ids]
        for child in children:
            child.status = Status.RESTARTING if child.unconfirmed else Status.WAITING
        if strategy is Strategy.ONE_FOR_ALL and any(child.unconfirmed for child in children):
            return  # all begin together, when the last death is confirmed
        for child in children:
            failed = False
            if not child.unconfirmed:
                failed = await self._lives.start(child) is not None
                if failed:
                    child.status = Status.RESTARTING
                    self._tell(ReportKind.START_FAILED, child)
                    self._schedule(child, ctx, delay_s=0.0, counted=False)
                else:
                    child.restarts += 1
            if strategy is not Strategy.ONE_FOR_ONE and (failed or child.unconfirmed):
                return  # the later ones depend on this one; they wait with it

    def _retry_later(self, decision: Decision, ctx: CellContext, delay_s: float) -> None:
        """Back-off: what is to start waits in the mailbox and not in the turn."""
        alone = self._spec.strategy is Strategy.ONE_FOR_ONE
        for id in decision.start if alone else decision.caused_by[:1]:
            self._schedule(self._children.named(id), ctx, delay_s=delay_s, counted=True)

    def _schedule(self, child: Child, ctx: CellContext, *, delay_s: float, counted: bool) -> None:
        key = self._retry_key(child.id)
        if self._spec.backoff is None and key in self._retries:
            return  # it failed again before its retry came, which goes on at its place in the mailbox, as in OTP
        number = self._retries[key] = next(self._numbers)
        ctx.after(delay_s, RetryStart(child=child.id, life=ctx.incarnation, number=number, counted=counted))

    def _retry_key(self, id: str) -> str:
        alone = self._spec.strategy is Strategy.ONE_FOR_ONE or self._spec.backoff is None
        return id if alone else WHOLE_GROUP
