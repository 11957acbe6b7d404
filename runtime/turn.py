"""One turn: a cell handles one envelope, and whatever happens its asker is answered.

With `cell` and `contain` the one place of the kernel that catches everything: what leaves an actor's code ends that
actor, and the supervisor decides.
"""

from __future__ import annotations

import asyncio
from itertools import takewhile
from typing import TYPE_CHECKING, cast

from regrow.runtime import telemetry
from regrow.runtime.contain import is_interrupt
from regrow.runtime.context import CellContext, Parked, Stashed, current
from regrow.runtime.deaths import HANDLED, Fate, note
from regrow.runtime.envelope import Envelope, Kind, mark_handled
from regrow.runtime.errors import AskCycle, CallingSelf, InvalidMessage, Refused
from regrow.runtime.leftovers import put_back
from regrow.runtime.lifecycle import Killed, NoProc, crashed
from regrow.runtime.message import Request, wrong_reply
from regrow.runtime.message_spans import begin_turn
from regrow.runtime.signals import Failure, failure_of

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.cell import Cell


MAX_CONCURRENT_TURNS = 256
"""How many turns of one actor may run at once where its handlers are concurrent, unless it says otherwise."""


def would_deadlock(cell: Cell, envelope: Envelope) -> bool:
    """Answers an ask that could never be served: of itself, or around a circle of waiting agents."""
    if cell.actor not in envelope.origin.chain or cell.may_run_beside(envelope.message):
        return False
    sender, chain = envelope.origin.sender, envelope.origin.chain
    if sender is not None and sender.actor == cell.actor:
        cell.runtime.fail(envelope, failure_of(CallingSelf(cell.actor)))
    elif _waits_still(cell, chain):
        cell.runtime.fail(envelope, failure_of(AskCycle(chain, cell.actor)))
    else:
        return False
    mark_handled(envelope)
    return True


def _waits_still(cell: Cell, chain: tuple[ActorId, ...]) -> bool:
    """Whether the turn that keeps this agent from others still waits for the next one of the chain.

    It may have given up, or have died since. One that serves others meanwhile is left out of the chain: which of its
    turns is waited for is not known here, and a chase tells (see ask_rings).
    """
    following = chain.index(cell.actor) + 1
    if following == len(chain):
        return False
    asked = chain[following]
    turns = (ask.turn.turn_that_runs() for ask in cell.runtime.asks if ask.actor == asked and ask.turn is not None)
    return any(turn is not None and turn[0] is cell and _keeps_others(*turn) for turn in turns)


def _keeps_others(cell: Cell, envelope: Envelope | None) -> bool:
    return envelope is None or not cell.may_run_beside(envelope.message)


def is_full(cell: Cell) -> bool:
    """True when as many concurrent turns run as may."""
    return len(cell.turns) >= _limit(cell.behavior)


def _limit(behavior: Behavior | None) -> int:
    own: int | None = getattr(behavior, "concurrent_turns", None)
    return MAX_CONCURRENT_TURNS if own is None else own


def runs_beside(cell: Cell, envelope: Envelope) -> bool:
    """Starts the turn of a message that may run beside the one that runs, unless others are ahead of it.

    A call back from where that turn waits overtakes them, since they wait for that turn themselves. So does what only
    reads, which is all that may run beside where messages are stored: those ahead of it may wait for the store.
    """
    if cell.is_between_turns or cell.is_over or cell.stop_reason is not None or is_full(cell):
        return False
    if not cell.may_run_beside(envelope.message):
        return False
    if cell.mailbox.user and cell.intake is None and cell.actor not in envelope.origin.chain:
        return False
    cell.mailbox.taken += 1
    start_turn_beside(cell, envelope)
    return True


def start_queued_beside(cell: Cell) -> None:
    """Starts what may run beside the turn that runs and came while it could not."""
    while not is_full(cell) and not (cell.is_between_turns or cell.is_over or cell.stop_reason is not None):
        queued = _queued_beside(cell)
        if not queued:
            return
        for envelope in queued[: _limit(cell.behavior) - len(cell.turns)]:
            if cell.mailbox.discard(envelope):
                cell.mailbox.taken += 1
                start_turn_beside(cell, envelope)


