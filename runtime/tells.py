"""How long a tell waits until its receiver's process has taken it, and how that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from regrow.runtime.envelope import Envelope
from regrow.runtime.errors import ContactLost, MailboxFull, RegrowError
from regrow.runtime.outcome import Outcome

LOOK_AGAIN_S = 0.01
"""How often a tell past its time looks whether it can be taken back by now, or whether contact is lost."""


class Settling:
    """One tell on its way; made before it is sent, so that it hears whatever becomes of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, envelope: Envelope) -> None:
        self._envelope = envelope
        self._settled: asyncio.Future[Outcome] = loop.create_future()
        self.refusal: RegrowError | None = None
        """Why the receiver could not be started, where that was the end of it."""
        envelope.on_settled = self

    def __call__(self, outcome: Outcome) -> None:
        """The envelope is settled."""
        if not self._settled.done():
            self._settled.set_result(outcome)

    async def taken(
        self, timeout_s: float, *, capacity: Callable[[], int], is_lost: Callable[[Envelope], bool]
    ) -> Outcome:
        """What the receiver's side did with the envelope.

        Raises MailboxFull when there is no room in time, ContactLost when its process does not answer, and why a
        receiver that starts on demand could not be started.
        """
        envelope = self._envelope
        outcome = await self.within(timeout_s)
        while outcome is None:
            was_lost, sent = is_lost(envelope), type(envelope.message).__name__
            if envelope.holder is None or envelope.holder.withdraw(envelope):
                if was_lost:
                    raise ContactLost(envelope.receiver, sent, may_have_run=False)
                raise MailboxFull(envelope.receiver, capacity(), timeout_s)
            if was_lost:
                envelope.on_settled = None  # should it get nowhere after all, it is a dead letter
                raise ContactLost(envelope.receiver, sent)
            # It is under way and not ours to take back, until it is taken or turned away for want of room.
            outcome = await self.within(LOOK_AGAIN_S)
        if self.refusal is not None:
            raise self.refusal
        return outcome

    async def within(self, timeout_s: float) -> Outcome | None:
        """What became of the envelope by then; None while that is not known."""
        try:
            await asyncio.wait((self._settled,), timeout=timeout_s)
        except asyncio.CancelledError:
            if self._envelope.holder is not None:
                self._envelope.holder.withdraw(self._envelope)  # its sender may be dead: nothing comes after its Down
            raise
        return self._settled.result() if self._settled.done() else None
