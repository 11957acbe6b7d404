"""Runs the scripts of the journal: gathers the calls that are made meanwhile into one batch, and names what fails.

While one batch is under way, further calls wait and leave together with the next. So the commits of many
agents share one round trip, and with `appendfsync always` one fsync.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, RedisError, ResponseError

from regrow.cluster.journal_refusals import check_version, cut, named
from regrow.cluster.journal_scripts import SCRIPTS, Script
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


@dataclass(slots=True)
class _Call:
    script: Script
    keys: Sequence[bytes]
    payload: bytes
    answer: asyncio.Future[list[Any]]


class RedisScripts:
    """The scripts on one Redis or Redis Cluster. It owns the client and closes it. For one event loop."""

    def __init__(self, client: Redis | RedisCluster, *, address: str) -> None:
        """`client` must not decode responses and must not retry."""
        self._client = client
        self._address = address
        self._packer = msgpack.Packer(use_bin_type=False)
        self._queue: deque[_Call] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._ready = False
        self._closed = False

    async def run(self, name: str, keys: Sequence[bytes], payload: dict[str, Any]) -> list[Any]:
        """What the script answers. Raises JournalUnknown or a JournalRefused."""
        return await self.submit(name, keys, payload)

    def submit(self, name: str, keys: Sequence[bytes], payload: dict[str, Any]) -> asyncio.Future[list[Any]]:
        """The answer to come of a call that leaves after all that were submitted before it."""
        if self._closed:
            raise Closed("this journal is closed; open another one")
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
        """Sends a batch; one that finds the scripts gone is sent again once they are loaded."""
        missing: list[_Call] = batch
        for _ in range(2):
            try:
                if not self._ready:
                    await self._prepare()
                again = await self._execute(missing)
            except (RedisError, OSError, TimeoutError) as error:
                _fail(missing, named(error, self._address))
                return
            except JournalOutdated as error:
                _fail(missing, error)
                return
            if not again:
                return
            missing, self._ready = again, False
        _fail(missing, JournalAway(f"{self._address} lost its scripts twice in a row; send it again"))

    async def _execute(self, batch: list[_Call]) -> list[_Call]:
        """Answers the calls; which ones found their script gone."""
        if isinstance(self._client, RedisCluster):
            return await self._execute_in_cluster(self._client, batch)
        again: list[_Call] = []
        pool: Any = self._client.connection_pool
        connection: AbstractConnection = await pool.get_connection()
        unanswered = deque(batch)
        try:
            # One limit for the whole batch: one for each answer would cost as much as reading it.
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                frames = [call.script.framed(call.keys, call.payload) for call in batch]
                await connection.send_packed_command(b"".join(frames), check_health=False)
                while unanswered:
                    reply = await _reply(connection)
                    self._answered(unanswered.popleft(), reply, again)
        except (RedisError, OSError, TimeoutError) as error:
            # What the server said last, that it loads for example, it said of one call only.
            _fail([unanswered.popleft()], named(error, self._address))
            _fail(unanswered, cut(error, self._address))
        finally:
            await pool.release(connection)
        return again

    async def _execute_in_cluster(self, client: RedisCluster, batch: list[_Call]) -> list[_Call]:
        again: list[_Call] = []
        pipeline: Any = client.pipeline(transaction=False)
        for call in batch:
            pipeline.execute_command("EVALSHA", call.script.sha, len(call.keys), *call.keys, call.payload)
        for call, reply in zip(batch, await pipeline.execute(raise_on_error=False), strict=True):
            self._answered(call, reply, again)
        return again

    def _answered(self, call: _Call, reply: Any, again: list[_Call]) -> None:
        if isinstance(reply, NoScriptError):
            again.append(call)
        elif isinstance(reply, BaseException):
            _fail([call], named(reply, self._address))
        elif not call.answer.done():
            call.answer.set_result(msgpack.unpackb(reply, raw=True))

    async def _prepare(self) -> None:
        """Checks the version of each server and gives it the scripts."""
        client: Any = self._client
        everywhere: dict[str, Any] = {}
        if isinstance(self._client, RedisCluster):
            await client.initialize()
            everywhere = {"target_nodes": client.get_primaries()}
        told_by = await client.info("server", **everywhere)
        for server in told_by.values() if everywhere else (told_by,):
            check_version(str(server.get("redis_version", "")), address=self._address)
        for script in SCRIPTS.values():
            await client.execute_command("SCRIPT LOAD", script.text, **everywhere)
        self._ready = True


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response(timeout=math.inf)
    except ResponseError as error:
        return error


def _fail(calls: Iterable[_Call], error: RegrowError) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)
