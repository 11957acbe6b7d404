"""One call of adopted code: within its deadline, below its trace, and contained, whatever it does.

The code runs in a task of its own, because it may hold on when it is told to end. Then the turn ends without it: at
a deadline by HeldOn, which is a crash, and at a stop by the kill after the grace.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterable, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import nullcontext
from typing import Any

from regrow.actors.context import Context
from regrow.actors.errors import CutOff, HeldOn, TooManyParts
from regrow.actors.threads import in_thread
from regrow.runtime import telemetry
from regrow.runtime.contain import call_contained, contained
from regrow.runtime.stream_window import measured

LET_GO_S = 5.0
"""How long adopted code may take to end after its deadline; then its agent ends without it."""

PARTS_LIMIT = 10_000
"""How many parts of an async iterator one reply holds where nobody reads them as they come."""
READ_LIMIT_BYTES = 2**24
"""How large they may be together where somebody does, since the reply behind them holds them too."""


async def outcome(
    call: Callable[[], Any],
    ctx: Context,
    *,
    in_threads: bool,
    threads: Executor | None = None,
    emit: Callable[[Any], Awaitable[None]] | None = None,
) -> Any:
    """What adopted code gives: the value itself, what its awaitable gives, or the parts of its async iterator.

    Each part goes to `emit` as it comes. Cancelled, by a stop or since its reader has gone, it cancels the code and
    waits until that has ended, as long as the grace lasts. A thread can not be interrupted, so it is only waited for.

    Raises:
        CutOff: the deadline passed, and the code has ended.
        HeldOn: LET_GO_S after the deadline it still runs, though it was told to end.
        TooManyParts: an async iterator gave more than PARTS_LIMIT, or READ_LIMIT_BYTES to one who reads.
        Escape: the code raised SystemExit or another error that would end the loop.
    """
    attributes = {telemetry.OPERATION: telemetry.INVOKE_AGENT, telemetry.AGENT_ID: ctx.id}
    own = nullcontext() if telemetry.is_inside() else ctx.span(f"{telemetry.INVOKE_AGENT} {ctx.id}", **attributes)
    with own:  # so that spans of the code stand below the turn's, or below one in its place
        code = _Code(call, ctx, threads, emit, in_threads=in_threads)
        try:
            await asyncio.wait((code.task,), timeout=ctx.deadline)
            if not code.task.done():
                return await _end_late(code, ctx)
            return code.task.result()
        except asyncio.CancelledError:
            code.tell_to_end()
            # A kill ends this too, but none comes where it was the reader who has gone.
            await _wait_to_end(code, ctx, None if ctx.deadline is None else max(ctx.deadline, 0.0) + LET_GO_S)
            raise
        finally:
            code.task.cancel()  # what runs on after this has been given up


async def _end_late(code: _Code, ctx: Context) -> Any:
    """Ends what runs past its deadline. A result that comes all the same is given back, and is a dead letter."""
    code.tell_to_end()
    await _wait_to_end(code, ctx, LET_GO_S)
    error = None if code.task.cancelled() else code.task.exception()
    if error is None and not code.task.cancelled():
        return code.task.result()
    raise CutOff(f"{ctx.id} was cancelled at the deadline of its request; ask with a longer timeout_s") from error


async def _wait_to_end(code: _Code, ctx: Context, limit_s: float | None) -> None:
    """Waits for code that was told to end. Raises HeldOn when it has not after so many seconds; None is no limit."""
    await asyncio.wait((code.task,), timeout=limit_s)
    if not code.task.done():
        how = "runs in a thread, which can not be interrupted" if code.holds_thread else "swallowed its cancellation"
        raise HeldOn(
            f"the code that {ctx.id} adopted {how}, and still ran {LET_GO_S:g} s after the deadline of its request; "
            "ask with a longer timeout_s, or give the code a timeout of its own, such as ctx.deadline"
        )


class _Code:
    """One call in a task of its own, and how it is told to end."""

    def __init__(
        self,
        call: Callable[[], Any],
        ctx: Context,
        threads: Executor | None,
        emit: Callable[[Any], Awaitable[None]] | None,
        *,
        in_threads: bool,
    ) -> None:
        self.holds_thread = False
        self._call = call
        self._ctx = ctx
        self._in_threads = in_threads
        self._threads = threads
        self._emit = emit
        self._is_told = False
        self._turn_of_state = threading.Lock()  # it is told on the loop, and begins in its thread
        self.task = asyncio.ensure_future(contained(self._result))
        self.task.add_done_callback(_look_at)

    def tell_to_end(self) -> None:
        """Cancels what runs on the loop or waits for a thread; what has one is only waited for."""
        with self._turn_of_state:
            self._is_told = True
            if not self.holds_thread:
                self.task.cancel()

    async def _result(self) -> Any:
        if self._in_threads:
            given = await in_thread(self._begin, (), self._threads)
            self.holds_thread = False
            if self._is_told and inspect.iscoroutine(given):
                given.close()
                raise asyncio.CancelledError  # as it would have been, had it begun
        else:
            given = self._call()
        if inspect.isawaitable(given):
            given = await given
        return await _parts(given, self._ctx, self._emit) if isinstance(given, AsyncIterable) else given

    def _begin(self) -> Any:
        """The call itself, in its thread; not where it was told to end before a thread was free."""
        with self._turn_of_state:
            if self._is_told:
                return None
            self.holds_thread = True
        return call_contained(self._call)


async def _parts(
    iterable: AsyncIterable[Any], ctx: Context, emit: Callable[[Any], Awaitable[None]] | None
) -> tuple[Any, ...]:
    """All that an async iterator gives, as much as one reply holds. Raises TooManyParts."""
    iterator, taken, size_bytes = aiter(iterable), list[Any](), 0
    try:
        async for part in iterator:
            if ctx.wants_parts:
                size_bytes += measured(part, ctx.id)
                if size_bytes > READ_LIMIT_BYTES:
                    raise TooManyParts(
                        f"it gave parts of more than {READ_LIMIT_BYTES:,} bytes together, which one reply does not "
                        "hold; write an agent that gives them to ctx.emit, and replies with less"
                    )
            elif len(taken) >= PARTS_LIMIT:
                raise TooManyParts(
                    f"it gave more than {PARTS_LIMIT:,} parts, which one reply does not hold; read them by ref.stream, "
                    "or give fewer"
                )
            if emit is not None:
                await emit(part)
            taken.append(part)
    finally:
        aclose = getattr(iterator, "aclose", None)
        if aclose is not None:  # now, and not when the garbage collector comes by
            await aclose()
    return tuple(taken)


def _look_at(task: asyncio.Task[Any]) -> None:
    """An error of code that was given up is no news, and asyncio would log one that nobody has looked at."""
    if not task.cancelled():
        task.exception()
