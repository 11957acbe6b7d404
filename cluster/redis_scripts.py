"""Runs the scripts of the journal: gathers the calls that are made meanwhile into one batch, and names what fails.

While one batch is under way, further calls wait and leave together with the next. So the commits of many
agents share one round trip, and with `appendfsync always` one fsync.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgpack
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, ResponseError

from regrow.cluster.journal_refusals import check_version, cut, named
from regrow.cluster.journal_scripts import SCRIPTS, Script, framed
from regrow.cluster.redis_servers import Address, RedisServers, Server
from regrow.runtime.errors import Closed, RegrowError
from regrow.runtime.journal_errors import JournalAway, JournalOutdated, JournalUnknown

LIMIT_CALLS: Final = 16_384
"""How many calls may wait; each belongs to a caller who waits for it, so this many are a fault."""

LIMIT_BATCH_CALLS: Final = 256
"""In one batch: enough to share an fsync, and few enough for the server to answer others in between."""

LIMIT_BATCH_BYTES: Final = 4_194_304
"""A batch is buffered whole on both sides; a single call may pass it."""

ANSWER_TIMEOUT_S: Final = 10.0
"""Longer than the slowest fsync; a store that needs more counts as away."""

COPY_TIMEOUT_MS: Final = 1_000
"""How long replicas may take to have a batch; what they have not got by then counts as unknown."""

LIMIT_ROUNDS: Final = 8
"""How often a batch is sent where servers lack the scripts or their slots move, before its callers are told."""

_ASKING: Final = framed(b"ASKING")
_COPY_MS: Final = b"%d" % COPY_TIMEOUT_MS


@dataclass(slots=True)
class _Call:
    script: Script
    keys: Sequence[bytes]
    payload: bytes
    answer: asyncio.Future[list[Any]]
    asked: Address | None = None
    """The server to ask once, since it is about to get the slot."""
    unknown: bool = False
    """Whether a server did not know the script."""


class RedisScripts:
    """The scripts on one Redis or Redis Cluster. It owns the client and closes it. For one event loop."""

    def __init__(self, client: Redis | RedisCluster, *, address: str, replicas: int = 0) -> None:
        """`client` must not decode responses and must not retry. No answer comes before `replicas` have it too."""
        self._client = client
        self._servers = RedisServers(client)
        self._replicas = replicas
        self._address = address
        self._packer = msgpack.Packer(use_bin_type=False)
        self._queue: deque[_Call] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._ready = False
        self._closed = False
        self._refused: RegrowError | None = None

    async def run(self, name: str, keys: Sequence[bytes], payload: dict[str, Any]) -> list[Any]:
        """What the script answers. Raises JournalUnknown or a JournalRefused."""
        return await self.submit(name, keys, payload)

    def submit(self, name: str, keys: Sequence[bytes], payload: dict[str, Any]) -> asyncio.Future[list[Any]]:
        """The answer to come of a call that leaves after all that were submitted before it."""
        if self._closed:
            raise Closed("this journal is closed; open another one")
        if self._refused is not None:
            raise self._refused
        if len(self._queue) >= LIMIT_CALLS:
            raise JournalAway(f"{LIMIT_CALLS} calls wait for {self._address} already; it is too slow for what is sent")
        loop = asyncio.get_running_loop()
        # Scripts take what is absent for none or false. An empty list or text is neither.
        given = {name: value for name, value in payload.items() if value is not None and value is not False}
        packed: bytes = self._packer.pack(given)
        call = _Call(SCRIPTS[name], keys, packed, loop.create_future())
        self._queue.append(call)
        if self._sender is None:
            # A task starts after all that is ready now, so what is asked in this round of the loop leaves together.
            self._sender = loop.create_task(self._send_all(), name="regrow-journal")
        return call.answer

    def refuse(self, error: RegrowError) -> None:
        """Lets every further call fail with that error: the store is not what it was."""
        self._refused = error

    async def aclose(self) -> None:
        """Waits for what is under way, and closes the client."""
        self._closed = True
        if self._sender is not None:
            await asyncio.wait([self._sender])
        await self._client.aclose()

    async def _send_all(self) -> None:
        batch: list[_Call] = []
        try:
            while self._queue:
                batch = self._next_batch()
                await self._send(batch)
                # Whoever was answered may have more to say, and that leaves with the next batch.
                await asyncio.sleep(0)
        finally:
            self._sender = None
            for call in (*batch, *self._queue):  # only where this task itself was cancelled or failed
                if not call.answer.done():
                    call.answer.set_exception(JournalUnknown("the journal was ended in the middle of a call"))
            self._queue.clear()

    def _next_batch(self) -> list[_Call]:
        batch: list[_Call] = []
        size_bytes = 0
        while self._queue and len(batch) < LIMIT_BATCH_CALLS:
            size_bytes += len(self._queue[0].payload)
            if batch and size_bytes > LIMIT_BATCH_BYTES:
                break
            call = self._queue.popleft()
            if not call.answer.done():  # else its caller was cancelled before it left
                batch.append(call)
        return batch

    async def _send(self, batch: list[_Call]) -> None:
        """Sends a batch; again, what met a server without the scripts, or one that no longer has the slot."""
        left = batch
        for _ in range(LIMIT_ROUNDS):
            try:
                if not self._ready:
                    await self._prepare()
                ways = self._ways(left)
            except (RedisError, OSError, TimeoutError) as error:
                _fail(left, named(error, self._address))
                self._lost()
                return
            except JournalOutdated as error:
                _fail(left, error)
                return
            refused = await asyncio.gather(*(self._exchange(server, calls) for server, calls in ways.items()))
            left = [call for calls in refused for call in calls]
            if not left:
                return
        self._lost()
        _fail(left, JournalAway(f"{self._address} moves what it has, or loses its scripts again and again; ask later"))

    def _ways(self, calls: Sequence[_Call]) -> dict[Server, list[_Call]]:
        ways: dict[Server, list[_Call]] = {}
        for call in calls:
            ways.setdefault(self._servers.server_of(call.keys[0], call.asked), []).append(call)
        return ways

    async def _exchange(self, server: Server, calls: list[_Call]) -> list[_Call]:
        """Has the calls answered or failed; those that must be sent again come back."""
        replies: list[Any] = []
        again: list[_Call] = []
        try:
            # One limit for the whole batch: one for each answer would cost as much as reading it.
            async with asyncio.timeout(ANSWER_TIMEOUT_S), _use(server) as connection:
                await connection.send_packed_command(self._framed(calls), check_health=False)
                for call in calls:
                    if call.asked is not None:
                        await _reply(connection)
                    replies.append(await _reply(connection))
                    if not self._replicas:
                        # At once, so that its caller goes on while the server runs the rest.
                        again += await self._answer([call], replies[-1:])
                copied = await self._copied(connection)
        except (RedisError, OSError, TimeoutError) as error:
            # What the server said last, that it loads for example, it said of one call only. With replicas nothing
            # is answered yet, and what was done is not safe.
            left = calls if self._replicas else calls[len(replies) :]
            said = 0 if self._replicas and replies else 1
            _fail(left[:said], named(error, self._address))
            _fail(left[said:], cut(error, self._address))
            self._lost()
            return again
        if not self._replicas:
            return again
        if copied is not None:
            replies = [reply if isinstance(reply, BaseException) else copied for reply in replies]
        return await self._answer(calls, replies)

    async def _copied(self, connection: AbstractConnection) -> JournalUnknown | None:
        """None once the replicas have what was sent, else what is to be said of all that was answered."""
        if not self._replicas:
            return None
        written, copies = await _reply(connection), await _reply(connection)
        if isinstance(copies, int) and copies >= self._replicas and not isinstance(written, BaseException):
            return None
        return JournalUnknown(
            f"{copies} of {self._replicas} replicas of {self._address} have what was written within "
            f"{COPY_TIMEOUT_MS / 1_000:g} s, and a failover would lose it; see that one runs. "
            "What was sent may have been done, and is sent again under the same ids"
        )

    def _framed(self, calls: Sequence[_Call]) -> bytes:
        frames: list[bytes] = []
        told: set[str] = set()
        for call in calls:
            if call.asked is not None:
                frames.append(_ASKING)
            # Of those that met a server without their script, the first of each tells it to the server for the others.
            whole = call.unknown and call.script.name not in told
            told.add(call.script.name)
            frames.append(call.script.framed(call.keys, call.payload, whole=whole))
        if self._replicas:
            # WAIT speaks of this connection's own writes, and what is repeated on a new one writes nothing.
            head, _, _ = calls[0].keys[0].partition(b"}")
            frames += [framed(b"SET", head + b"}:copied", b""), framed(b"WAIT", b"%d" % self._replicas, _COPY_MS)]
        return b"".join(frames)

    async def _answer(self, calls: Sequence[_Call], replies: Sequence[Any]) -> list[_Call]:
        """Answers the calls; which ones another server must be asked, or this one again."""
        again: list[_Call] = []
        for call, reply in zip(calls, replies, strict=False):
            match reply:
                case NoScriptError():
                    call.unknown = True
                    again.append(call)
                case MovedError() | AskError():
                    call.asked = await self._servers.redirected(reply)
                    self._ready = self._ready and self._servers.known
                    again.append(call)
                case JournalUnknown():
                    _fail([call], reply)
                case BaseException():
                    _fail([call], named(reply, self._address))
                case _ if not call.answer.done():
                    call.answer.set_result(msgpack.unpackb(reply, raw=True))
                case _:
                    pass  # its caller gave up
        return again

    async def _prepare(self) -> None:
        """Finds the servers and checks the version of each."""
        for version in await self._servers.versions():
            check_version(version, address=self._address)
        self._ready = True

    def _lost(self) -> None:
        """Another server may have the slots of one that does not answer, and be of another version."""
        self._ready = False
        self._servers.forget()


@asynccontextmanager
async def _use(server: Server) -> AsyncIterator[AbstractConnection]:
    connection = await server.take()
    try:
        yield connection
    finally:
        await server.give_back(connection)


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)
    except ResponseError as error:
        return error


def _fail(calls: Iterable[_Call], error: RegrowError) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)
