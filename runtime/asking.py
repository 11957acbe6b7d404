"""The asking half of a runtime: sends requests, waits for what comes of them, and answers those of others."""

from __future__ import annotations

import asyncio
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from regrow.runtime import telemetry
from regrow.runtime.asks import PROBE_AFTER_S, Asks, PendingAsk, check_timeout, timed_out
from regrow.runtime.context import current
from regrow.runtime.delivery import MAX_REROUTES
from regrow.runtime.envelope import Envelope, Kind, mark_handled
from regrow.runtime.errors import (
    AskCycle,
    AskFailed,
    Closed,
    ContactLost,
    InvalidMessage,
    MailboxFull,
    RegrowError,
    not_in_a_thread,
)
from regrow.runtime.lifecycle import Killed, NoProc
from regrow.runtime.message import Request, registered, wrong_reply
from regrow.runtime.message_spans import begin_send, end_send
from regrow.runtime.outcome import Outcome
from regrow.runtime.signals import Failure, TakenBack, failure_of
from regrow.runtime.stored_size import too_large_for
from regrow.runtime.wire_forms import check as check_travels

if TYPE_CHECKING:
    from regrow.runtime.address import Address
    from regrow.runtime.cell import Cell
    from regrow.runtime.errors import Refused
    from regrow.runtime.reply_slot import ReplySlot
    from regrow.runtime.runtime import Runtime
    from regrow.runtime.stream_window import Window

R = TypeVar("R")

_THERE = (Outcome.TAKEN, Outcome.HELD)


