"""What actors tell each other below the level of messages: watch, link, exit, stop.

Signals travel like messages and in the order in which they were sent, but a cell acts on them when
they arrive, ahead of its mailbox, and they need no room in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrow.runtime import errors
from regrow.runtime.address import ActorId, HostId, Incarnation
from regrow.runtime.contain import text_of, travelling
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import AskFailed, Bug, NotAwaited, RegrowError
from regrow.runtime.immutable import wire_name
from regrow.runtime.lifecycle import Cleared, Crashed, Exited, ExitReason, Refund
from regrow.runtime.message import Message
from regrow.runtime.passivation import Passivate, passivate

if TYPE_CHECKING:
    from regrow.runtime.cell import Cell
    from regrow.runtime.runtime import Runtime


Detail = str | int | float | bool | bytes | None
"""An attribute of a refusal that comes along when it travels."""

MAX_DETAILS = 16
"""How many of them do."""
MAX_DETAIL_CHARS = 2_000
"""The longest of them."""
MAX_DETAIL_INT = 2**63


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


class NewMail(Message):
    """Something was put into the receiver's mailbox in the journal by another way than its own; it is to look."""


class TakenBack(Message):
    """The asker of this request has gone; it need not run, unless it has begun. If it is streamed it ends even then."""

    host: HostId
    ask_id: int


class AskedInStop(Message):
    """This life of `asker` is being stopped and waits for the answer to this ask, which may come too late for it."""

    host: HostId
    ask_id: int
    asker: str
    request: str


class Granted(Message):
    """Who reads the stream of this ask has read so much since its start, so that more may come."""

    host: HostId
    ask_id: int
    parts: int
    size_bytes: int


class Chase(Message):
    """Follows what an ask waits for; see ask_rings. A step of its path is who asks, in which host, and by which ask.

    Who waits for the start of a life has its incarnation, negative, in place of an ask's number.
    `found` is the ring that the chase before it found, and that has to be found again.
    """

    number: int
    path: tuple[tuple[str, str, int], ...]
    found: tuple[tuple[str, str, int], ...]


class RingFound(Message):
    """These agents block each other, and the receiver's ask of this number has to fail for it."""

    ask_id: int
    agents: tuple[str, ...]


class SurveyChase(Chase):
    """Follows what one of the `turns` turns of a full agent waits for; see full_agents.

    It is part of the survey of that number, which `maker` in `host` makes.
    """

    maker: str
    host: str
    survey: int
    turns: int


class Surveyed(Message):
    """The turn with which this path begins, one of `turns`, waits for a place `at` a full agent."""

    survey: int
    turn: int
    turns: int
    path: tuple[tuple[str, str, int], ...]
    at: tuple[str, str]


class FullRing(RingFound):
    """The same of agents that have as many turns as they may, all of which wait."""


class Failure(Message):
    """What an asker gets instead of a reply.

    With a `reason` it becomes AskFailed or NotAwaited; else `error` names the class to raise, `text` says why, Our own
    errors go by their bare name, others as `module:qualname`.
    """

    error: str
    text: str
    reason: ExitReason | None = None

    def exception(self, actor: str) -> RegrowError:
        """The exception that the asker sees, the same on every engine."""
        if self.reason is not None:
            failed = NotAwaited if self.error == NotAwaited.__name__ else AskFailed
            return failed(actor, self.reason, self.text)
        error = _rebuilt(_class_named(self.error), self.text)
        if isinstance(self, DetailedFailure):
            error.__dict__.update(self.details)
        if isinstance(error, _NAMES_AN_ACTOR):
            error.actor = actor
        return error


