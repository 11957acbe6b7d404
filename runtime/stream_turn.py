"""What a turn's context has for streams: to emit parts of its answer, and to read those of others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from regrow.runtime.errors import Misuse
from regrow.runtime.message import StreamRequest
from regrow.runtime.outflow import Outflow, check_part
from regrow.runtime.ref import DEFAULT_ASK_TIMEOUT_S
from regrow.runtime.stream_window import PARTS_IN_A_ROW

if TYPE_CHECKING:
    from regrow.runtime.cell import Cell
    from regrow.runtime.context import Parked, Stashed
    from regrow.runtime.envelope import Envelope
    from regrow.runtime.ref import ActorRef
    from regrow.runtime.reply_slot import ReplySlot
    from regrow.runtime.stream import Stream
    from regrow.runtime.stream_window import Window

P = TypeVar("P")
R = TypeVar("R")


class StreamTurn:
    """The part of a CellContext that is about streams."""

    __slots__ = ("emitted", "flow")

    emitted: int
    """How many parts this turn has emitted, to somebody or nobody."""
    flow: Outflow | None
    """What it emits to; None where nobody wants parts. The kernel sets it."""

    if TYPE_CHECKING:
        _cell: Cell
        _envelope: Envelope | None
        instead: ReplySlot[Any] | Stashed | Parked | None

        def live(self) -> None: ...
        def _on_own_thread(self) -> None: ...
        def ref(self, target: ActorRef | str | object, *, key: str | None = None) -> ActorRef: ...

    async def emit(self, part: object) -> None:
        """Gives a part of the answer to whoever reads it; waits while the reader's window is full.

        Where the request was asked or told, nobody wants parts: it is checked and dropped. When the reader has gone,
        this turn is cancelled where it awaits; that of a durable agent goes on, and what it emits is dropped.

        Raises InvalidMessage for a part that is not what the request names, that can not travel, or that is too large;
        Misuse outside of the turn of a StreamRequest.
        """
        self._on_own_thread()
        self.live()
        cell, envelope = self._cell, self._envelope
        request = envelope.message if envelope is not None else None
        if not isinstance(request, StreamRequest):
            name = "no message" if request is None else type(request).__name__
            raise Misuse(
                f"{cell.actor} emits in the turn of {name}, and only a StreamRequest is answered in parts; derive it "
                "with class Tell(StreamRequest[Part, Reply])"
            )
        if envelope not in cell.in_turn:
            raise Misuse(
                f"{cell.actor} emits behind the end of its turn of {type(request).__name__}; wait in the handler for "
                "whatever emits, such as a task, before it returns"
            )
        if self.instead is not None:
            raise Misuse(f"{cell.actor} has deferred its reply or set its message aside; emit before that")
        self.emitted += 1
        flow = self.flow
        if flow is None:
            check_part(type(request), part)
        else:
            await flow.emit(part)
        if self.emitted % PARTS_IN_A_ROW == 0 and not self.wants_parts:
            await asyncio.sleep(0)  # nobody's window ever makes it wait, and others are to run meanwhile

    @property
    def wants_parts(self) -> bool:
        """Whether somebody reads what this turn emits; False where it was asked for its reply alone."""
        return self.flow is not None and not self.flow.is_left

    def stream(
        self,
        target: ActorRef | str | object,
        request: StreamRequest[P, R],
        *,
        timeout_s: float = DEFAULT_ASK_TIMEOUT_S,
        window: Window | None = None,
    ) -> Stream[P, R]:
        """Reads an answer part by part. See ActorRef.stream."""
        return self.ref(target).stream(request, timeout_s=timeout_s, window=window)

    def is_of(self, cell: Cell) -> bool:
        """Whether this is a turn of that cell, in whichever of its lives; for the kernel."""
        return self._cell is cell

    def check_unemitted(self, what: str) -> None:
        """Raises Misuse where parts were emitted that would come again when this turn is run a second time.

        Whoever asked: a handler that works when it is asked works when it is streamed.
        """
        if self.emitted:
            raise Misuse(
                f"{self._cell.actor} {what} behind ctx.emit; its handler is then run again from its first line, and "
                "its reader would get those parts twice; do this first, and emit after it"
            )
