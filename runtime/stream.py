"""Stream: an answer that is read part by part, and ends once, with its reply or a reason.

Behind it is an ask like any other: one deadline, one end, the same errors. The parts come to a slot of their own and
not into a mailbox, as many as the consumer's window lets through.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar, cast

from regrow.runtime.asks import check_timeout
from regrow.runtime.errors import Misuse, PartsLost
from regrow.runtime.message import StreamRequest
from regrow.runtime.stream_window import Batch, Unread, Window

if TYPE_CHECKING:
    from types import TracebackType

    from regrow.runtime.address import Address
    from regrow.runtime.asks import PendingAsk
    from regrow.runtime.runtime import Runtime

P = TypeVar("P")
R = TypeVar("R")


class Stream(Generic[P, R]):
    """The parts of one answer, in order: `async with ref.stream(request) as stream: async for part in stream`.

    Behind the last part `stream.reply` is the reply; what else may end it is raised by the loop, behind the parts that
    had come: what `ask` raises, or PartsLost where there is a reply and parts of it are not to be had any more. Leaving
    the block before the end cancels the handler that emits.
    """

    def __init__(
        self,
        runtime: Runtime,
        target: Address,
        request: StreamRequest[P, R],
        *,
        timeout_s: float,
        window: Window,
        command_id: str | None,
    ) -> None:
        if not isinstance(request, StreamRequest):
            name = type(request).__name__
            raise Misuse(
                f"{target.actor} can not stream the answer to {name}, which names no parts; derive it with "
                f"class {name}(StreamRequest[Part, Reply]), or use ask"
            )
        check_timeout(timeout_s)
        request.part()  # raises InvalidMessage for a type that it leaves open, before anything is sent
        self._runtime = runtime
        self._target = target
        self._request = request
        self._timeout_s = timeout_s
        self._window = window
        self._command_id = command_id
        self._unread = Unread(window)
        self._ask: PendingAsk | None = None
        self._news: asyncio.Future[None] | None = None
        self._is_left = False

    async def __aenter__(self) -> Stream[P, R]:
        """Sends the request. Raises what keeps it from being sent, as `ask` does."""
        if self._ask is not None:
            raise Misuse("this stream was opened before; call ref.stream again for another one")
        asking, now = self._runtime.asking, self._runtime.loop.time()
        ask = asking.send(self._target, self._request, self._timeout_s, now, self._command_id, window=self._window)
        self._ask = ask
        ask.stream = self
        self._runtime.streams.opened(ask)
        ask.future.add_done_callback(self._wake)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the stream, if it has not ended, and the turn that emits."""
        self.leave()

    def __aiter__(self) -> Stream[P, R]:
        self._opened()
        return self

    async def __anext__(self) -> P:
        ask = self._opened()
        while not self._unread:
            if self._is_left:
                raise Misuse(f"the stream of {self._target.actor} was left; read it inside of its `async with`")
            if ask.future.done():
                self._end_loop(ask.future.result())  # or the reason, which is raised
            if self._news is not None:
                raise Misuse(f"two tasks read the stream of {self._target.actor}; let one of them read")
            self._news = self._runtime.loop.create_future()
            try:
                await self._news
            finally:
                self._news = None
        part = self._unread.take()
        read = self._unread.due()
        if read is not None and not ask.future.done():
            self._runtime.streams.grant(ask, read)
        return cast("P", part)

    @property
    def reply(self) -> R:
        """The reply that ended the stream. Raises the reason where that ended it, and Misuse before its end."""
        ask = self._opened()
        if not ask.future.done():
            raise Misuse(
                f"the stream of {self._target.actor} has not ended, so there is no reply; read it to its end first: "
                "async for part in stream"
            )
        return cast("R", ask.future.result())

    @property
    def has_begun(self) -> bool:
        """Whether a part has come."""
        return self._unread.has_begun

    def leave(self) -> None:
        """Reads no more. See `__aexit__`; may be called twice."""
        ask = self._ask
        if ask is None or self._is_left:
            return
        self._is_left = True
        self._runtime.streams.closed(ask)
        if ask.future.done() and ask.future.exception() is None:
            return
        self._runtime.asking.give_up(ask, asyncio.CancelledError())

    def arrived(self, batch: Batch) -> None:
        """Takes parts in; for the kernel."""
        self._unread.add(batch)
        self._wake()
        ask = self._ask
        read = self._unread.due()
        if read is not None and ask is not None:
            self._runtime.streams.grant(ask, read)

    def _end_loop(self, reply: object) -> NoReturn:
        """Ends the loop over all parts that came. Raises PartsLost where others did not, and will not."""
        self._check_whole(reply, emitted=self._unread.emitted, read=self._unread.arrived)
        raise StopAsyncIteration

    def _check_whole(self, reply: object, *, emitted: int, read: int) -> None:
        if read != emitted:
            name = type(self._request).__name__
            raise PartsLost(self._target.actor, name, emitted=emitted, read=read, reply=reply)

    def _wake(self, _: object = None) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _opened(self) -> PendingAsk:
        if self._ask is None:
            raise Misuse(
                f"the stream of {self._target.actor} is not open, and nothing was sent; write "
                "`async with ref.stream(request) as stream: async for part in stream: …`"
            )
        return self._ask