def _queued_beside(cell: Cell) -> list[Envelope]:
    """What comes next, for nothing overtakes; but all that only reads, since what is ahead may wait for the store."""
    if cell.intake is None:
        return list(takewhile(lambda envelope: cell.may_run_beside(envelope.message), cell.mailbox.user))
    return [envelope for envelope in cell.mailbox.user if cell.may_run_beside(envelope.message)]


def start_turn_beside(cell: Cell, envelope: Envelope) -> None:
    """Handles one envelope in a task of its own."""
    cell.in_turn[envelope] = cell.runtime.loop.time()  # at once: the life may end before the task's first step
    turns, behavior = cell.turns, cell.behavior  # of this life: one that is killed and does not let go outlives it
    task = cell.spawn_task(run_turn(cell, envelope))
    turns[task] = None

    def done(task: asyncio.Task[None]) -> None:
        was_full = len(turns) >= _limit(behavior)
        turns.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None and cell.behavior is behavior:
            cell.broke(error)
        elif was_full and cell.behavior is behavior:
            start_queued_beside(cell)

    task.add_done_callback(done)


async def run_turn(cell: Cell, envelope: Envelope) -> None:
    """Guards, handles and replies."""
    if _is_over(cell, envelope):
        cell.in_turn.pop(envelope, None)
        return
    behavior = cell.behavior
    assert behavior is not None
    cell.in_turn[envelope] = cell.runtime.loop.time()
    cell.runtime.metrics.turns += 1
    span = begin_turn(cell, envelope) if telemetry.spans.sampling is not None else None
    ctx = cell.context(envelope)
    token = current.set(ctx)
    is_stashed, is_kept = False, _is_kept(cell, envelope)
    failure: BaseException | None = None
    try:
        if envelope.window is not None:
            ctx.flow = cell.runtime.streams.begin(cell, envelope)
        reply = await behavior.handle(envelope.message, ctx)
        if ctx.instead is not None:
            is_stashed = _lasts(cell, behavior, envelope) and _without_reply(cell, envelope, ctx.instead, reply)
        elif envelope.kind == Kind.ASK and _lasts(cell, behavior, envelope):
            _answer(cell, envelope, reply)
    except Refused as refusal:
        failure = refusal
        if _lasts(cell, behavior, envelope):
            _refuse(cell, envelope, refusal)
    except asyncio.CancelledError as error:
        failure = error
        is_left = ctx.flow is not None and ctx.flow.is_left and cell.stop_reason is None
        if not is_left and _lasts(cell, behavior, envelope):
            _cancelled(cell, envelope, error)
    except BaseException as error:  # what leaves an actor's code ends the actor, whatever it is
        failure = error
        if _lasts(cell, behavior, envelope):
            _crash(cell, envelope, error)
        if is_interrupt(error):
            raise
    finally:
        current.reset(token)
        if span is not None:
            span.end(failure)
        if ctx.flow is not None:
            cell.runtime.streams.end(ctx.flow)
        if cell.behavior is behavior and cell.in_turn.pop(envelope, None) is not None:  # else its end was noted
            refused = failure if isinstance(failure, Refused) else None
            is_plain = failure is None and ctx.instead is None
            note(cell, envelope, HANDLED if is_plain else _fate_of(failure, ctx), refusal=refused)
        if envelope.mark is not None and not is_stashed and not is_kept:
            mark_handled(envelope)  # of what is kept, its intake says when whoever sent it may forget it


def _lasts(cell: Cell, behavior: Behavior, envelope: Envelope) -> bool:
    """Whether a turn still is that of its envelope: else the end of its life has answered, or the next life has it."""
    return envelope in cell.in_turn and cell.behavior is behavior


def _is_kept(cell: Cell, envelope: Envelope) -> bool:
    """Whether the envelope has an outcome yet to come; whoever sent it keeps it until it is stored."""
    return cell.intake is not None and cell.intake.holds(envelope)


