"""A stream that a durable turn reads: asked once, its parts and reply recorded, and read again when the turn is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from regrow.runtime.errors import CodeNotImportable, Misuse, RegrowError
from regrow.runtime.stream import Stream
from regrow.runtime.stream_window import Batch, Window

if TYPE_CHECKING:
    from types import TracebackType

    from regrow.actors.recorded_asks import RecordedAsk
    from regrow.runtime.message import StreamRequest
    from regrow.runtime.ref import ActorRef

P = TypeVar("P")
R = TypeVar("R")

MAX_RECORDED_BYTES = 2**24
"""What the parts of one stream may take together where a durable turn reads it, since they are recorded."""


class RecordedStream(Stream[P, R]):
    """Behind its last part all of it is in the journal: a run of the turn that finds it there asks nobody.

    Left before its end it has no record, so that another run of the turn asks again. A durable agent that has answered
    by then gives its reply alone: the loop over the parts raises PartsLost, in that run and in all later ones.
    With `parts_of` the reply alone is recorded, and the parts are made of it.
    """

    def __init__(
        self,
        ref: ActorRef,
        request: StreamRequest[P, R],
        asked: RecordedAsk[R],
        *,
        timeout_s: float,
        window: Window | None = None,
        parts_of: Callable[[R], tuple[P, ...]] | None = None,
    ) -> None:
        window = window if window is not None else Window()
        super().__init__(ref.runtime, ref.address, request, timeout_s=timeout_s, window=window, command_id=None)
        self._asked = asked
        self._parts_of = parts_of
        self._is_asked: asyncio.Future[None] = ref.runtime.loop.create_future()
        self._recording: asyncio.Future[object] | None = None
        self._arrived: list[object] = []
        self._arrived_bytes = 0
        self._recorded: deque[P] | None = None
        """What is left of the parts of a record."""
        self._recorded_reply: R | None = None
        self._recorded_parts = self._recorded_emitted = 0
        """How many parts the record has, and how many there were: more where they went to an earlier reader."""

    async def __aenter__(self) -> RecordedStream[P, R]:
        """See Stream; raises also what the record says, and Misuse where nothing can be recorded."""
        if self._recording is not None:
            raise Misuse("this stream was opened before; call ctx.stream again for another one")
        self._recording = recording = asyncio.ensure_future(self._once())
        try:
            await asyncio.wait((recording, self._is_asked), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self._end()
            raise
        if not self._is_asked.done():
            self._read(recording.result())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See Stream."""
        await self._end()

    def __aiter__(self) -> RecordedStream[P, R]:
        if self._recorded is None:
            self._opened()
        return self

    async def __anext__(self) -> P:
        if self._recorded is not None:
            if not self._recorded:
                self._check_whole(self._recorded_reply, emitted=self._recorded_emitted, read=self._recorded_parts)
                raise StopAsyncIteration
            return self._recorded.popleft()
        try:
            return await super().__anext__()
        except (StopAsyncIteration, RegrowError):
            if self._recording is not None and self._opened().future.done():
                await self._recording  # stored before anything follows; raises what ended the stream
            raise

    @property
    def reply(self) -> R:
        """See Stream."""
        return super().reply if self._recorded is None else cast("R", self._recorded_reply)

    def arrived(self, batch: Batch) -> None:
        """See Stream; keeps what will be recorded."""
        if self._parts_of is None:
            self._arrived += batch.parts
            self._arrived_bytes += batch.size_bytes
            if self._arrived_bytes > MAX_RECORDED_BYTES:
                too_long = Misuse(
                    f"the parts of {self._target.actor} pass the {MAX_RECORDED_BYTES:,} bytes that a durable turn may "
                    "read of one stream, since they are recorded; ask for the reply alone, or read in a plain agent"
                )
                self._runtime.asks.fail(self._opened().ask_id, too_long)
        super().arrived(batch)

    async def _once(self) -> object:
        await self._asked.begin()
        return await self._asked.kept(self._read_live)

    async def _read_live(self) -> object:
        if self._parts_of is None:  # an agent may be durable itself; a service is not
            self._command_id = await self._asked.command()
        await super().__aenter__()
        self._is_asked.set_result(None)
        reply = await asyncio.shield(self._opened().future)
        return reply if self._parts_of is not None else (tuple(self._arrived), reply, self._unread.emitted)

    def _read(self, record: object) -> None:
        request = self._request
        try:
            if self._parts_of is not None:
                reply = cast("R", request.reply().read(record))
                self._recorded = deque(self._parts_of(reply))
                self._recorded_parts = self._recorded_emitted = len(self._recorded)
            else:
                parts, value, emitted = cast("tuple[tuple[object, ...], object, int]", record)
                reply = cast("R", request.reply().read(value))
                self._recorded = deque(cast("P", request.part().read(part)) for part in parts)
                self._recorded_parts, self._recorded_emitted = len(self._recorded), emitted
        except (ValueError, TypeError) as error:
            raise CodeNotImportable(
                f"the recorded answer of {self._target.actor} is none to {type(request).__name__} any more ({error})"
            ) from error
        self._recorded_reply = reply

    async def _end(self) -> None:
        self.leave()
        recording = self._recording
        if recording is None:
            return
        if not recording.done() and not (self._ask is not None and self._ask.future.done()):
            recording.cancel()  # nothing is to be recorded
        await asyncio.wait((recording,))
        if not recording.cancelled():
            recording.exception()  # looked at, whether or not it was read to its end
