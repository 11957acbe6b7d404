"""One open connection to a Redis, on which answers come in the order of what was sent, and nobody waits to send.

redis-py makes the connection: password, TLS and database are its matter. From then on its streams are bypassed. They
would cost each answer several rounds of the event loop, which is more than Redis needs to run a script.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis
from redis._parsers.base import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

ANSWER_TIMEOUT_S: Final = 10.0
"""Longer than the slowest fsync; a server that says nothing for so long, though it was asked, counts as away."""

Heard = Callable[[Any], None]
"""What is done with an answer: bytes, a number, a list, or the error of redis-py that the server said."""


class RedisLine(asyncio.Protocol):
    """Takes over a connection that is open. `lost` is called once, when nothing more will be heard."""

    def __init__(self, connection: AbstractConnection, *, lost: Callable[[BaseException], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost = lost
        self._waiting: deque[Heard] = deque()
        self._answers = hiredis.Reader(protocolError=InvalidResponse, replyError=BaseParser.parse_error)
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._error: BaseException | None = None
        # The one place that knows this of redis-py; the conformance suite fails where it is no longer so.
        writer = connection._writer  # pyright: ignore[reportPrivateUsage]
        assert writer is not None, "the connection is open"
        self._transport = writer.transport
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def send(self, data: bytes, *heard: Heard) -> None:
        """Sends commands, and says what is done with the answer to each. Not after it was lost."""
        if not self._waiting:
            self._heard_at = self._loop.time()
            if self._timer is None:
                self._timer = self._loop.call_at(self._heard_at + ANSWER_TIMEOUT_S, self._look)
        self._waiting += heard
        self._transport.write(data)

    def close(self) -> None:
        """Ends it; who waits for an answer gets none."""
        self._lost = _nobody
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._heard_at = self._loop.time()
        self._answers.feed(data)
        try:
            while (answer := self._answers.gets()) is not False:
                self._waiting.popleft()(answer)
        except InvalidResponse as error:
            self._end(error)
        except IndexError:
            self._end(RedisConnectionError("the server answered what nobody had asked"))

    def eof_received(self) -> bool:
        """See asyncio.Protocol."""
        self._end(RedisConnectionError("Connection closed by server."))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._timer is not None:
            self._timer.cancel()
        self._streams.connection_lost(exc)  # redis-py waits for that when it lets go of the connection
        self._end(exc or RedisConnectionError("Connection closed by server."))

    def _look(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        due = self._heard_at + ANSWER_TIMEOUT_S
        if self._loop.time() >= due:
            self._end(RedisTimeoutError(f"no answer within {ANSWER_TIMEOUT_S:g} s"))
        else:
            self._timer = self._loop.call_at(due, self._look)

    def _end(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
            self._transport.abort()
            self._lost(error)


def _nobody(_error: BaseException) -> None:
    pass
