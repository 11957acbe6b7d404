"""What becomes of messages whose life has ended: refused, counted as dead letters, or kept for the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrow.runtime.envelope import Envelope, Kind, mark_handled
from regrow.runtime.intake import Kept
from regrow.runtime.lifecycle import ExitReason, NoProc
from regrow.runtime.outcome import Outcome
from regrow.runtime.signals import Failure

if TYPE_CHECKING:
    from regrow.runtime.address import Incarnation
    from regrow.runtime.cell import Cell


def leave_turns(cell: Cell, reason: ExitReason) -> None:
    """The turns of a life end with it: its askers are answered, what is stored goes back into the mailbox."""
    streams = cell.runtime.streams
    streams.life_ended(cell)
    cell.runtime.deaths.add(cell, reason)
    for envelope in reversed(cell.in_turn):
        if cell.intake is not None and cell.intake.holds(envelope):
            put_back(cell, envelope, reason)
        elif envelope.kind == Kind.ASK:
            cell.debts.owe(envelope, cell.incarnation, reason, intake=cell.intake)
        elif envelope.kind == Kind.TELL:
            cell.runtime.dead_letters.add(envelope, "crashed", cell.incarnation)
    cell.in_turn.clear()


def put_back(cell: Cell, envelope: Envelope, reason: ExitReason) -> None:
    """A stored message comes first in the next life; who has read parts of its answer hears why no more come."""
    if (flow := cell.runtime.streams.of(envelope)) is not None and flow.has_begun:
        _end_stream(cell, envelope, reason)
    cell.mailbox.put_back(envelope)


def _end_stream(cell: Cell, envelope: Envelope, reason: ExitReason) -> None:
    """The turn is run again, and its parts would come twice: its consumer hears why this run ended, and no more."""
    cell.runtime.streams.finish(envelope)
    asked = Envelope(Kind.ASK, envelope.receiver, envelope.message, envelope.origin, envelope.deadline)
    asked.ask_id, asked.reply_host = envelope.ask_id, envelope.reply_host
    cell.debts.owe(asked, cell.incarnation, reason, intake=cell.intake)
    envelope.kind, envelope.window = Kind.TELL, None


def refuse_what_was_for(cell: Cell, life: Incarnation, reason: ExitReason) -> None:
    """What was meant for the life that ends, and no other, does not wait for the next one."""
    queued, waiting = cell.mailbox.take_out(life)
    for envelope in waiting:
        cell.runtime.delivery.settle_final(envelope, Outcome.NOT_HERE)
    for envelope in queued:
        if envelope.kind == Kind.ASK:
            text = f"{cell.actor}#{life} ended ({reason}) before it came to {type(envelope.message).__name__}"
            cell.runtime.fail(envelope, Failure(error="AskFailed", text=text, reason=reason))
        else:
            cell.runtime.dead_letters.add(envelope, "earlier_life")
        mark_handled(envelope)


def empty_mailbox(cell: Cell, reason: ExitReason) -> None:
    """No further life will come here: asks fail, the rest are dead letters, and what is stored stays there."""
    cell.debts.pay("it is not started again")
    for envelope in (*cell.mailbox.drain(), *cell.mailbox.give_up_waiters()):
        if _is_kept(cell, envelope):
            continue
        held = cell.intake is not None and cell.intake.holds(envelope)
        kept = cell.intake.dropped(envelope) if cell.intake is not None else Kept.NOT
        if envelope.kind == Kind.ASK:
            _fail_for_good(cell, envelope, reason, kept)
        elif envelope.kind == Kind.TELL and held:
            if kept in (Kept.NOT, Kept.UNKNOWN):
                cell.runtime.custody.give_back(envelope)
            if kept is not Kept.STORED:
                continue  # it is not handled for its sender before the store has it
        elif envelope.kind == Kind.TELL:
            cell.runtime.delivery.settle_final(envelope, Outcome.NOT_HERE)
        mark_handled(envelope)


def _fail_for_good(cell: Cell, envelope: Envelope, reason: ExitReason, kept: Kept) -> None:
    """Tells an asker whether its message is done all the same when the agent is started again (SEMANTICS 6)."""
    why = "" if isinstance(reason, NoProc) else f" ({reason})"
    text = f"{cell.actor} has ended for good{why} before it came to this message"
    if kept is Kept.NOT:
        cell.runtime.fail(envelope, Failure(error="AskFailed", text=text, reason=NoProc()))
        return
    has = "has it" if kept is Kept.STORED else "may have it"
    text += f"; its journal {has}, and when the agent is started again it is done: "
    text += f"ask then under the same command id, {envelope.command_id}"
    cell.runtime.fail(envelope, Failure(error="AskFailed", text=text, reason=reason))


def _is_kept(cell: Cell, envelope: Envelope) -> bool:
    """Of an actor that starts on demand nothing is lost: the store has it, or it goes to the next life under its id."""
    if cell.request.idle_s is None or cell.runtime.closed or envelope.kind > Kind.ASK or cell.intake is None:
        return False
    is_stored = cell.intake.dropped(envelope) is Kept.STORED
    if envelope.kind == Kind.TELL and not is_stored and envelope.mark is not None:
        cell.runtime.custody.give_back(envelope, at_once=True)
        return True
    mark_handled(envelope)
    if envelope.kind == Kind.ASK or not is_stored:
        cell.runtime.delivery.send_again(envelope)
    return True
