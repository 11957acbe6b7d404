"""What a behavior gets with each message: who it is, who asked, and how to reach others.

`CellContext` is the kernel's; an agent's `Context` adds memory and models. A context belongs to one
turn of one incarnation: used after its actor has ended it raises Closed, so that nothing of a dead
life is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar, overload

import structlog

from regrow.runtime import telemetry
from regrow.runtime.address import ActorId, Address, Incarnation, child_id
from regrow.runtime.ask_all import AskOutcome, ask_all, paired
from regrow.runtime.envelope import Envelope, Kind, Origin, limited_here
from regrow.runtime.errors import Closed, Misuse, not_in_a_thread
from regrow.runtime.lifecycle import ExitReason, Normal
from regrow.runtime.message import Message, Request
from regrow.runtime.ref import DEFAULT_ASK_TIMEOUT_S, DEFAULT_SEND_TIMEOUT_S, ActorRef
from regrow.runtime.reply_slot import ReplySlot
from regrow.runtime.signals import Untie, Unwatch, Watch
from regrow.runtime.stream_turn import StreamTurn
from regrow.runtime.timer import Timer, timer
from regrow.runtime.turn_origin import turn_origin

if TYPE_CHECKING:
    from regrow.runtime.cell import Cell
    from regrow.runtime.runtime import Runtime

R = TypeVar("R")

current: ContextVar[CellContext | None] = ContextVar("regrow_current", default=None)
"""The context of the turn that runs, so that a bare ref knows on whose behalf it is used."""


class Stashed:
    """What a handler returns that has set its message aside: `-> str | Stashed`, and `return ctx.stash()`."""

    __slots__ = ()


class Parked:
    """Stands in place of a reply where the journal keeps the message until its turn goes on."""

    __slots__ = ()


class CellContext(StreamTurn):
    """One turn of one actor."""

    __slots__ = ("_cell", "_envelope", "_origin", "incarnation", "instead")

    def __init__(self, cell: Cell, envelope: Envelope | None) -> None:
        self._cell = cell
        self._envelope = envelope
        self._origin: Origin | None = None
        self.incarnation: Incarnation = cell.incarnation
        self.emitted, self.flow = 0, None
        self.instead: ReplySlot[Any] | Stashed | Parked | None = None
        """What this turn gives in place of a reply."""

    # ---- identity ------------------------------------------------------------------------------

    @property
    def id(self) -> ActorId:
        """The logical id of this actor, such as `desk/analyst`."""
        return self._cell.actor

    @property
    def app(self) -> str:
        """The name of the app, the first part of the id."""
        return self._cell.actor.partition("/")[0].partition(":")[0]

    @property
    def runtime(self) -> Runtime:
        """The runtime of this process, for rooms that build on the kernel."""
        return self._cell.runtime

    @property
    def self_ref(self) -> ActorRef:
        """A ref to this actor, to hand on to others."""
        return ActorRef(Address(self._cell.actor), self._cell.runtime)

    @property
    def sender(self) -> ActorRef | None:
        """Who sent this message; None when it came from outside the tree or is a timer's."""
        sender = self._envelope.origin.sender if self._envelope is not None else None
        return None if sender is None else ActorRef(Address(sender.actor), self._cell.runtime)

    @property
    def principal(self) -> str:
        """On whose behalf this message was sent in the first place."""
        return self._envelope.origin.principal if self._envelope is not None else self._cell.runtime.origin.principal

    @property
    def command_id(self) -> str | None:
        """The id under which the asker may ask again."""
        return self._envelope.command_id if self._envelope is not None else None

    @property
    def deadline(self) -> float | None:
        """How many seconds are left until the reply is worth nothing; None without a deadline."""
        if self._envelope is None or self._envelope.deadline is None:
            return None
        return self._envelope.deadline - self._cell.runtime.loop.time()

    @property
    def deadline_at(self) -> float | None:
        """The same as a time of this process's loop."""
        return self._envelope.deadline if self._envelope is not None else None

    @property
    def log(self) -> Any:
        """A structlog logger that names this agent, its incarnation and the trace on every line."""
        return structlog.get_logger("regrow.agent").bind(**self.log_fields())

    def log_fields(self) -> dict[str, Any]:
        """What names this turn in a log line: agent, incarnation, and the trace if it is in one."""
        came_in = self._envelope.origin.trace if self._envelope is not None else ""
        trace = telemetry.trace_id(telemetry.outgoing() or came_in)
        return {"agent": self._cell.actor, "incarnation": self.incarnation} | ({"trace": trace} if trace else {})

    @contextmanager
    def span(self, name: str, **attributes: str | int | float | bool) -> Iterator[None]:
        """A span around a part of this turn, below the one that caused it; its `openinference.span.kind` is CHAIN."""
        with telemetry.span(name, self.origin().trace, {telemetry.SHOWN_AS: telemetry.SHOWN_AS_CHAIN, **attributes}):
            yield

    def origin(self) -> Origin:
        """What this turn hands on to everything it sends."""
        if self._origin is None or self._cell.is_over or self._cell.incarnation != self.incarnation:
            self.live()
            self._origin = turn_origin(self._cell, self._envelope, self._new_run)
        return limited_here(self._origin)

    @property
    def run(self) -> str:
        """What names all that follows from the same message from outside, this turn included."""
        return self.origin().run

    def _new_run(self) -> str:
        """The name of what begins with this turn."""
        return self.command_id or f"{self._cell.runtime.host}/{self._cell.runtime.fresh_number()}"

    def live(self) -> None:
        """Raises Closed when this incarnation has ended."""
        if self._cell.is_over or self._cell.incarnation != self.incarnation:
            raise Closed(f"{self._cell.actor}#{self.incarnation} has ended; what is left of it can send nothing")

    def turn_that_runs(self) -> tuple[Cell, Envelope | None] | None:
        """This turn, while it keeps its agent from the messages behind it; None once it is over."""
        cell, envelope = self._cell, self._envelope
        if cell.incarnation != self.incarnation or cell.is_over:
            return None
        runs = cell.is_between_turns if envelope is None else envelope in cell.in_turn
        return (cell, envelope) if runs else None

    # ---- messages ------------------------------------------------------------------------------

    def ref(self, target: ActorRef | str | object, *, key: str | None = None) -> ActorRef:
        """A ref to an agent, by id, by class or agent function (where the app has one of it), or the ref itself.

        Of agents with keys, named by class or id, it is the one with this `key`, whether or not it runs.
        """
        return self._cell.runtime.ref(target, near=self._cell.actor, key=key)

    async def tell(
        self, target: ActorRef | str | object, message: Message, *, send_timeout_s: float = DEFAULT_SEND_TIMEOUT_S
    ) -> None:
        """Sends without a reply. See ActorRef.tell."""
        await self.ref(target).tell(message, send_timeout_s=send_timeout_s)

    def tell_nowait(self, target: ActorRef | str | object, message: Message) -> None:
        """Sends now or raises MailboxFull. See ActorRef.tell_nowait."""
        self.ref(target).tell_nowait(message)

    async def ask(
        self,
        target: ActorRef | str | object,
        request: Request[R],
        *,
        timeout_s: float = DEFAULT_ASK_TIMEOUT_S,
        command_id: str | None = None,
    ) -> R:
        """Sends and waits for the reply. See ActorRef.ask."""
        return await self.ref(target).ask(request, timeout_s=timeout_s, command_id=command_id)

    @overload
    async def ask_all(
        self, targets: Iterable[object], request: Request[R], *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S
    ) -> list[AskOutcome[R]]: ...

    @overload
    async def ask_all(
        self, targets: Iterable[tuple[object, Request[R]]], *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S
    ) -> list[AskOutcome[R]]: ...

    @overload  # with replies of several types
    async def ask_all(
        self, targets: Iterable[tuple[object, Request[Any]]], *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S
    ) -> list[AskOutcome[Any]]: ...

    async def ask_all(
        self, targets: Iterable[Any], request: Request[Any] | None = None, *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S
    ) -> list[AskOutcome[Any]]:
        """Asks many at once, under one deadline: the same request of all, or pairs of a target and its request.

        Gives in the order of the targets a `Replied` or a `NoReply` with the error that `ask` would have raised;
        no target's error ends the others. Cancelled, it cancels them all. Raises Misuse for more than MAX_TARGETS.
        """
        self._on_own_thread()
        return await self._ask_all(paired(targets, request), timeout_s)

    async def _ask_all(self, pairs: list[tuple[Any, Request[Any]]], timeout_s: float) -> list[AskOutcome[Any]]:
        return await ask_all(self._cell.runtime.asking, self.ref, pairs, timeout_s)

    @overload
    def defer_reply(self, request: Request[R]) -> ReplySlot[R]: ...

    @overload
    def defer_reply(self) -> ReplySlot[Any]: ...

    def defer_reply(self, request: Request[Any] | None = None) -> ReplySlot[Any]:
        """Takes the reply slot of this turn's request: any agent that gets it may answer later, once.

        The handler returns the slot (or None), and its agent serves the next message. The asker still fails at once
        when this life ends before the answer, and at its deadline. Given the request, the slot has its reply's type.

        Raises SlotsFull when this agent owes MAX_OPEN_SLOTS replies; Misuse outside of a request's turn.
        """
        self._on_own_thread()
        self.live()
        cell, envelope = self._cell, self._envelope
        if isinstance(self.instead, ReplySlot):
            raise Misuse(f"{cell.actor} has taken its reply slot in this turn already; hand that one on")
        if envelope is None or envelope.kind != Kind.ASK or envelope not in cell.in_turn or self.instead is not None:
            raise Misuse("only the turn of a request that was asked and not set aside has a reply to defer")
        if request is not None and request is not envelope.message:
            raise Misuse(f"{type(request).__name__} is not what this turn handles; give its own request, or none")
        slot = cell.open_slots.open(envelope, cell.runtime.ref_to(Address(cell.actor, self.incarnation)))
        self.instead = slot
        self._origin = None  # its asker waits for whoever has the slot, and no longer for this turn
        return slot

    def stash(self) -> Stashed:
        """Sets this turn's message aside when the handler returns; `unstash_all` brings it back.

        The handler of a request returns what this gives, in place of the reply; that of a message need not.
        What is set aside keeps its order and its deadline, counts as queued, and comes back to the front of the
        mailbox when the agent restarts. Raises StashFull when half of the mailbox is set aside already.
        """
        self._on_own_thread()
        self.live()
        cell, envelope = self._cell, self._envelope
        if envelope is None or envelope not in cell.in_turn or isinstance(self.instead, ReplySlot):
            raise Misuse("only the turn of a message whose reply was not deferred can set that message aside")
        self.check_unemitted("sets its message aside")
        for over in cell.mailbox.take_expired(cell.runtime.loop.time()):
            cell.runtime.dead_letters.add(over, "expired")
        cell.mailbox.check_stash(envelope)
        self.instead = stashed = Stashed()
        return stashed

    def unstash_all(self) -> int:
        """Puts all that was set aside in front of the mailbox again, in its order; returns how many these are."""
        self._on_own_thread()
        self.live()
        count = self._cell.mailbox.unstash_all()
        self._cell.wake()
        return count

    def after(self, delay_s: float, message: Message) -> Timer:
        """Sends `message` to this actor in `delay_s` seconds, if this incarnation is still the one that runs."""
        self._on_own_thread()
        cell = self._cell
        self.live()
        notice = Envelope(Kind.NOTICE, cell.actor, message, self.origin().waited(delay_s), incarnation=self.incarnation)
        return timer(cell, delay_s, notice)

    # ---- other actors --------------------------------------------------------------------------

    async def spawn(self, target: object, name: str | None = None, *, config: object | None = None) -> ActorRef:
        """Starts a linked, temporary child in this host; it ends when this actor ends.

        Raises AskFailed when its start fails. Without a name the child gets a number.
        """
        self.live()
        cell = self._cell
        actor = child_id(cell.actor, name if name is not None else str(cell.runtime.fresh_number()))
        return await cell.runtime.spawn(cell, actor, target, config)

    def monitor(self, target: ActorRef | str | object) -> int:
        """Asks for one Down message when the target ends; returns the number it will carry."""
        self._on_own_thread()
        self.live()
        ref = self.ref(target)
        cell, runtime = self._cell, self._cell.runtime
        monitor = runtime.fresh_number()
        watch = Watch(monitor=monitor, watcher=cell.actor, watcher_incarnation=self.incarnation)
        signal = self._signal_to(ref, watch)
        cell.bonds.watching[monitor] = ref.address.actor  # before it is sent: the Down may come at once
        runtime.delivery.send(signal)
        return monitor

    def demonitor(self, monitor: int) -> None:
        """Takes a monitor back; a Down of it that is already queued is removed, as is word of lost contact."""
        self._on_own_thread()
        bonds = self._cell.bonds
        may_have_news = monitor in bonds.watched_at or monitor not in bonds.watching
        watched = bonds.unwatch(monitor)
        if may_have_news:
            self._cell.mailbox.remove_news(monitor)
        if watched is not None:
            self._signal(self.ref(watched), Unwatch(monitor=monitor, watcher=self._cell.actor))

    def link(self, target: ActorRef | str | object) -> None:
        """Ties two lives together: when one ends abnormally, so does the other, unless it traps exits."""
        self._on_own_thread()
        self.live()
        ref = self.ref(target)
        self._cell.runtime.tie(self._cell, ref, self.origin())

    def unlink(self, target: ActorRef | str | object) -> None:
        """Undoes a link."""
        ref = self.ref(target)
        self._on_own_thread()
        self._cell.bonds.unlinked(ref.address.actor)
        self._signal(ref, Untie(actor=self._cell.actor))

    def trap_exits(self, on: bool = True) -> None:
        """From now on the ends of linked actors arrive as ExitSignal messages instead of ending this one."""
        self._on_own_thread()
        self._cell.bonds.traps_exits = on

    # ---- names and groups ----------------------------------------------------------------------

    async def register(self, name: str) -> None:
        """Takes a name for this life; it is free again before anybody hears of this life's end (SEMANTICS 3).

        Raises NameTaken, whose `winner` is who has the name. To take it again is no error.
        """
        self.live()
        await self._cell.runtime.names.register(self._cell, name)

    async def unregister(self, name: str) -> bool:
        """Gives a name back; False when this life does not have it."""
        self.live()
        return await self._cell.runtime.names.unregister(self._cell, name)

    async def whereis(self, name: str) -> ActorRef | None:
        """The life that has the name, anywhere in the app; sent to after its end, the ref fails at once."""
        return await self._cell.runtime.names.whereis(name)

    async def join(self, group: str) -> None:
        """Adds a membership for this life; joined twice, it is a member twice. The end of this life ends them all."""
        self.live()
        await self._cell.runtime.names.join(self._cell, group)

    async def leave(self, group: str) -> bool:
        """Ends one membership; False when this life has none."""
        self.live()
        return await self._cell.runtime.names.leave(self._cell, group)

    async def members(self, group: str) -> list[ActorRef]:
        """The lives in a group, anywhere in the app, each as often as it joined."""
        return await self._cell.runtime.names.members(group)

    # ---- the end of this life ------------------------------------------------------------------

    def stop(self, reason: ExitReason | None = None) -> None:
        """Ends this actor after the current turn, which may be one in a thread."""
        self.live()
        end, runtime = reason if reason is not None else Normal(), self._cell.runtime
        if get_ident() == runtime.thread_id:
            self._cell.finish(end)
        else:
            runtime.loop.call_soon_threadsafe(self._finish, end)  # it is heard before the thread's result is

    def _finish(self, reason: ExitReason) -> None:
        if self._cell.incarnation == self.incarnation:
            self._cell.finish(reason)

    def _on_own_thread(self) -> None:
        if get_ident() != self._cell.runtime.thread_id:
            raise not_in_a_thread("send")

    def _signal(self, ref: ActorRef, message: Message) -> None:
        self._cell.runtime.delivery.send(self._signal_to(ref, message))

    def _signal_to(self, ref: ActorRef, message: Message) -> Envelope:
        """The envelope of a signal. Raises NotAllowed, since signals watch, tie and stop."""
        envelope = Envelope(Kind.SIGNAL, ref.address.actor, message, self.origin(), incarnation=ref.address.incarnation)
        self._cell.runtime.delivery.check(envelope)
        return envelope