class DetailedFailure(Failure):
    """A failure whose error has attributes; those that are plain and small come along."""

    details: tuple[tuple[str, Detail], ...]


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
        case Passivate():
            passivate(cell, signal)
        case TakenBack():
            cell.runtime.asking.taken_back(cell, signal)
        case AskedInStop():
            cell.runtime.stop_asks.heard(cell, signal)
        case Granted():
            cell.runtime.streams.granted(signal)
        case Chase():
            cell.runtime.ask_rings.follow(cell, signal)
        case Surveyed():
            cell.runtime.ask_rings.full.reported(cell, signal)
        case RingFound():
            cell.runtime.ask_rings.found(cell, signal)
        case Exited():
            cell.children.pop(ActorId(signal.actor), None)
            settles = getattr(cell.behavior, "on_exit_of_child", None)
            if settles is not None and not settles(signal):
                cell.accept_ahead(_notice(cell, signal))
        case Refund() | Cleared():
            hears = getattr(cell.behavior, "on_word_of_child", None)
            if hears is not None:
                hears(signal)
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
            elif (watched := runtime.cells.get(receiver)) is not None:
                watched.bonds.watcher_is_at(signal, host)
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
    if isinstance(error, AskFailed):
        return Failure(error="AskFailed", text=text_of(error), reason=error.reason)
    cls = type(error)
    name = cls.__name__ if cls.__module__ == errors.__name__ else wire_name(cls)
    details = [
        (attribute, travelling(value) if isinstance(value, str) else value)
        for attribute, value in vars(error).items()
        if _is_detail(value)
    ]
    if not details:
        return Failure(error=name, text=text_of(error))
    return DetailedFailure(error=name, text=text_of(error), details=tuple(details[:MAX_DETAILS]))


def _is_detail(value: object) -> bool:
    if type(value) in (str, bytes):
        return len(value) <= MAX_DETAIL_CHARS  # type: ignore[arg-type] # one of the two
    return value is None or type(value) in (bool, float) or (type(value) is int and abs(value) < MAX_DETAIL_INT)


AT_MOST_ONCE = "not retried, since Agent delivers at most once"


def end_text(
    actor: str, incarnation: int, reason: ExitReason, message_type: str, what_next: str, *, kept: bool = False
) -> str:
    """One sentence on a death that cost an asker its reply: who, at what, why, and what happens now.

    An `incarnation` of 0 is one that is not known here; `kept` is true of a message that the agent's journal has.
    """
    if isinstance(reason, Crashed):
        place = f" at {reason.place}" if reason.place else ""
        died = f"died handling {message_type} ({reason}{place})"
    else:
        died = f"ended while it owed a reply to {message_type} ({reason})"
    life = f"#{incarnation}" if incarnation else ""
    delivery = "its journal has it: ask under the same command id" if kept else AT_MOST_ONCE
    return f"{actor}{life} {died}; {what_next}; {delivery}"


def _class_named(name: str) -> type[RegrowError]:
    """The class that a receiver raised: one of ours, or a user's of that very module; Refused if it is unknown here."""
    if (ours := _OURS.get(name)) is not None:
        return ours
    found: type[RegrowError] = errors.Refused
    pending: list[type[errors.Refused]] = [errors.Refused]
    while pending:
        cls = pending.pop()
        if wire_name(cls) == name or (found is errors.Refused and cls.__name__ == name):
            found = cls
        pending.extend(reversed(cls.__subclasses__()))  # so that of two with one name, the one made last is found
    return found


def _rebuilt(cls: type[RegrowError], text: str) -> RegrowError:
    """The error without running its class's own code, whose arguments are not known here; its text is."""
    builtin = next(ancestor for ancestor in cls.__mro__ if ancestor.__module__ == "builtins")
    error: RegrowError = builtin.__new__(cls)  # type: ignore[call-overload] # Exception, or what a user mixed in
    error.args = (text,)
    return error


_OURS: dict[str, type[RegrowError]] = {
    cls.__name__: cls
    for cls in (errors.InvalidMessage, errors.AskCycle, errors.CallingSelf, errors.Closed, errors.MailboxFull)
}
_NAMES_AN_ACTOR = (errors.AskCycle, errors.CallingSelf, errors.MailboxFull, errors.StashFull, errors.SlotsFull)
