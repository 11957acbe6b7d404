"""What a supervisor does when a child ends or does not start: it asks the deciders and carries out what they say.

Every exit and every retry is one turn of the supervisor, so they never interleave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from regrow.runtime.address import Incarnation
from regrow.runtime.context import CellContext
from regrow.runtime.lifecycle import Escalated, Exited, FreeExited, Shutdown
from regrow.runtime.message import Message
from regrow.runtime.starter import Starter
from regrow.supervisors.bookkeeping import Bookkeeping
from regrow.supervisors.children import REASON_LIMIT_CHARS, Child, states_of
from regrow.supervisors.report import ReportKind, SupervisorReport
from regrow.supervisors.spec import AutoShutdown, Strategy, SupervisorSpec
from regrow.supervisors.strategy import (
    ChildExit,
    ChildState,
    Decision,
    Status,
    decide,
    decide_retry,
    needs_restart,
)

WHOLE_GROUP = ""
"""With back-off, one retry is for all that wait under rest_for_one and one_for_all; no child has this id."""


class RetryStart(Message):
    """It is time to try a start again. `counted` when its restart has been recorded already."""

    child: str
    life: int
    number: int
    counted: bool


class Restarts(Bookkeeping):
    """The children of one supervisor and how they come back. `jitter` gives a random number in [0, 1)."""

    def __init__(
        self,
        rules: SupervisorSpec,
        starter: Starter,
        *,
        incarnations: Callable[[], Incarnation],
        time: Callable[[], float],
        jitter: Callable[[], float],
        report: Callable[[SupervisorReport], None],
    ) -> None:
        super().__init__(rules, starter, incarnations=incarnations, time=time, report=report)
        self._jitter = jitter
        self._last_number = 0
        self._last_event = ""

    def on_exit_of_child(self, exited: Exited) -> bool:
        """See BehaviorTraits. What it leaves undecided comes back as a message, in its turn."""
        if self._lives.died(exited):
            return True
        child = self._children.of_life(exited.actor, exited.incarnation)
        assert child is not None, "of others nothing is undecided"
        child.exited_behind = self._last_number
        return False

    async def _child_exited(self, message: Exited, ctx: CellContext) -> None:
        child = self._children.of_life(message.actor, message.incarnation)
        if child is None or child.exited is None:
            self._children.settled(message)
            return  # an operation has settled it, or it is of an earlier life
        if not await self._retried_before(child, ctx) or child.exited is None:
            return
        if child.status is not Status.RUNNING:
            await self._death_confirmed(child, ctx)
            return
        event, free = child.exited.event, isinstance(child.exited, FreeExited)
        exits: list[ChildExit] = []
        ended = self._children.undecided(child.exited)
        for other in ended:
            assert other.exited is not None
            exits.append(ChildExit(other.id, other.exited.reason))
            other.exited = None
        states = self._states_after(ended, exits)
        decision = decide(self._spec.strategy, states, exits, auto_shutdown=self._spec.auto_shutdown)
        # A host's children may be told of one after the other; they stay one event (SEMANTICS 2).
        counted = free or (event != "" and event == self._last_event)
        if decision.counts and counted and not free:
            for other in ended:
                self._intensity.was_for(other.id, other.incarnation)
        if decision.counts:
            self._last_event = event
        await self._carry_out(decision, ctx, counted=counted)

    async def _retried_before(self, child: Child, ctx: CellContext) -> bool:
        """Retries that came into the mailbox before this exit are made before it, as in OTP, though exits overtake.

        With back-off they are not: it is no part of OTP. False when the supervisor ends.
        """
        while self._retries and self._spec.backoff is None:
            key, number = next(iter(self._retries.items()))
            if number > child.exited_behind:
                break
            if not await self._retry_of(key, ctx, counted=False):
                return False
        return True

    async def _death_confirmed(self, child: Child, ctx: CellContext) -> None:
        """The life of which nobody knew whether it was over: it is, so what waited for that goes on."""
        child.exited = None
        if child.leaves:
            self._remove(child)
        elif child.status not in (Status.RESTARTING, Status.WAITING):
            self._lives.forget(child)
        alone = self._spec.strategy is Strategy.ONE_FOR_ONE
        if not alone and child.status is not Status.RESTARTING:
            for other in self._children:  # an operator stopped it; who waited for its death only goes on
                if other.status is Status.WAITING:
                    other.status = Status.RESTARTING
        if not (child.id in self._retries if alone else self._retries):
            decision = decide_retry(self._spec.strategy, self._states(child), child.id)
            await self._carry_out(decision, ctx, counted=True)

    async def _retry(self, message: RetryStart, ctx: CellContext) -> None:
        if message.life == ctx.incarnation and self._retries.get(self._retry_key(message.child)) == message.number:
            await self._retry_of(message.child, ctx, counted=message.counted)  # else it was taken back, or made before

    async def _retry_of(self, id: str, ctx: CellContext, *, counted: bool) -> bool:
        del self._retries[self._retry_key(id)]
        child = self._children.get(id)
        if self._retries and (child is None or child.status is not Status.RESTARTING):
            return True  # it runs again, or was stopped; those that failed meanwhile have a retry of their own
        states = self._states(*(() if child is None else (child,)))
        decision = decide_retry(self._spec.strategy, states, id)
        return await self._carry_out(decision, ctx, counted=counted)

    async def _carry_out(self, decision: Decision, ctx: CellContext, *, counted: bool) -> bool:
        """Counts, stops, forgets and starts. `counted`: this restart is in the window already. False: it is the end."""
        delay_s = 0.0
        if decision.counts and not counted:
            cause = self._children.named(decision.caused_by[0])
            lives = {id: self._children.named(id).incarnation for id in decision.caused_by}
            verdict = self._intensity.record(cause.id, now_s=self._time(), jitter=self._jitter(), lives=lives)
            delay_s = verdict.delay_s
            kind = ReportKind.ESCALATED if verdict.escalates else ReportKind.RESTARTING
            self._tell(kind, cause, delay_s=delay_s)
            if verdict.escalates:
                why = str(cause.last_reason)[:REASON_LIMIT_CHARS]
                ctx.stop(Escalated(child=cause.id, restarts=self._intensity.restarts, cause=why))
                return False
        for id in decision.caused_by:
            self._children.named(id).status = Status.RESTARTING
        for id in decision.stop:
            await self._lives.end(self._children.named(id))
        for id in decision.forget:
            self._remove(self._children.named(id))
        for id in decision.finish:
            self._finished(self._children.named(id))
        caused_by = frozenset(decision.caused_by)
        for id in decision.start:
            if id not in caused_by:
                self._children.named(id).status = Status.WAITING
        if decision.shuts_down:
            ctx.stop(Shutdown(detail="a significant child ended"))
            return False
        if delay_s > 0:
            self._retry_later(decision, ctx, delay_s)
        else:
            await self._restart(decision.start, ctx)
        return True

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
                    self._child_restarted(child)
            if strategy is not Strategy.ONE_FOR_ONE and (failed or child.unconfirmed):
                return  # the later ones depend on this one; they wait with it

    def _finished(self, child: Child) -> None:
        """A transient child ended by itself."""
        self._set_aside(child, Status.FINISHED)

    def _states_after(self, ended: Sequence[Child], exits: Sequence[ChildExit]) -> tuple[ChildState, ...]:
        """What `decide` must see: no sibling that does not matter, or 10,000 ends would cost 10,000² looks."""
        rules = self._spec
        for_good = [child for child, exit in zip(ended, exits, strict=True) if not _comes_back(child, exit)]
        if rules.strategy is not Strategy.ONE_FOR_ONE and len(for_good) < len(ended):
            return self._children.states()  # siblings follow
        if rules.auto_shutdown is AutoShutdown.NEVER or not any(child.spec.significant for child in for_good):
            return states_of(ended)
        if rules.auto_shutdown is AutoShutdown.ALL_SIGNIFICANT:
            other = self._children.active_significant(but=frozenset(ended))
            if other is not None:
                return states_of((*ended, other))  # while it is active, this is not the last one
        return self._children.states()

    def _states(self, *concerned: Child) -> tuple[ChildState, ...]:
        """What `decide_retry` must see."""
        alone = self._spec.strategy is Strategy.ONE_FOR_ONE
        return states_of(concerned) if alone else self._children.states()

    def _retry_later(self, decision: Decision, ctx: CellContext, delay_s: float) -> None:
        """Back-off: what is to start waits in the mailbox and not in the turn."""
        alone = self._spec.strategy is Strategy.ONE_FOR_ONE
        for id in decision.start if alone else decision.caused_by[:1]:
            self._schedule(self._children.named(id), ctx, delay_s=delay_s, counted=True)

    def _schedule(self, child: Child, ctx: CellContext, *, delay_s: float, counted: bool) -> None:
        key = self._retry_key(child.id)
        if self._spec.backoff is None and key in self._retries:
            return  # it failed again before its retry came, which goes on at its place in the mailbox, as in OTP
        self._last_number += 1
        self._retries[key] = self._last_number
        ctx.after(delay_s, RetryStart(child=child.id, life=ctx.incarnation, number=self._last_number, counted=counted))

    def _take_retry_back(self, id: str) -> None:
        """An operator takes a child over. Who was to start again with it stays down, as in OTP, and for an operator."""
        self._retries.pop(id, None)
        if self._retries or self._spec.strategy is Strategy.ONE_FOR_ONE:
            return
        for other in self._children:  # a death that was confirmed meanwhile made them `restarting`; nobody tries now
            if other.status is Status.RESTARTING and not other.unconfirmed and other.exited is None:
                other.status = Status.WAITING

    def _retry_key(self, id: str) -> str:
        alone = self._spec.strategy is Strategy.ONE_FOR_ONE or self._spec.backoff is None
        return id if alone else WHOLE_GROUP


def _comes_back(child: Child, exit: ChildExit) -> bool:
    return needs_restart(child.spec.restart, exit.reason)
