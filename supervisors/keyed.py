"""The supervisor of agents that are reached by key: each is started by the first message to it, and ends when idle.

What its children keep lies in the journal, so of one that does not run nothing is known here: a million keys cost
nothing. Starts go on side by side and outside of the supervisor's turns, since a key that takes long to start must not
hold up another; starts and ends of one key exclude each other.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.context import CellContext
from regrow.runtime.errors import Closed, Refused
from regrow.runtime.lifecycle import (
    Crashed,
    Down,
    Escalated,
    Exited,
    ExitReason,
    ExitSignal,
    Fenced,
    FreeExited,
    Killed,
)
from regrow.runtime.message import Message
from regrow.runtime.passivation import Busy, Idle, Passivate, ask_to_passivate
from regrow.runtime.placement import Packed
from regrow.runtime.starter import HOST_DIED, Starter
from regrow.supervisors.bookkeeping import Bookkeeping
from regrow.supervisors.children import REASON_LIMIT_CHARS, Child, ChildCounts, Life, spec_row
from regrow.supervisors.errors import DynamicChild, FailedToStartChild, MaxActive, UnfitChild
from regrow.supervisors.report import ReportKind, SupervisorReport
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
from regrow.supervisors.spec import WORKER_SHUTDOWN_S, ChildSpec, KeyedSpec, SupervisorSpec, check_key
from regrow.supervisors.turns import TakeTurn

START_TRIES = 5
"""How many hosts in a row may die under one start before those who wait for it hear of that."""

ROOM_WITHIN_S = 10.0
"""How long who wants to start one more than may run waits until another has nothing to do."""
ROOM_LOOK_S = 0.05
ROOM_ASKS = 64
"""How often some of those that run are asked whether they have nothing to do, and how many."""


HOSTS = "/"
"""Whose the clock is by which deaths of hosts age: nobody is started for them, so it runs always. No key is this."""


class KeyedSupervisorBehavior(Bookkeeping):
    """Supervises the agents of one kind that run, each under its key. The arguments are those of SupervisorBehavior."""

    def __init__(
        self,
        spec: KeyedSpec,
        starter: Starter,
        *,
        incarnations: Callable[[], Incarnation],
        time: Callable[[], float],
        jitter: Callable[[], float],
        report: Callable[[SupervisorReport], None],
    ) -> None:
        rules = SupervisorSpec(max_restarts=spec.max_restarts, within_s=spec.within_s, backoff=spec.backoff)
        super().__init__(rules, starter, incarnations=incarnations, time=time, report=report)
        self._jitter = jitter
        self._template = spec.child
        self._idle_s = spec.idle_s
        self._max_active = spec.max_active
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._ending: dict[str, asyncio.Future[None]] = {}
        """Those that are to end: who looks for one waits, and then starts it anew."""
        self._ended_early: dict[str, Exited] = {}
        """Ends that came before the answer of the start."""
        self._by_age: OrderedDict[str, None] = OrderedDict()
        """Those that run, in the order in which they were started or asked to make room."""
        self._want_room: OrderedDict[object, None] = OrderedDict()
        """Who waits until one of them has ended, in the order in which they came."""
        self._asked_room_s = -math.inf
        self._is_closing = False
        self._last_event = ""
        self.released: Callable[[ActorId], None] = _nobody_minds
        """Told of each that does not run any more, since the journal may have something for it."""

    # ---- asked by others -----------------------------------------------------------------------

    async def activate(self, key: str) -> None:
        """Returns when the agent of that key runs; starts it where it does not, once whoever and however many ask.

        Raises:
            Misuse: that can be no key.
            MaxActive: as many run as may, and none has nothing to do.
            FailedToStartChild: it did not start; who asks later has it tried again.
            Closed: this supervisor ends.
        """
        check_key(key, self._supervisor)
        ticket, room_by = object(), self._time() + ROOM_WITHIN_S
        try:
            await self._activate(key, ticket, room_by)
        finally:
            self._want_room.pop(ticket, None)

    async def _activate(self, key: str, ticket: object, room_by: float) -> None:
        while True:
            if self._is_closing or self._begun is None:
                raise Closed(f"{self._supervisor} ends, and starts nobody any more; ask again when it is back")
            child = self._children.get(key)
            if child is not None:
                self._want_room.pop(ticket, None)  # it has its place, so that others need not wait for its start
            if (starting := self._starting.get(key)) is not None:
                await asyncio.wait((starting,))
                if not starting.cancelled():
                    starting.result()
            elif (ending := self._ending.get(key)) is not None:
                await asyncio.wait((ending,))
            elif child is None:
                if self._has_room(ticket):
                    # At once, and not when its task begins: of those that come together each is to be counted.
                    self._by_age[key] = None
                    self._start(key, self._begin_life(self._children.add(replace(self._template, id=key))))
                elif self._time() < room_by:
                    self._want_room[ticket] = None
                    await self._wait_room()
                else:
                    raise MaxActive(self._supervisor, self._max_active)
            elif child.life is Life.UP:
                return
            else:
                await child.wait_dead()  # one that was killed, and may still run

    def runs(self, key: str) -> bool:
        """Whether the agent of that key runs; not while it starts, for that may fail."""
        child = self._children.get(key)
        return child is not None and child.life is Life.UP

    async def stop_child(self, id: str, incarnation: int = ANY_LIFE) -> None:
        """Stops the agent of a key and returns when it is dead; the next message to it starts it again."""
        if self._begun is None:
            raise Closed("this supervisor has not started; start it first")
        await self._stop_child(id, incarnation)

    async def replace_child(self, id: str) -> None:
        """Stops the agent of a key in order and starts it anew. Raises what `activate` raises."""
        await self.stop_child(id)
        await self.activate(id)

    async def get_childspec(self, id: str) -> ChildSpec:
        """The spec of which all are made."""
        return self._template

    # ---- what the cell calls -------------------------------------------------------------------

    async def started(self, ctx: CellContext) -> None:
        """Begins without children."""
        self._begin(ctx)
        self._children.begin(ctx.id, ())
        if self._template.placement is None:
            self._template = replace(self._template, placement=Packed(ctx.id))

    def on_exit_of_child(self, exited: Exited) -> bool:
        """See BehaviorTraits. Decided at once, since the deciding of one key waits for no other."""
        if not self._lives.died(exited):
            child = self._children.of_life(exited.actor, exited.incarnation)
            assert child is not None, "of others nothing is undecided"
            child.exited = None
            self._children.settled(exited)
            if child.id in self._starting:
                self._ended_early[child.id] = exited
            else:
                self._ended(child, exited)
        return True

    def runs_concurrently(self, message: object) -> bool:
        """See BehaviorTraits. A stop waits for the start or the end of its key, and that may need turns."""
        return isinstance(message, StopChild)

    async def handle(self, message: Message, ctx: CellContext) -> Message | None:
        """Answers an agent that is idle, or an operator."""
        match message:
            case Idle():
                self._passivate(message)
            case Busy():
                self._stays(message)
            case TakeTurn():
                return await self._turns.take(message, ctx)
            case StopChild():
                await self._stop_child(message.id, message.incarnation)
                return self._child_stopped(message.id)
            case GetChildSpec():
                return spec_row(self._template)
            case WhichChildren():
                return self._some_rows(message.skip)
            case CountChildren():
                return self._counts()
            case StartChild():
                raise UnfitChild(ctx.id, "its agents are started by the first message to their key; send one")
            case RestartChild() | DeleteChild():
                raise DynamicChild(ctx.id, message.id)
            case Exited() | ExitSignal() | Down():
                pass
            case _:
                raise Refused(f"{ctx.id} stands for agents with keys; name one: ref(…, key=…), or {ctx.id}/KEY")
        return None

    async def stopping(self, reason: ExitReason, ctx: CellContext) -> None:
        """Stops all children at once, with one deadline for all; returns when all are dead."""
        await self._close()
        await self._lives.end_together(self._template.shutdown_s)
        self._forget_ended()

    async def ended(self, reason: ExitReason) -> None:
        """Kills what is left after a crash or a kill; returns when all are dead."""
        await self._close()
        await self._lives.kill_together()
        self._forget_ended()
        self._lives.leave()
        for child in self._children:
            self.released(child.actor)

    # ---- starts --------------------------------------------------------------------------------

    def _start(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        # In a context of its own: whoever sent the first message is not the one on whose behalf the agent lives.
        task = self._starting[key] = asyncio.Task(work, loop=asyncio.get_running_loop(), context=Context())
        task.add_done_callback(partial(self._start_is_over, key))

    def _start_is_over(self, key: str, task: asyncio.Task[None]) -> None:
        if self._starting.get(key) is task:
            del self._starting[key]
        if not task.cancelled():
            task.exception()  # told to whoever waits for it, and in a report

    def _has_room(self, ticket: object) -> bool:
        """In turn: who has made room and has something to do still would take it again before others have it."""
        ahead = next(iter(self._want_room), ticket)
        return len(self._children) < self._max_active and ahead is ticket

    async def _wait_room(self) -> None:
        """Asks some of those that were started first to end if they have nothing to do, and waits a moment."""
        if self._time() >= self._asked_room_s + ROOM_LOOK_S:
            self._asked_room_s = self._time()
            for key in list(islice(self._by_age, ROOM_ASKS)):
                self._by_age.move_to_end(key)
                self._ask_to_end(self._children.get(key), early=True)
        await asyncio.sleep(ROOM_LOOK_S)

    async def _started_again(self, child: Child, delay_s: float) -> None:
        if delay_s > 0:
            await asyncio.sleep(delay_s)
        try:
            await self._begin_life(child)
        except FailedToStartChild:
            self.released(child.actor)  # what it had accepted is there still
            raise
        self._child_restarted(child)

    async def _begin_life(self, child: Child) -> None:
        """Starts a life; who does not start is forgotten, and what waits there goes on. Raises FailedToStartChild."""
        cause: Crashed | FailedToStartChild | None = None
        for _ in range(START_TRIES):
            self._ended_early.pop(child.id, None)  # of a life that did not start
            request = replace(child.next_life(self._incarnations()), idle_s=self._idle_s)
            cause = await self._lives.start(child, request)
            if not isinstance(cause, Crashed) or cause.type_name != HOST_DIED:
                break
        self._starting.pop(child.id, None)  # not when its task is over: it may end again before that
        exited = self._ended_early.pop(child.id, None)
        if cause is not None:
            error = self._not_started(child, cause)
            self._intensity.forgotten(child.id)
            self._by_age.pop(child.id, None)
            self._remove(child)
            raise error
        if exited is not None and exited.incarnation == child.incarnation:
            self._ended(child, exited)

    # ---- ends ----------------------------------------------------------------------------------

    def _ended(self, child: Child, exited: Exited) -> None:
        """A life is over: it comes back where it was if it broke, and else when there is something for it."""
        # Who is to end, and is killed because it takes too long, has ended by order.
        by_order = child.id in self._ending and isinstance(exited.reason, Killed) and not exited.event
        broke = exited.reason.abnormal and not child.leaves and not by_order
        if broke and not self._may_go_on(child, exited):
            return
        if broke and not exited.event:
            self._start(child.id, self._started_again(child, self._delay_s))
        else:
            self._release(child)
        self._end_is_over(child.id)

    def _may_go_on(self, child: Child, exited: Exited) -> bool:
        """Counts a restart; False when it was one too many. A host's agents that die with it are one event."""
        self._delay_s = 0.0
        is_free = isinstance(exited, FreeExited) or isinstance(exited.reason, Fenced)
        is_counted = exited.event != "" and exited.event == self._last_event
        if is_counted and not is_free:
            self._intensity.was_for(child.id, exited.incarnation)
        if is_free or is_counted:
            return True
        self._last_event = exited.event
        lives, whose, now_s = {child.id: exited.incarnation}, HOSTS if exited.event else child.id, self._time()
        verdict = self._intensity.record(whose, now_s=now_s, jitter=self._jitter(), lives=lives)
        if exited.event:
            self._intensity.started(whose, now_s=now_s)
        self._delay_s = verdict.delay_s
        if verdict.escalates:
            self._tell(ReportKind.ESCALATED, child)
        elif not exited.event:
            self._tell(ReportKind.RESTARTING, child, delay_s=verdict.delay_s)
        if verdict.escalates and self._begun is not None:
            self._is_closing = True
            why = str(child.last_reason)[:REASON_LIMIT_CHARS]
            self._begun.stop(Escalated(child=child.id, restarts=self._intensity.restarts, cause=why))
        return not verdict.escalates

    def _release(self, child: Child) -> None:
        self._intensity.forgotten(child.id)
        self._by_age.pop(child.id, None)
        self._remove(child)
        self.released(child.actor)

    def _passivate(self, idle: Idle) -> None:
        child = self._children.of_life(idle.actor, Incarnation(idle.incarnation))
        self._ask_to_end(child, early=False)

    def _ask_to_end(self, child: Child | None, *, early: bool) -> None:
        if child is None or child.life is not Life.UP or child.host is None or child.id in self._ending:
            return
        assert self._begun is not None
        self._ending[child.id] = asyncio.get_running_loop().create_future()
        grace_s = WORKER_SHUTDOWN_S if child.spec.shutdown_s == 0 else child.spec.shutdown_s  # none would be a kill
        order = Passivate(grace_s=grace_s, early=early)
        ask_to_passivate(self._begun.runtime, child.actor, child.incarnation, child.host, order)

    def _stays(self, busy: Busy) -> None:
        child = self._children.of_life(busy.actor, Incarnation(busy.incarnation))
        if child is not None and child.life is Life.UP:
            self._end_is_over(child.id)

    def _end_is_over(self, key: str) -> None:
        ending = self._ending.pop(key, None)
        if ending is not None and not ending.done():
            ending.set_result(None)

    async def _stop_child(self, id: str, incarnation: int) -> None:
        while (under_way := self._starting.get(id) or self._ending.get(id)) is not None:
            await asyncio.wait((under_way,))
        child = self._children.get(id)
        if child is None or incarnation not in (ANY_LIFE, child.last_up):
            return
        self._ending[id] = asyncio.get_running_loop().create_future()
        try:
            await self._lives.end(child)
            self._release(child)
        finally:
            self._end_is_over(id)

    async def _close(self) -> None:
        """Starts nobody any more; what waits for a start or an end goes on and learns of it."""
        self._is_closing = True
        for key in list(self._ending):
            self._end_is_over(key)
        starts = list(self._starting.values())
        for task in starts:
            task.cancel()
        if starts:
            await asyncio.wait(starts)

    def _counts(self) -> ChildCounts:
        return self._children.counts().model_copy(update={"specs": 1})


def _nobody_minds(actor: ActorId) -> None:
    pass
