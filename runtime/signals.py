"""What actors tell each other below the level of messages: watch, link, exit, stop.

Signals travel like messages and in the order in which they were sent, but a cell acts on them when
they arrive, ahead of its mailbox, and they need no room in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrow.runtime import errors
from regrow.runtime.address import ActorId, HostId, Incarnation
from regrow.runtime.contain import text_of
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import AskFailed, Bug, RegrowError
from regrow.runtime.lifecycle import Crashed, Exited, ExitReason
from regrow.runtime.message import Message

if TYPE_CHECKING:
    from regrow.runtime.cell import Cell
    from regrow.runtime.runtime import Runtime


class Watch(Message):
    """Start to monitor the receiver; the watcher gets one Down with this number."""

    monitor: int
    watcher: str
    watcher_incarnation: int


class Unwatch(Message):
    """The watcher is no longer interested."""

    monitor: int
    watcher: str


class Tie(Message):
    """Link the receiver with this actor; symmetric and idempotent."""

    actor: str
    incarnation: int


class Bonded(Message):
    """The answer to a Watch or Tie from another process: which life it is bound to. `monitor` is 0 for a link."""

    actor: str
    incarnation: int
    monitor: int


class Untie(Message):
    """Undo a link."""

    actor: str


class LinkedExit(Message):
    """A linked actor ended."""

    actor: str
    incarnation: int
    reason: ExitReason


class Stop(Message):
    """End in order, within the grace; `grace_s` None means without limit."""

    reason: ExitReason
    grace_s: float | None


class TakenBack(Message):
    """The asker of this request has gone; it need not run, unless it has begun."""

    host: HostId
    ask_id: int


class Chase(Message):
    """Follows what an ask waits for; see ask_rings. A step of its path is who asks, in which host, and by which ask.

    `found` is the ring that the chase before it found, and that has to be found again.
    """

    number: int
    path: tuple[tuple[str, str, int], ...]
    found: tuple[tuple[str, str, int], ...]


class RingFound(Message):
    """These agents block each other, and the receiver's ask of this number has to fail for it."""

    ask_id: int
    agents: tuple[str, ...]


class Failure(Message):
    """What an asker gets instead of a reply.

    With a `reason` it becomes AskFailed; else `error` names the class to raise and `text` says why.
    """

    error: str
    text: str
    reason: ExitReason | None = None

    def exception(self, actor: str) -> RegrowError:
        """The exception that the asker sees, the same on every engine."""
        if self.reason is not None:
            return AskFailed(actor, self.reason, self.text)
        return _rebuilt(_refusals().get(self.error, errors.Refused), self.text, actor)


def act_on(cell: Cell, signal: object) -> None:
    """What a cell does about a signal, ahead of everything in its mailbox."""
    match signal:
        case Watch():
            cell.bonds.watched(signal)
            _name_life(cell, ActorId(signal.watcher), signal.watcher_incarnation, signal.monitor)
        case Unwatch():
            cell.bonds.unwatched(signal)
        case Tie():
            cell.bonds.tied(signal)
            _name_life(cell, ActorId(signal.actor), signal.incarnation, 0)
        case Bonded():
            cell.bonds.bonded(signal)
        case Untie():
            cell.bonds.untied(signal)
        case LinkedExit():
            if cell.bonds.parted(signal):
                cell.end(signal.reason)
        case Stop():
            cell.stop(signal.reason, signal.grace_s)
        case TakenBack():
            cell.runtime.asking.taken_back(cell, signal)
        case Chase():
            cell.runtime.ask_rings.follow(cell, signal)
        case RingFound():
            cell.runtime.ask_rings.found(cell, signal)
        case Exited():
            cell.children.pop(ActorId(signal.actor), None)
            settles = getattr(cell.behavior, "on_exit_of_child", None)
            if settles is not None and not settles(signal):
                cell.accept_ahead(_notice(cell, signal))
        case _:
            raise Bug(f"{signal!r} is no signal")


def _name_life(cell: Cell, other: ActorId, its_life: int, monitor: int) -> None:
    """Tells who is elsewhere which life it has a bond with: should this process die, nobody here can say so."""
    if other not in cell.runtime.cells:
        bonded = Bonded(actor=cell.actor, incarnation=cell.incarnation, monitor=monitor)
        life = Incarnation(its_life) or None
        cell.runtime.delivery.send(Envelope(Kind.SIGNAL, other, bonded, cell.runtime.origin, incarnation=life))


def note_bond(runtime: Runtime, signal: object, host: HostId, receiver: ActorId) -> None:
    """Notes on which host the other side of a monitor or link is: should that die, nobody there will say so."""
    match signal:
        case Watch():
            cell = runtime.life(ActorId(signal.watcher), Incarnation(signal.watcher_incarnation))
            if cell is not None and signal.monitor in cell.bonds.watching:
                cell.bonds.watched_at[signal.monitor] = host
        case Tie():
            here, there = ActorId(signal.actor), receiver
            if here not in runtime.cells:
                here, there = there, here
            if here in runtime.cells:
                runtime.cells[here].bonds.linked_at[there] = host
        case _:
            pass


def _notice(cell: Cell, message: object) -> Envelope:
    return Envelope(Kind.NOTICE, cell.actor, message, cell.runtime.origin, incarnation=cell.incarnation)


def exit_of(cell: Cell, reason: ExitReason) -> Envelope:
    """How the parent is told that a life of its child is over."""
    assert cell.parent is not None
    exited = Exited(actor=cell.actor, incarnation=cell.incarnation, reason=reason)
    return Envelope(Kind.SIGNAL, cell.parent, exited, cell.runtime.origin)


def failure_of(error: RegrowError) -> Failure:
    """A refusal or misuse as a value that travels."""
    return Failure(error=type(error).__name__, text=text_of(error))


def end_text(actor: str, incarnation: int, reason: ExitReason, message_type: str, what_next: str) -> str:
    """One sentence on a death that cost an asker its reply: who, at what, why, and what happens now.

    An `incarnation` of 0 is one that is not known here.
    """
    if isinstance(reason, Crashed):
        place = f" at {reason.place}" if reason.place else ""
        died = f"died handling {message_type} ({reason}{place})"
    else:
        died = f"ended while it owed a reply to {message_type} ({reason})"
    life = f"#{incarnation}" if incarnation else ""
    return f"{actor}{life} {died}; {what_next}; not retried, since Agent delivers at most once"


def _refusals() -> dict[str, type[RegrowError]]:
    """Every error class that a receiver may answer with, by name; users may derive from Refused."""
    found: dict[str, type[RegrowError]] = {
        cls.__name__: cls
        for cls in (errors.InvalidMessage, errors.AskCycle, errors.CallingSelf, errors.Closed, errors.MailboxFull)
    }
    pending: list[type[errors.Refused]] = [errors.Refused]
    while pending:
        cls = pending.pop()
        found.setdefault(cls.__name__, cls)
        pending.extend(cls.__subclasses__())
    return found


def _rebuilt(cls: type[RegrowError], text: str, actor: str) -> RegrowError:
    """The error without running its constructor, whose arguments are not known here; its text is."""
    error = cls.__new__(cls)
    Exception.__init__(error, text)
    if isinstance(error, _NAMES_AN_ACTOR):
        error.actor = actor
    return error


_NAMES_AN_ACTOR = (errors.AskCycle, errors.CallingSelf, errors.MailboxFull, errors.StashFull, errors.SlotsFull)
