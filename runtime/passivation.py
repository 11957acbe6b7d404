"""How an actor that starts on demand ends when it has nothing to do, without losing what arrives meanwhile.

Its host notices that it is idle (`Idle`), and its supervisor decides: from then on whoever looks for it waits. The
host is asked (`Passivate`), and closes the door if there is nothing to do still; what comes now is turned away, and
finds the next life. Else it says so (`Busy`), and all is as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.lifecycle import Shutdown
from regrow.runtime.message import Message

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId, HostId, Incarnation
    from regrow.runtime.cell import Cell
    from regrow.runtime.runtime import Runtime

PASSIVATED = "it had nothing to do"
"""The detail of the Shutdown with which such a life ends."""


class Idle(Message):
    """This life has had nothing to do for the time after which it may end; told to its supervisor."""

    actor: str
    incarnation: int


class Passivate(Message):
    """End in order if there is nothing to do, within the grace; a signal to one life.

    `early` where it has not been idle for its time: its place is wanted. A life that has just begun then stays, since
    what it was started for may still be on its way.
    """

    grace_s: float | None
    early: bool


class Busy(Message):
    """The answer of a life that has something to do again."""

    actor: str
    incarnation: int


def ask_to_passivate(runtime: Runtime, actor: ActorId, life: Incarnation, host: HostId, order: Passivate) -> None:
    """Sends the order to the host of a life; not the way of messages, which by now wait for the end of that life."""
    cell = runtime.life(actor, life)
    if cell is not None:
        passivate(cell, order)
    elif runtime.delivery.carrier is not None:
        envelope = Envelope(Kind.SIGNAL, actor, order, runtime.origin, incarnation=life)
        runtime.delivery.carrier.send(host, envelope)


def passivate(cell: Cell, signal: Passivate) -> None:
    """Closes a cell with nothing to do and ends it, or tells its supervisor that there is something.

    All in one step of the loop: what arrived before is seen here, what arrives later is turned away.
    """
    is_idle = getattr(cell.behavior, "is_idle", None)
    is_busy = cell.is_closed or cell.is_between_turns or cell.stop_reason is not None
    if is_busy or is_idle is None or not is_idle(early=signal.early):
        tell_supervisor(cell, Busy(actor=cell.actor, incarnation=cell.incarnation))
        return
    cell.is_closed = True
    cell.forget()  # a next life begins with a cell of its own
    cell.stop(Shutdown(detail=PASSIVATED), signal.grace_s)


def tell_supervisor(cell: Cell, message: Message) -> None:
    """Sends to the supervisor of a cell."""
    if cell.parent is not None:
        cell.runtime.delivery.send(Envelope(Kind.TELL, cell.parent, message, cell.runtime.origin))
