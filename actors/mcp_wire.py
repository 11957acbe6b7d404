"""What stands between a server and the SDK: bounds on what it may send, and word of when it has ended.

The SDK reads whatever comes, as long as it comes. Here a message that is too long becomes the error of its call,
what nobody has asked for is counted and mostly dropped, and a server that floods is ended.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.client import Transport
    from mcp.shared.message import SessionMessage

MESSAGE_BYTES = 8_388_608
"""The longest message of a server; what is longer is read and dropped."""
DROPPED_BYTES = 134_217_728
"""So much of one message is dropped; a server that goes on is ended."""
UNASKED_BURST = 2_000.0
"""So many messages that nobody has asked for may come at once; a long one counts for several."""
UNASKED_PER_S = 200.0
"""So many may come in each second on and on."""
UNASKED_BYTES = 4_096
"""Each so many bytes of one count once more."""
MAX_ASKED = 10_000
"""So many requests are remembered that have no answer yet; one that is older has none that is of use."""
MAX_DIGITS = 19
"""The id of a request of ours has fewer."""
KEPT_EDGE_BYTES = 512
"""Of a message that is too long its beginning and end are kept: in one of them stands which call it answers."""
TOO_LONG = -32_951
"""The code of the error that the call of such a message gets; of none that the protocol uses."""
UNREADABLE = -32_952
"""The same for one whose answer is no JSON, or none that could be read."""

PASSED_ON = frozenset({"notifications/tools/list_changed", "notifications/subscriptions/acknowledged"})
"""Of what a server tells unasked this is of use; all else is counted and dropped."""

_ID_FIRST = re.compile(rb'^\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,18})\s*,')
_ID_LAST = re.compile(rb',\s*"id"\s*:\s*(\d{1,18})\s*\}\s*$')


@dataclass(frozen=True, slots=True)
class TooLong:
    """Stands for a message that was dropped. `id` is that of the request it answers, None where that is not seen."""

    size_bytes: int
    id: int | None


@dataclass(frozen=True, slots=True)
class Printed:
    """Stands for a line that is no message, such as what a server prints, or an answer that can not be read."""

    line: bytes

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        return len(self.line)

    @property
    def id(self) -> int | None:
        """That of the request which it seems to answer."""
        return _answered(self.line[:KEPT_EDGE_BYTES], self.line[-KEPT_EDGE_BYTES:])

    @property
    def shown(self) -> str:
        """Its beginning, for people."""
        text = self.line[:KEPT_EDGE_BYTES].decode("utf-8", "replace")
        return "".join(sign for sign in text if sign.isprintable())[:200]


@dataclass(frozen=True, slots=True)
class Sized:
    """A message, and how long it was."""

    message: SessionMessage
    size_bytes: int


def _answered(head: bytes, tail: bytes) -> int | None:
    """The id at the beginning or the end of an answer, where no other one can stand."""
    found = _ID_FIRST.search(head) or _ID_LAST.search(tail)
    return int(found[1]) if found else None


class Flooded(Exception):
    """A server sent more than it may; the text says what."""


class Lines:
    """Cuts what comes from a pipe into lines, none of them longer than MESSAGE_BYTES. Pure."""

    def __init__(self, limit_bytes: int = MESSAGE_BYTES, dropped_bytes: int = DROPPED_BYTES) -> None:
        self._limit = limit_bytes
        self._most = dropped_bytes
        self._line = bytearray()
        self._head = b""
        self._dropped = 0
        self._is_long = False

    def feed(self, part: bytes) -> list[bytes | TooLong]:
        """The lines that are complete with this part, without their ends. Raises Flooded."""
        found: list[bytes | TooLong] = []
        *whole, rest = part.split(b"\n")
        for end in whole:
            self._add(end)
            found.append(self._taken())
        self._add(rest)
        return found

    def _add(self, part: bytes) -> None:
        self._line += part
        if self._is_long or len(self._line) > self._limit:
            if not self._is_long:
                self._is_long = True
                self._head = bytes(self._line[:KEPT_EDGE_BYTES])
            gone = max(0, len(self._line) - KEPT_EDGE_BYTES)
            del self._line[:gone]
            self._dropped += gone
            if self._dropped > self._most:
                raise Flooded(f"sent more than {self._most:,} bytes as one message")

    def _taken(self) -> bytes | TooLong:
        line, dropped, is_long = bytes(self._line), self._dropped, self._is_long
        self._line.clear()
        self._dropped, self._is_long = 0, False
        if not is_long:
            return line
        return TooLong(dropped + len(line), _answered(self._head, line))


class Unasked:
    """How much a server may send that nobody has asked for: a bucket that fills with time. Pure."""

    def __init__(self, now: float) -> None:
        self._left = UNASKED_BURST
        self._at = now

    def took(self, size_bytes: int, now: float) -> None:
        """One more has come. Raises Flooded."""
        self._left = min(UNASKED_BURST, self._left + (now - self._at) * UNASKED_PER_S)
        self._at = now
        self._left -= 1 + size_bytes / UNASKED_BYTES
        if self._left < 0:
            raise Flooded(
                f"flooded: beyond {UNASKED_BURST:,.0f} at once it sent more than {UNASKED_PER_S:,.0f} messages a "
                "second that nobody has asked for"
            )


class Wire:
    """The way to a server as the SDK takes it: a transport, with another one inside."""

    def __init__(self, inner: AbstractAsyncContextManager[Any], over: Callable[[str], None]) -> None:
        self._inner = inner
        self._over = over
        self._asked: dict[int | str, None] = {}
        self._loop = asyncio.get_running_loop()
        self._unasked = Unasked(self._loop.time())
        self.printed = ""
        """The last that came and was no message."""

    def transport(self) -> Transport:
        """What the SDK enters."""
        return self._streams()

    @asynccontextmanager
    async def _streams(self) -> AsyncGenerator[Any]:
        import anyio
        from mcp.shared.message import SessionMessage

        async with self._inner as (reads, writes), anyio.create_task_group() as tasks:
            to_sdk, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            from_sdk_end, from_sdk = anyio.create_memory_object_stream[SessionMessage](0)
            tasks.start_soon(self._inwards, reads, to_sdk)
            tasks.start_soon(self._outwards, from_sdk, writes)
            try:
                yield from_server, from_sdk_end
            finally:
                tasks.cancel_scope.cancel()
                for stream in (to_sdk, from_server, from_sdk_end, from_sdk):
                    stream.close()

    async def _inwards(
        self, reads: MemoryObjectReceiveStream[Any], to_sdk: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        import anyio

        why = "it closed the connection"
        async with to_sdk:
            try:
                async for item in reads:
                    if (passed := self._let_in(item)) is not None:
                        await to_sdk.send(passed)
            except Flooded as error:
                why = str(error)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the session is being closed
        self._over(why)

    def _let_in(self, item: Any) -> SessionMessage | None:
        """What of an item the SDK is given. Raises Flooded."""
        from mcp.shared.message import SessionMessage
        from mcp.types import ErrorData, JSONRPCError, JSONRPCNotification, JSONRPCRequest

        if isinstance(item, Flooded):
            raise item
        if isinstance(item, TooLong | Printed):
            if item.id is not None and self._is_asked(item.id):
                code = TOO_LONG if isinstance(item, TooLong) else UNREADABLE
                said = ErrorData(code=code, message=f"{item.size_bytes:,} bytes")
                return SessionMessage(JSONRPCError(jsonrpc="2.0", id=item.id, error=said))
            if isinstance(item, Printed):
                self.printed = item.shown
            self._unasked.took(item.size_bytes, self._loop.time())
            return None
        whole = item.message if isinstance(item, Sized) else item
        if not isinstance(whole, SessionMessage):
            self._unasked.took(UNASKED_BYTES, self._loop.time())  # an error of the transport
            return None
        message = whole.message
        if not isinstance(message, JSONRPCRequest | JSONRPCNotification):
            if message.id is not None and self._is_asked(message.id):
                return whole
        size_bytes = item.size_bytes if isinstance(item, Sized) else len(str(message))
        self._unasked.took(size_bytes, self._loop.time())
        if isinstance(message, JSONRPCRequest):
            return whole  # the SDK refuses it, where it is no ping
        return whole if isinstance(message, JSONRPCNotification) and message.method in PASSED_ON else None

    def _is_asked(self, id: int | str) -> bool:
        """Whether a request of ours waits for this answer; each is answered once."""
        known = int(id) if isinstance(id, str) and id.isdecimal() and len(id) < MAX_DIGITS else id  # as the SDK does
        return self._asked.pop(known, self) is None

    async def _outwards(self, from_sdk: MemoryObjectReceiveStream[SessionMessage], writes: Any) -> None:
        import anyio
        from mcp.types import JSONRPCRequest

        async with from_sdk:
            try:
                async for item in from_sdk:
                    if isinstance(item.message, JSONRPCRequest):
                        self._asked[item.message.id] = None
                        if len(self._asked) > MAX_ASKED:
                            del self._asked[next(iter(self._asked))]
                    await writes.send(item)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the server has gone; `_inwards` says so