def _is_over(cell: Cell, envelope: Envelope) -> bool:
    """True for what must not run any more: past its deadline, meant for an earlier life, or perhaps run by one."""
    if _is_kept(cell, envelope):
        return False  # what has been accepted gets an outcome that is recorded, by its agent
    if envelope.deadline is not None and envelope.deadline <= cell.runtime.loop.time():
        cell.runtime.dead_letters.add(envelope, "expired", cell.incarnation)
        return True
    if envelope.may_have_run and cell.intake is not None and not cell.intake.keeps(envelope):
        _refuse_second_run(cell, envelope)
        return True
    if envelope.incarnation is None or envelope.incarnation == cell.incarnation:
        return False
    if envelope.kind == Kind.ASK:
        text = f"{cell.actor}#{envelope.incarnation} has ended; ask {cell.actor} for the life that runs now"
        cell.runtime.fail(envelope, Failure(error="AskFailed", text=text, reason=NoProc()))
        mark_handled(envelope)
    elif envelope.kind == Kind.TELL:
        cell.runtime.dead_letters.add(envelope, "earlier_life")
    else:
        mark_handled(envelope)  # ticks and Downs of an earlier life concern nobody
    return True


def _refuse_second_run(cell: Cell, envelope: Envelope) -> None:
    """Its process may have died of it, and nothing counts how often; so it is not given to one life after the other."""
    if envelope.kind == Kind.ASK:
        name = type(envelope.message).__name__
        text = (
            f"{cell.actor} may have run {name} in a process that died, perhaps of it; nothing is stored of what only "
            f"reads, so it is not run again: ask again if {name} is harmless"
        )
        reason = Killed(detail="its process died")
        cell.runtime.fail(envelope, Failure(error="AskFailed", text=text, reason=reason))
    else:
        cell.runtime.dead_letters.add(envelope, "host_lost", cell.incarnation)
    mark_handled(envelope)


def _answer(cell: Cell, envelope: Envelope, reply: object) -> None:
    request: Request[object] = cast("Request[object]", envelope.message)  # an ASK carries nothing else
    if not request.reply().accepts(reply):
        raise wrong_reply(type(request), reply)
    cell.runtime.asking.reply(envelope, reply)


def _without_reply(cell: Cell, envelope: Envelope, instead: object, reply: object) -> bool:
    """Ends a turn that has deferred its reply, or sets its message aside; True when it goes into the stash."""
    if isinstance(instead, Stashed):
        cell.mailbox.stash(envelope)
        return True
    if reply is not None and reply is not instead:
        raise InvalidMessage(f"{cell.actor} took its reply slot and returned {reply!r:.80} too; return the slot")
    return False


def _refuse(cell: Cell, envelope: Envelope, refusal: Refused) -> None:
    deferred = cell.open_slots.get(envelope.reply_host, envelope.ask_id) if envelope.ask_id else None
    if deferred is not None:
        cell.open_slots.settle(deferred)
        cell.runtime.fail(deferred, failure_of(refusal))
    elif envelope.kind == Kind.ASK:
        cell.runtime.fail(envelope, failure_of(refusal))
    else:
        cell.runtime.dead_letters.add(envelope, "refused", cell.incarnation)


def _cancelled(cell: Cell, envelope: Envelope, error: asyncio.CancelledError) -> None:
    """A stop or kill cut the turn short; without one, the handler let a cancellation escape."""
    if cell.stop_reason is None:
        _crash(cell, envelope, error)
        return
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()  # the stop has been heard; `stopping` may use timeouts and task groups
    if _is_kept(cell, envelope):
        put_back(cell, envelope, cell.stop_reason)  # it was accepted, so its outcome is yet to come: in the next life
    elif envelope.kind == Kind.ASK:
        cell.debts.owe(envelope, cell.incarnation, cell.stop_reason, intake=cell.intake)
    elif envelope.kind == Kind.TELL:
        cell.runtime.dead_letters.add(envelope, "stopped", cell.incarnation)


def _fate_of(failure: BaseException | None, ctx: CellContext) -> Fate:
    if failure is not None:
        return Fate.REFUSED if isinstance(failure, Refused) else Fate.CUT
    match ctx.instead:
        case Stashed():
            return Fate.STASHED
        case Parked():
            return Fate.WAITING
        case _:
            return HANDLED


def _crash(cell: Cell, envelope: Envelope, error: BaseException) -> None:
    note(cell, envelope, Fate.CRASHED)
    cell.end(crashed(error, on_message=type(envelope.message).__name__))
