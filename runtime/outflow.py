"""The producing end of one stream: the turn that emits, what it may still send, and how it hears that nobody reads.

Parts that are emitted in one round of the loop go together, as do those emitted while a grant is waited for. A turn
whose consumer has gone is cancelled where it awaits; one whose outcome is recorded goes on, and its parts are dropped.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from regrow.runtime.errors import Misuse
from regrow.runtime.message import StreamRequest, wrong_part
from regrow.runtime.stream_window import Batch, Credit, Totals, Window, measured
from regrow.runtime.wire_forms import check as check_travels

if TYPE_CHECKING:
    from regrow.runtime.envelope import Envelope

GONE = "the consumer of its stream has gone"
"""What a turn is cancelled with."""


class Outflow:
    """What one turn gives to one consumer."""

    __slots__ = (
        "_at_deadline",
        "_credit",
        "_flush_soon",
        "_granted",
        "_is_cancelled",
        "_loop",
        "_part",
        "_request",
        "_send",
        "_stays",
        "_task",
        "_travels",
        "envelope",
        "is_left",
        "is_over",
    )

    def __init__(
        self,
        envelope: Envelope,
        window: Window,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[Batch], None],
        *,
        stays: bool,
        travels: bool,
    ) -> None:
        self.envelope = envelope
        self.is_left = False
        """Whether the consumer has gone."""
        self.is_over = False
        """Whether the turn has ended, or its reply is on its way."""
        self._request: type[StreamRequest[Any, Any]] = type(envelope.message)  # type: ignore[assignment] # checked before
        self._part = self._request.part()
        self._credit = Credit(window)
        self._loop = loop
        self._send = send
        self._stays = stays
        """Whether the turn goes on without its consumer."""
        self._travels = travels
        self._task = asyncio.current_task() if not stays else None
        self._is_cancelled = False
        self._flush_soon: asyncio.Handle | None = None
        self._granted: asyncio.Future[None] | None = None
        deadline = envelope.deadline
        self._at_deadline = (
            loop.call_at(deadline, self.leave) if deadline is not None and math.isfinite(deadline) else None
        )

    @property
    def has_begun(self) -> bool:
        """Whether a part was emitted."""
        return self._credit.has_begun

    async def emit(self, part: object) -> None:
        """Sends a part as soon as the window has room for it. Raises InvalidMessage, Misuse and CancelledError."""
        if not self._part.accepts(part):
            raise wrong_part(self._request, part)
        if self._travels:
            check_travels(part)
        size_bytes = measured(part, self.envelope.receiver)
        while not self.is_left and not self.is_over and not self._credit.covers(size_bytes):
            self._flush(wants=True)
            await self._news()
        if self.is_over:
            raise Misuse(f"{self.envelope.receiver} has ended the turn of this stream, so nothing more can be emitted")
        if self.is_left:
            if not self._stays:
                await asyncio.sleep(0)  # code that catches this and goes on emitting must not hold up all others
                raise asyncio.CancelledError(GONE)
        elif self._credit.spend(part, size_bytes):
            self._flush(wants=False)
        elif self._flush_soon is None:
            self._flush_soon = self._loop.call_soon(self._flush)

    def granted(self, read: Totals) -> None:
        """The consumer has read so much."""
        self._credit.grant(read)
        self._wake()

    def leave(self) -> None:
        """The consumer has gone: it left, ended, died, or its time is over."""
        if self.is_left or self.is_over:
            return
        self.is_left = True
        self._wake()
        if not self._stays and self._task is not None:
            self._is_cancelled = self._task.cancel(GONE)

    def finish(self) -> None:
        """Sends what is ready; nothing follows but the end."""
        if not self.is_over:
            self._flush()
            self.is_over = True
            self._wake()
            if self._at_deadline is not None:
                self._at_deadline.cancel()

    def end_turn(self) -> None:
        """The turn is over, however it ended; its task serves the next message."""
        self.finish()
        if self._is_cancelled and self._task is not None and self._task.cancelling():
            self._task.uncancel()
        self._task = None

    def _flush(self, *, wants: bool = False) -> None:
        if self._flush_soon is not None:
            self._flush_soon.cancel()
            self._flush_soon = None
        batch = self._credit.batch(wants=wants)
        if batch is not None and not self.is_left and not self.is_over:
            self._send(batch)

    async def _news(self) -> None:
        if self._granted is None:
            self._granted = self._loop.create_future()
        await asyncio.shield(self._granted)  # several may wait, and one that is cancelled must not cancel the others

    def _wake(self) -> None:
        if self._granted is not None:
            self._granted.set_result(None)
            self._granted = None


def check_part(request: type[StreamRequest[Any, Any]], part: object) -> None:
    """Raises InvalidMessage for a part of another type than the request names."""
    if not request.part().accepts(part):
        raise wrong_part(request, part)
