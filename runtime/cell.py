"""One running actor: takes an envelope, guards, handles, replies; and its life from start to exit.

The cell is the slot of a logical id in one host: the mailbox stays in it from one incarnation to the next, the behavior
does not. One message at a time, unless the behavior says that a message may run concurrently. An idle cell holds no
task: the first envelope that finds it idle makes one, and it ends when the mailbox is empty.

Whatever leaves an actor's code ends that actor and nothing else: here in start and stop, in `turn` while it handles.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.bonds import Bonds
from regrow.runtime.contain import contained
from regrow.runtime.context import CellContext, current
from regrow.runtime.deaths import no_messages
from regrow.runtime.debts import Debts
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import Bug, MailboxFull
from regrow.runtime.grace import limit_stop
from regrow.runtime.leftovers import leave_turns, refuse_what_was_for
from regrow.runtime.lifecycle import Down, ExitReason, ExitSignal, Killed, Reachable, Unreachable, crashed
from regrow.runtime.mailbox import MESSAGES_IN_A_ROW, Mailbox
from regrow.runtime.outcome import Outcome
from regrow.runtime.reply_slot import OpenSlots
from regrow.runtime.signals import failure_of
from regrow.runtime.turn import is_full, run_turn, runs_beside, start_queued_beside, start_turn_beside, would_deadlock

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.intake import Intake
    from regrow.runtime.runtime import Runtime
    from regrow.runtime.starter import StartRequest


class State(enum.Enum):
    """Where a cell is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    EXITING = "exiting"
    RESTARTING = "restarting"
    ENDED = "ended"


