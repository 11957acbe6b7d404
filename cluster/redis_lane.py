"""The way of the journal's calls to one server: in their order, as many at once as the server should buffer.

What is asked in one round of the event loop leaves in one write. Nothing is held back for an earlier write to be
answered: the server runs all that has come meanwhile before its next fsync, so that many commits share one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from regrow.cluster.journal_scripts import Script, framed
from regrow.cluster.redis_line import RedisLine
from regrow.cluster.redis_servers import Address, Server
from regrow.runtime.journal_errors import JournalUnknown

LIMIT_UNDERWAY_CALLS: Final = 256
"""At one server: enough to share an fsync, and few enough for it to answer others in between."""

LIMIT_UNDERWAY_BYTES: Final = 4_194_304
"""They are buffered whole on both sides; a single call may pass it."""

COPY_TIMEOUT_MS: Final = 1_000
"""How long replicas may take to have what was sent; what they have not got by then counts as unknown."""

_ASKING: Final = framed(b"ASKING")
_COPY_MS: Final = b"%d" % COPY_TIMEOUT_MS


@dataclass(slots=True, eq=False)
class Call:
    """A call of a script, and who waits for its answer."""

    script: Script
    keys: Sequence[bytes]
    payload: bytes
    answer: asyncio.Future[list[Any]]
    asked: Address | None = None
    """The server to ask once, since it is about to get the slot."""
    sent: int = 0
    """How often it was sent to a server that could not serve it."""


class RedisLane:
    """The calls to one server. `answered` gets the answer to each, `lost` the calls that were sent and have none."""

    def __init__(
        self,
        server: Server,
        *,
        address: str,
        replicas: int,
        answered: Callable[[Call, Any], None],
        lost: Callable[[Iterable[Call], BaseException], None],
        unopened: Callable[[BaseException], None],
    ) -> None:
        """No answer is given before `replicas` have it too. `unopened` is told where no connection can be had."""
        self._server = server
        self._address = address
        self._replicas = replicas
        self._answered = answered
        self._lost = lost
        self._unopened = unopened
        self._queue: deque[Call] = deque()
        self._underway: dict[Call, None] = {}
        self._underway_bytes = 0
        self._known: set[str] = set()
        """The scripts that the server has got on this line."""
        self._line: RedisLine | None = None
        self._connection: AbstractConnection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._idle: asyncio.Future[None] | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait here to be sent."""
        return len(self._queue)

    @property
    def is_busy(self) -> bool:
        """Whether calls wait here, or were sent and are not answered."""
        return bool(self._queue or self._underway)

    def forget_script(self, name: str) -> None:
        """The server has lost a script; the next call of it brings it along."""
        self._known.discard(name)

    def submit(self, call: Call) -> None:
        """Puts a call behind those that wait; `pump` sends it."""
        self._queue.append(call)

    def pump(self) -> None:
        """Sends as much as may be under way."""
        if not self._queue:
            return
        if self._line is None:
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(self._open(), name="regrow-journal")
            return
        if self._replicas:
            self._send_copied(self._line)
            return
        frames, heard = [], []
        while call := self._next():
            frames.append(self._framed(call))
            if call.asked is not None:
                heard.append(_pass_over)
            heard.append(partial(self._hear, call))
        if frames:
            self._line.send(b"".join(frames), *heard)

    def withdrawn(self) -> list[Call]:
        """The calls that have not been sent, which are no longer here."""
        calls, self._queue = list(self._queue), deque()
        return calls

    async def idle(self) -> None:
        """Waits until nothing is under way; `pump` is not called meanwhile."""
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._underway:
            if self._idle is None or self._idle.done():
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    async def aclose(self) -> None:
        """Lets go of its connection; who waits for an answer gets none."""
        if self._line is not None:
            self._line.close()
        await self._release()

    # ---- inside --------------------------------------------------------------------------------

    async def _open(self) -> None:
        try:
            await self._release()
            self._connection = connection = await self._server.take()
            if not connection.is_connected:
                await connection.connect()  # type: ignore[no-untyped-call]
            self._known.clear()
            self._line = RedisLine(connection, lost=self._end)
        except (RedisError, OSError, TimeoutError) as error:
            self._opening = None
            self._unopened(error)
            return
        self._opening = None
        self.pump()

    async def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._server.give_back(connection)

    def _next(self) -> Call | None:
        """The next call that may leave now, which is under way from here on."""
        while self._queue and len(self._underway) < LIMIT_UNDERWAY_CALLS:
            size = len(self._queue[0].payload)
            if self._underway and self._underway_bytes + size > LIMIT_UNDERWAY_BYTES:
                return None
            call = self._queue.popleft()
            if not call.answer.done():  # else its caller was cancelled before it left
                self._underway[call] = None
                self._underway_bytes += size
                return call
        return None

    def _framed(self, call: Call) -> bytes:
        # Always the whole script at first, and not only where it is missed: a call that came back for that would be
        # overtaken by those behind it.
        name = call.script.name
        frame = call.script.framed(call.keys, call.payload, whole=name not in self._known)
        self._known.add(name)
        return frame if call.asked is None else _ASKING + frame

    def _hear(self, call: Call, answer: Any) -> None:
        self._over(call)
        self._answered(call, answer)
        if self._queue:
            self.pump()

    def _over(self, call: Call) -> None:
        self._underway.pop(call, None)
        self._underway_bytes -= len(call.payload)
        if not self._underway and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _end(self, error: BaseException) -> None:
        line, self._line = self._line, None
        assert line is not None
        calls, self._underway = self._underway, {}
        self._underway_bytes = 0
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self._lost(calls, error)

    # ---- with replicas -------------------------------------------------------------------------

    def _send_copied(self, line: RedisLine) -> None:
        """One batch at a time: what WAIT says is of all that was sent before it."""
        if self._underway:
            return
        calls: list[Call] = []
        while call := self._next():
            calls.append(call)
        if not calls:
            return
        frames = [self._framed(call) for call in calls]
        answers: list[Any] = []
        # WAIT speaks of this connection's own writes, and what is repeated on a new one writes nothing.
        head, _, _ = calls[0].keys[0].partition(b"}")
        frames += [framed(b"SET", head + b"}:copied", b""), framed(b"WAIT", b"%d" % self._replicas, _COPY_MS)]
        heard = [heard for call in calls for heard in (*([_pass_over] if call.asked else []), answers.append)]
        line.send(b"".join(frames), *heard, answers.append, partial(self._hear_copied, calls, answers))

    def _hear_copied(self, calls: list[Call], answers: list[Any], copies: Any) -> None:
        *given, written = answers
        missing = self._uncopied(written, copies)
        for call in calls:
            self._over(call)
        for call, answer in zip(calls, given, strict=True):
            failed = isinstance(answer, BaseException)
            self._answered(call, answer if failed or missing is None else missing)
        self.pump()

    def _uncopied(self, written: Any, copies: Any) -> JournalUnknown | None:
        """None once the replicas have what was sent, else what is to be said of all that was answered."""
        if isinstance(copies, int) and copies >= self._replicas and not isinstance(written, BaseException):
            return None
        return JournalUnknown(
            f"{copies} of {self._replicas} replicas of {self._address} have what was written within "
            f"{COPY_TIMEOUT_MS / 1_000:g} s, and a failover would lose it; see that one runs. "
            "What was sent may have been done, and is sent again under the same ids"
        )


def _pass_over(_answer: Any) -> None:
    """ASKING is answered as well; an error of it comes again with the call behind it."""