class Asking:
    """Asks and answers for one process."""

    def __init__(self, runtime: Runtime, asks: Asks) -> None:
        self._runtime = runtime
        self._asks = asks
        asks.too_late = self._too_late

    # ---- asking --------------------------------------------------------------------------------

    async def ask(self, target: Address, request: Request[R], timeout_s: float, command_id: str | None) -> R:
        """See ActorRef.ask."""
        ask = self.send(target, request, timeout_s, self._runtime.loop.time(), command_id)
        try:
            return await ask.future  # type: ignore[return-value]
        except BaseException as error:
            if telemetry.spans.sampling is not None:
                telemetry.note_failed_ask(target.actor, error)
            self.give_up(ask, error)
            raise

    def send(
        self,
        target: Address,
        request: Request[Any],
        timeout_s: float,
        now: float,
        command_id: str | None = None,
        *,
        window: Window | None = None,
    ) -> PendingAsk:
        """Sends a request that begins `now`; the future of what it returns ends once, with the reply or an error.

        The turn's own deadline counts where that is earlier, and the end of its run. Whoever stops waiting before the
        end calls `give_up`.
        """
        check_timeout(timeout_s)
        runtime = self._runtime
        envelope = runtime.envelope(Kind.ASK, target, request)
        deadline = now + timeout_s
        ends_at = runtime.guarding.ends_at(envelope.origin)
        if ends_at is not None and ends_at < deadline:
            timeout_s, deadline = ends_at - now, ends_at
        turn = current.get()
        if turn is None:
            ask = self._asks.open(target.actor, request, timeout_s, deadline)
        else:
            limit = turn.deadline_at
            if limit is not None and limit < deadline:
                timeout_s, deadline = limit - now, limit
            ask = self._asks.open(target.actor, request, timeout_s, deadline, turn, now + PROBE_AFTER_S)
        ask.envelope = envelope
        envelope.deadline = deadline
        envelope.ask_id = ask.ask_id
        envelope.reply_host = runtime.host
        envelope.command_id = command_id
        envelope.window = window
        if telemetry.spans.sampling is not None and (span := begin_send(runtime, envelope)) is not None:
            ask.future.add_done_callback(partial(end_send, span))
        cell = runtime.cell_now(target.actor)
        if cell is None or runtime.delivery.arrive(cell, envelope) not in _THERE:
            envelope.on_settled = lambda outcome: self._settled(ask, outcome)
            runtime.delivery.send(envelope)
        return ask

    def give_up(self, ask: PendingAsk, error: BaseException) -> None:
        """Nobody waits for the answer any more: a request that has not begun need not run."""
        self._asks.close(ask)
        if ask.future.done() and not ask.future.cancelled():
            ask.future.exception()  # looked at, whether or not somebody was there to see it
        envelope = ask.envelope
        assert envelope is not None
        if envelope.holder is not None and envelope.holder.withdraw(envelope):
            return
        if isinstance(error, asyncio.CancelledError | AskCycle):  # at its deadline it is dropped without our word
            self._take_back(ask)

    def _take_back(self, ask: PendingAsk) -> None:
        runtime = self._runtime
        signal = TakenBack(host=runtime.host, ask_id=ask.ask_id)
        cell = runtime.cells.get(ask.actor)
        if cell is not None:
            self.taken_back(cell, signal)
        elif ask.host is not None and runtime.delivery.carrier is not None:
            assert ask.envelope is not None
            ask.envelope.deadline = runtime.loop.time()  # should it come back refused, it leaves as one that expired
            envelope = Envelope(Kind.SIGNAL, ask.actor, signal, runtime.origin)
            envelope.reroutes = MAX_REROUTES  # an actor that moved meanwhile has lost the request
            runtime.delivery.carrier.send(ask.host, envelope)

    def taken_back(self, cell: Cell, signal: TakenBack) -> None:
        """The asker of a request for `cell` has gone: it is taken out, unless it has begun; a stream ends even then."""
        self._runtime.streams.left(signal.host, signal.ask_id)
        is_stored = cell.intake.holds if cell.intake is not None else None
        envelope = cell.mailbox.take_back(signal.host, signal.ask_id, unless=is_stored)
        if envelope is not None:
            mark_handled(envelope)

    def _settled(self, ask: PendingAsk, outcome: Outcome) -> None:
        match outcome:
            case Outcome.TAKEN | Outcome.HELD:
                return
            case Outcome.REJECTED | Outcome.FULL:
                self._asks.fail(ask.ask_id, MailboxFull(ask.actor, self._runtime.capacity(ask.actor), 0.0))
            case Outcome.TOO_LARGE:
                self._asks.fail(ask.ask_id, too_large_for(self._runtime, ask.actor, ask.request))
            case Outcome.LOST | Outcome.TOO_LATE:
                text = f"the host of {ask.actor} was lost while it held {type(ask.request).__name__}; it may have run"
                self._asks.fail(ask.ask_id, AskFailed(ask.actor, Killed(detail="host lost"), text))
            case Outcome.NOT_HERE:
                asked = type(ask.request).__name__
                text = f"{ask.actor} does not exist or has ended for good, so nobody can answer {asked}"
                self._asks.fail(ask.ask_id, AskFailed(ask.actor, NoProc(), text))

    def _too_late(self, ask: PendingAsk) -> RegrowError:
        """At its deadline: the run may be over, and one that waits for a process without contact is not merely late."""
        envelope, guarding = ask.envelope, self._runtime.guarding
        if envelope is not None and (ends_at := guarding.ends_at(envelope.origin)) is not None:
            if ends_at <= self._runtime.loop.time():
                sender = envelope.origin.sender
                return guarding.time_is_up(envelope.origin, agent=sender.actor if sender is not None else "")
        if envelope is None or envelope.holder is None or not self._runtime.delivery.is_lost(envelope):
            return timed_out(ask)
        may_have_run = not envelope.holder.withdraw(envelope)
        return ContactLost(ask.actor, type(ask.request).__name__, may_have_run=may_have_run)

    def run_ends(self, run: str, at: float) -> None:
        """What is asked in this run waits until then at most."""
        for ask in self._asks:
            if ask.envelope is not None and ask.envelope.origin.run == run:
                self._asks.shorten(ask, at)

    def fail_all(self) -> None:
        """Ends every ask that waits, since the runtime closes."""
        self._asks.fail_all(_closed)

    # ---- answering -----------------------------------------------------------------------------

    def reply(self, envelope: Envelope, value: object) -> None:
        """Sends the reply of an ask to where it waits."""
        if envelope.window is not None:
            self._runtime.streams.finish(envelope)
        if envelope.reply_host == self._runtime.host:
            if not self._asks.reply(envelope.ask_id, value):
                self._runtime.dead_letters.add(envelope, "late_reply")
            return
        self._send_back(Kind.REPLY, envelope, value)

    def fail(self, envelope: Envelope, failure: Failure) -> None:
        """Answers an ask with a failure; a tell that fails is a dead letter."""
        if envelope.window is not None:
            self._runtime.streams.finish(envelope)
        if envelope.kind != Kind.ASK:
            self._runtime.dead_letters.add(envelope, failure.error)
        elif envelope.reply_host == self._runtime.host:
            self._asks.fail(envelope.ask_id, failure.exception(envelope.receiver))
        else:
            self._send_back(Kind.FAILURE, envelope, failure)

    def _send_back(self, kind: Kind, envelope: Envelope, value: object) -> None:
        carrier = self._runtime.delivery.carrier
        assert carrier is not None and envelope.reply_host is not None
        check_travels(value)
        back = Envelope(kind, envelope.receiver, value, self._runtime.origin, ask_id=envelope.ask_id)
        carrier.send(envelope.reply_host, back)

    # ---- answering by a slot -------------------------------------------------------------------

    def answer(self, slot: ReplySlot[Any], value: object) -> None:
        """See ReplySlot.reply."""
        request = registered(slot.request)
        # Where the request's class is unknown the life that took the slot checks; it was asked, so it knows.
        if request is not None and issubclass(request, Request) and not request.reply().accepts(value):
            raise wrong_reply(request, value)
        self._answer_by(slot, Kind.REPLY, value)

    def refuse(self, slot: ReplySlot[Any], refusal: Refused) -> None:
        """See ReplySlot.refuse."""
        self._answer_by(slot, Kind.FAILURE, failure_of(refusal))

    def _answer_by(self, slot: ReplySlot[Any], kind: Kind, value: object) -> None:
        runtime, taker = self._runtime, slot.taker.address
        if get_ident() != runtime.thread_id:
            raise not_in_a_thread("answer")
        if runtime.closed:
            raise Closed("this app has stopped; nobody waits for the answer any more")
        answer = Envelope(
            kind,
            taker.actor,
            value,
            runtime.current_origin(),
            ask_id=slot.ask_id,
            reply_host=slot.reply_host,
            incarnation=taker.incarnation,
        )
        if slot.reply_host != runtime.host or taker.actor not in runtime.cells:
            check_travels(value)
        runtime.delivery.send(answer)

    def answered(self, cell: Cell, answer: Envelope) -> None:
        """The answer to an ask of `cell` for which it had taken the slot; a second one is a dead letter."""
        ask = cell.open_slots.get(answer.reply_host, answer.ask_id)
        if ask is None:
            self._runtime.dead_letters.add(answer, "late_reply")
            return
        cell.open_slots.settle(ask)
        request, value = ask.message, answer.message
        assert isinstance(request, Request)
        if isinstance(value, Failure):
            self.fail(ask, value)
            return
        try:
            if not request.reply().accepts(value):
                value = request.reply().read(value)  # it came as bytes, and is of a class that only the request names
        except ValueError as error:
            text = f"the reply to {type(request).__name__} that was given for {cell.actor} could not be read ({error})"
            self.fail(ask, failure_of(InvalidMessage(text)))
        else:
            self.reply(ask, value)


def _closed(ask: PendingAsk) -> RegrowError:
    return Closed(f"the app stopped before {ask.actor} had answered {type(ask.request).__name__}")