class Cell:
    """The slot of one actor in this host."""

    __slots__ = (
        "_exiting",
        "_in_serial_turn",
        "_may_run_beside",
        "_on_ended",
        "_survives_exit",
        "actor",
        "behavior",
        "bonds",
        "children",
        "debts",
        "ended_at",
        "holds_names",
        "in_turn",
        "incarnation",
        "intake",
        "is_closed",
        "is_over",
        "mailbox",
        "open_slots",
        "parent",
        "recent",
        "request",
        "runtime",
        "state",
        "stop_reason",
        "task",
        "timers",
        "told_to_stop",
        "turns",
        "watchdog",
    )

    def __init__(self, runtime: Runtime, request: StartRequest) -> None:
        self.runtime = runtime
        self.actor = request.actor
        self.mailbox = Mailbox(request.mailbox, self._dropped)
        self.children: dict[ActorId, Incarnation] = {}
        self.timers: set[asyncio.TimerHandle] = set()
        self.task: asyncio.Task[None] | None = None
        self.in_turn: dict[Envelope, float] = {}
        self.recent = no_messages()
        self._on_ended: asyncio.Future[None] = runtime.loop.create_future()
        self.debts = Debts(runtime, request.actor)
        self.intake: Intake | None = None
        self.ended_at = 0.0  # its last life, by the loop's time
        self.is_closed = request.idle_s is not None  # until its first life runs: whoever looks for it waits till then
        self.begin(request)

    def begin(self, request: StartRequest) -> None:
        self.request = request
        self.parent = request.parent
        self.incarnation = request.incarnation
        self.behavior: Behavior | None = None
        self.is_over = self.told_to_stop = False
        self._survives_exit = request.survives_exit
        self._may_run_beside = False
        self._in_serial_turn = False
        self.turns: dict[asyncio.Task[None], None] = {}
        self.bonds = Bonds()
        self.holds_names = False  # set by whoever takes a name or a membership; then the exit gives them back
        self.open_slots = OpenSlots(self.runtime.loop)
        self.mailbox.unstash_all()
        self._exiting: asyncio.Task[None] | None = None
        self.state = State.STARTING
        self.stop_reason: ExitReason | None = None
        self.watchdog: asyncio.TimerHandle | None = None

    def take_behavior(self, behavior: Behavior) -> None:
        """A life begins with what it is to be made of."""
        self.behavior = behavior
        enters: Callable[[Cell], Intake] | None = getattr(behavior, "enters", None)
        if enters is not None and self.intake is None:
            self.intake = enters(self)
        self._may_run_beside = getattr(behavior, "has_concurrent", hasattr(behavior, "runs_concurrently"))

    # ---- arrival -------------------------------------------------------------------------------

    def offer(self, envelope: Envelope) -> Outcome:
        """Takes an envelope into the mailbox if there is room for it."""
        if envelope.kind <= Kind.ASK:
            if self.is_closed or self.state is State.ENDED:
                return Outcome.NOT_HERE
            if envelope.origin.chain and envelope.kind == Kind.ASK and would_deadlock(self, envelope):
                return Outcome.TAKEN
            if self._may_run_beside and (self._in_serial_turn or self.intake) and runs_beside(self, envelope):
                return Outcome.TAKEN
            if self.intake is not None and (turned_away := self.intake.turned_away(envelope)) is not None:
                return turned_away
            outcome = self.mailbox.offer(envelope)
            if outcome is not Outcome.TAKEN:
                return outcome
            if self.intake is not None and self.intake.entered(envelope):
                self.wake()
                return Outcome.HELD
        elif envelope.kind != Kind.NOTICE:
            self.runtime.asking.answered(self, envelope)  # a reply by a slot, whatever it says
        elif isinstance(envelope.message, Down | ExitSignal | Unreachable | Reachable):
            if not self.bonds.awaits(envelope.message):
                return Outcome.TAKEN
            self.mailbox.put_in_turn(envelope, self.accept)
        else:
            self.mailbox.put(envelope)
        if self.intake is not None and envelope.kind == Kind.NOTICE:
            self.intake.entered(envelope)
        if self.task is None and self.state is State.RUNNING:
            self.wake()
        return Outcome.TAKEN

    def _dropped(self, envelope: Envelope, reason: str) -> None:
        if envelope.kind == Kind.ASK:  # else its asker would wait until the deadline
            self.runtime.fail(envelope, failure_of(MailboxFull(self.actor, self.mailbox.capacity, 0.0)))
        self.runtime.dead_letters.add(envelope, reason)

    def may_run_beside(self, message: object) -> bool:
        """True when the message's handler may run while another does."""
        runs_concurrently = getattr(self.behavior, "runs_concurrently", None)
        return runs_concurrently is not None and runs_concurrently(message)

    @property
    def is_between_turns(self) -> bool:
        """True while it starts or stops: its asks then are those of no turn, and its messages wait all the same."""
        return self.state in (State.STARTING, State.STOPPING)

    def accept(self, envelope: Envelope) -> None:
        """Takes an envelope for which room was found."""
        self.mailbox.put(envelope)
        if self.intake is not None:
            self.intake.entered(envelope)
        self.wake()

    def accept_ahead(self, envelope: Envelope) -> None:
        """Takes what overtakes."""
        self.mailbox.put_system(envelope)
        self.wake()

    # ---- turns ---------------------------------------------------------------------------------

    def wake(self) -> None:
        if self.task is None and self.state is State.RUNNING:
            self.task = self.spawn_task(self._run())

    def spawn_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs code of this actor, without what the sender who happens to wake it has set in its own context."""
        # Made directly, since the loop's create_task costs half as much again; the name helps in a debugger.
        return asyncio.Task(coroutine, loop=self.runtime.loop, name=self.actor, context=Context())

    async def _run(self) -> None:
        mailbox, behavior, turns = self.mailbox, self.behavior, 0
        try:
            while self.state is State.RUNNING and self.stop_reason is None:
                envelope = mailbox.take()
                if envelope is None:
                    self.task = None
                    return
                if self._may_run_beside and self.may_run_beside(envelope.message):
                    start_turn_beside(self, envelope)
                    while is_full(self):  # before the next is taken, or a kill would lose it
                        await asyncio.wait(self.turns, return_when=asyncio.FIRST_COMPLETED)
                else:
                    self._in_serial_turn = True
                    if self._may_run_beside and (turns == 0 or self.intake is None):
                        start_queued_beside(self)  # what came before this turn, and could not then
                    await run_turn(self, envelope)
                    if self.behavior is not behavior:
                        return  # it was killed and did not let go; by now another life may run here
                    self._in_serial_turn = False
                    if (turns := turns + 1) % MESSAGES_IN_A_ROW == 0:
                        await asyncio.sleep(0)
            if self.stop_reason is not None:
                await self.stop_in_order(self.stop_reason)
        except BaseException as error:  # whatever it is, without this task nobody would serve the mailbox
            if self.behavior is behavior:
                self.broke(error)
            raise

    def broke(self, error: BaseException) -> None:
        """The kernel failed in a turn: this life ends, since it could neither serve its mailbox nor stop."""
        bug = Bug(f"a turn of {self.actor} failed outside of its agent's code; please report it")
        bug.__cause__ = error
        self.end(crashed(bug))

    # ---- stop, kill, exit ----------------------------------------------------------------------

    def stop(self, reason: ExitReason, grace_s: float | None) -> None:
        """Ends in order: a handler that waits is cancelled, `stopping` runs, then the grace is over.

        Told again, it ends no later than the earliest of all limits.
        """
        if self.is_over:
            return
        if grace_s == 0:
            self.kill("brutal kill")
            return
        if grace_s is not None:
            limit_stop(self, grace_s)
        if self.told_to_stop:
            return
        self.told_to_stop = True
        self.runtime.stop_asks.begin(self)
        if self.stop_reason is None:
            self.stop_reason = reason
        if self.state is State.STARTING:
            if self.intake is not None:
                self.intake.cut_claim()
            return  # `start` sees the reason when the behavior has initialised, or the watchdog kills
        for task in self.turns:
            task.cancel()
        if self._in_serial_turn and self.task is not None and self.task is not _running_task():
            self.task.cancel()  # between turns the task needs no push: it looks at `stop_reason` itself
        elif self.task is None:
            self.task = self.spawn_task(self.stop_in_order(self.stop_reason))

    def finish(self, reason: ExitReason) -> None:
        """Ends after the turn that runs, as when the actor itself asks for it."""
        if self.stop_reason is None:
            self.stop_reason = reason
            if self.task is None and self.state is State.RUNNING:
                self.task = self.spawn_task(self.stop_in_order(reason))

    def kill(self, detail: str | None = None) -> None:
        """Ends without asking. Code that will not be cancelled is left to its host's keeper."""
        self.end(Killed(detail=detail))

    def end(self, reason: ExitReason) -> None:
        """Ends now, for a reason that leaves nothing to be asked: a crash, a kill, a link."""
        self.exit(reason, quiet=self.state is State.STARTING)

    async def stop_in_order(self, reason: ExitReason, *, quiet: bool = False) -> None:
        if self.state is not State.RUNNING:
            return
        self.state = State.STOPPING
        behavior = self.behavior
        assert behavior is not None
        ctx = self.context(None)
        token = current.set(ctx)
        try:
            if self.turns:
                await asyncio.wait(self.turns)  # cancelled by a stop; left to finish where the actor ends itself
            await contained(behavior.stopping, reason, ctx)
        except asyncio.CancelledError as error:
            if self.is_over:
                return  # killed while stopping: the kill does the exit
            reason = crashed(error)
        except Exception as error:  # a failing clean-up is a crash like any other
            reason = crashed(error)
        finally:
            current.reset(token)
        if self.behavior is behavior:  # else it was killed and did not let go; by now another life may run here
            self.exit(reason, quiet=quiet)

    def exit(self, reason: ExitReason, *, quiet: bool = False) -> None:
        """The one way out of a life: nothing of it runs or speaks after this.

        `quiet`: the start failed, so the starter answers and the parent gets no Exited.
        """
        if self.is_over:
            return
        self.is_over = True
        self.state = State.EXITING
        leave_turns(self, reason)
        if self.mailbox:
            refuse_what_was_for(self, self.incarnation, reason)
        for envelope in self.open_slots.take_all():
            self.debts.owe(envelope, self.incarnation, reason, intake=self.intake)
        self._end_tasks()
        if self.children or self.holds_names or hasattr(self.behavior, "ended") or self._parent_comes_first():
            self._exiting = self.runtime.spawn_task(self._exit_in_steps(reason, quiet))
        else:
            self._announce(reason, quiet)

    async def _exit_in_steps(self, reason: ExitReason, quiet: bool) -> None:
        """What an actor spawned does not outlive it (SEMANTICS 2), and its names are free before its Down (3)."""
        try:
            try:
                await self.runtime.end_children(self)
                ended = getattr(self.behavior, "ended", None)
                if ended is not None:
                    await contained(ended, reason)
            except Exception as error:  # the behavior's last words failed; its end must be told all the same
                reason = crashed(error)
            if self.holds_names:
                await self.runtime.names.give_back(self)
            if not quiet and self._parent_comes_first():
                await self.runtime.tell_parent(self, reason)
                quiet = True
        finally:
            self._announce(reason, quiet)

    def _parent_comes_first(self) -> bool:
        """A supervisor in another process hears of an end before those who may ask it to start a namesake."""
        return self.parent is not None and self.bonds.has_witnesses and self.parent not in self.runtime.cells

    async def wait_exited(self) -> None:
        """Waits until an exit that has begun is announced."""
        if self._exiting is not None:
            await asyncio.wait([self._exiting])

    def _announce(self, reason: ExitReason, quiet: bool) -> None:
        self.state = State.RESTARTING if self._survives_exit else State.ENDED
        self.behavior = None
        self.ended_at = self.runtime.loop.time()
        self.runtime.announce_exit(self, reason, quiet=quiet)
        if self.state is State.ENDED:
            self.runtime.drop(self, reason)

    def _end_tasks(self) -> None:
        if self.watchdog is not None:
            self.watchdog.cancel()
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
        for task in (self.task, *self.turns):
            if task is not None and task is not _running_task():
                task.cancel()
        self.task = None

    def forget(self) -> bool:
        """No further life will come; True when none is left here that must end first."""
        self._survives_exit = False
        return self.behavior is None

    def ended(self) -> None:
        """Tells those who wait for it that no life will follow."""
        self.state = State.ENDED
        if not self._on_ended.done():
            self._on_ended.set_result(None)

    async def wait_ended(self) -> None:
        """Waits until this actor has ended for good."""
        await asyncio.shield(self._on_ended)

    # ---- what contexts use ---------------------------------------------------------------------

    def context(self, envelope: Envelope | None) -> CellContext:
        cls: Any = getattr(self.behavior, "context_class", None) or CellContext
        context: CellContext = cls(self, envelope)
        return context


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
