"""The asking half of a runtime: sends requests, waits for what comes of them, and answers those of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from regrow.runtime.asks import Asks, PendingAsk
from regrow.runtime.context import current
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import AskFailed, Closed, MailboxFull, RegrowError
from regrow.runtime.lifecycle import Killed, NoProc
from regrow.runtime.outcome import Outcome
from regrow.runtime.wire_forms import check as check_travels

if TYPE_CHECKING:
    from regrow.runtime.address import Address
    from regrow.runtime.message import Request
    from regrow.runtime.runtime import Runtime
    from regrow.runtime.signals import Failure

R = TypeVar("R")


class Asking:
    """Asks and answers for one process."""

    def __init__(self, runtime: Runtime, asks: Asks) -> None:
        self._runtime = runtime
        self._asks = asks

    async def ask(self, target: Address, request: Request[R], timeout_s: float, command_id: str | None) -> R:
        """See ActorRef.ask."""
        runtime = self._runtime
        envelope = runtime.envelope(Kind.ASK, target, request)
        now = runtime.loop.time()
        deadline = now + timeout_s
        ctx = current.get()
        if ctx is not None and (left := ctx.deadline) is not None and left < timeout_s:
            timeout_s, deadline = left, now + left
        ask = self._asks.open(target.actor, request, timeout_s, deadline)
        envelope.deadline = deadline
        envelope.ask_id = ask.ask_id
        envelope.reply_host = runtime.host
        envelope.command_id = command_id
        try:
            cell = runtime.cell_now(target.actor)
            if cell is None or runtime.delivery.arrive(cell, envelope) is not Outcome.TAKEN:
                envelope.on_settled = lambda outcome: self._settled(ask, outcome)
                runtime.delivery.send(envelope)
            return await ask.future  # type: ignore[return-value]
        except BaseException:
            if envelope.holder is not None:
                envelope.holder.withdraw(envelope)  # nobody waits for the answer: it need not run
            raise
        finally:
            self._asks.close(ask)

    def _settled(self, ask: PendingAsk, outcome: Outcome) -> None:
        match outcome:
            case Outcome.TAKEN:
                return
            case Outcome.REJECTED | Outcome.FULL:
                self._asks.fail(ask.ask_id, MailboxFull(ask.actor, self._runtime.capacity(ask.actor), 0.0))
            case Outcome.LOST | Outcome.TOO_LATE:
                text = f"the host of {ask.actor} was lost while it held {type(ask.request).__name__}; it may have run"
                self._asks.fail(ask.ask_id, AskFailed(ask.actor, Killed(detail="host lost"), text))
            case Outcome.NOT_HERE:
                asked = type(ask.request).__name__
                text = f"{ask.actor} does not exist or has ended for good, so nobody can answer {asked}"
                self._asks.fail(ask.ask_id, AskFailed(ask.actor, NoProc(), text))

    def fail_all(self) -> None:
        """Ends every ask that waits, since the runtime closes."""
        self._asks.fail_all(_closed)

    # ---- answering -----------------------------------------------------------------------------

    def reply(self, envelope: Envelope, value: object) -> None:
        """Sends the reply of an ask to where it waits."""
        if envelope.reply_host == self._runtime.host:
            if not self._asks.reply(envelope.ask_id, value):
                self._runtime.dead_letters.add(envelope, "late_reply")
            return
        self._send_back(Kind.REPLY, envelope, value)

    def fail(self, envelope: Envelope, failure: Failure) -> None:
        """Answers an ask with a failure; a tell that fails is a dead letter."""
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


def _closed(ask: PendingAsk) -> RegrowError:
    return Closed(f"the app stopped before {ask.actor} had answered {type(ask.request).__name__}")
