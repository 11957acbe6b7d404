"""Runs the scripts of the journal: gathers the calls that are made meanwhile into one pipeline, and names what fails.

While one pipeline is under way, further calls wait and leave together with the next. So the commits of many
agents share one round trip, and with `appendfsync always` one fsync. Scripts lie beside this file in `journal_*.lua`;
a file holds several, each below a line `--- name`, and what stands above the first belongs to all of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, cast

import msgpack
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from regrow.cluster.redis_process import VERSION_FLOOR, parse_version, told
from regrow.runtime.errors import Bug, Closed, RegrowError
from regrow.runtime.journal_errors import (
    JournalAway,
    JournalDenied,
    JournalFull,
    JournalOutdated,
    JournalReadOnly,
    JournalUnknown,
)

LIMIT_CALLS: Final = 16_384
"""How many calls may wait; each belongs to a caller who waits for it, so this many are a fault."""

LIMIT_BATCH_CALLS: Final = 256
"""In one pipeline: enough to share an fsync, and few enough for the server to answer others in between."""

LIMIT_BATCH_BYTES: Final = 4_194_304
"""A pipeline is buffered whole on both sides; a single call may pass it."""

_PARTS: Final = ("hosts", "mailbox", "turns", "recovery")

# How a refusal looks when a script of Redis 6.2 passes it on: the error's own name stands within the text.
_WITHIN: Final = re.compile(r"\b(OOM|READONLY|MISCONF|LOADING|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|BUSY|NOPERM|NOAUTH)\b")


@dataclass(frozen=True, slots=True)
class Script:
    """One script with the digest by which a server knows it."""

    text: str
    sha: str


def _loaded() -> Iterator[tuple[str, Script]]:
    def read(part: str) -> str:
        return (files("regrow.cluster") / f"journal_{part}.lua").read_text("utf-8")

    shared = read("shared")
    for part in _PARTS:
        head, *sections = re.split(r"^--- (\w+)\n", read(part), flags=re.MULTILINE)
        for name, body in zip(sections[::2], sections[1::2], strict=True):
            text = f"{shared}\n{head}\n{body}"
            yield name, Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


SCRIPTS: Final = dict(_loaded())


@dataclass(slots=True)
class _Call:
    script: Script
    keys: Sequence[str]
    payload: bytes
    answer: asyncio.Future[list[Any]]


class RedisScripts:
    """The scripts on one Redis or Redis Cluster. It owns the client and closes it. For one event loop."""

    def __init__(self, client: Redis | RedisCluster, *, address: str) -> None:
        """`client` must not decode responses and must not retry."""
        self._client = client
        self._address = address
        self._queue: deque[_Call] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._ready = False
        self._closed = False

    async def run(self, name: str, keys: Sequence[str], payload: dict[str, Any]) -> list[Any]:
        """What the script answers. Raises JournalUnknown or a JournalRefused."""
        return await self.submit(name, keys, payload)

    def submit(self, name: str, keys: Sequence[str], payload: dict[str, Any]) -> asyncio.Future[list[Any]]:
        """The answer to come of a call that leaves after all that were submitted before it."""
        if self._closed:
            raise Closed("this journal is closed; open another one")
        if len(self._queue) >= LIMIT_CALLS:
            raise JournalAway(f"{LIMIT_CALLS} calls wait for {self._address} already; it is too slow for what is sent")
        loop = asyncio.get_running_loop()
        packed = cast("bytes", msgpack.packb(payload, use_bin_type=False))
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
                replies = await self._execute(missing)
            except (RedisError, OSError, TimeoutError) as error:
                _fail(missing, self._named(error))
                return
            except JournalOutdated as error:
                _fail(missing, error)
                return
            again: list[_Call] = []
            for call, reply in zip(missing, replies, strict=True):
                if isinstance(reply, NoScriptError):
                    again.append(call)
                elif isinstance(reply, BaseException):
                    _fail([call], self._named(reply))
                elif not call.answer.done():
                    call.answer.set_result(msgpack.unpackb(reply, raw=True))
            if not again:
                return
            missing, self._ready = again, False
        _fail(missing, JournalAway(f"{self._address} lost its scripts twice in a row; send it again"))

    async def _execute(self, batch: list[_Call]) -> list[Any]:
        pipeline: Any = self._client.pipeline(transaction=False)
        for call in batch:
            pipeline.execute_command("EVALSHA", call.script.sha, len(call.keys), *call.keys, call.payload)
        return cast("list[Any]", await pipeline.execute(raise_on_error=False))

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

    def _named(self, error: BaseException) -> RegrowError:
        """The error of the journal that says the same, with `error` as its cause."""
        cause = error.__cause__  # over a unix socket redis-py says of a refusal that the connection failed
        named = _named(cause if isinstance(cause, AuthenticationError | ResponseError) else error, self._address)
        named.__cause__ = error
        return named


def check_version(version: str, *, address: str) -> None:
    """Raises JournalOutdated for a version below the floor, or text that is none."""
    parsed = parse_version(version)
    if parsed is None or parsed < VERSION_FLOOR:
        floor = told(VERSION_FLOOR)
        raise JournalOutdated(
            f"{address} runs Redis {version or 'of no known version'}, and durable agents need {floor} or newer; "
            "upgrade it, or leave redis.url out to use the embedded one",
            version=version,
            floor=floor,
        )


def _fail(calls: Sequence[_Call], error: RegrowError) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)


def _named(error: BaseException, address: str) -> RegrowError:
    within = _WITHIN.search(str(error)) if isinstance(error, ResponseError) else None
    match error, within and within[1]:
        # redis-py derives some of these from its ConnectionError, so they come first.
        case (AuthenticationError() | AuthorizationError() | NoPermissionError(), _) | (_, "NOPERM" | "NOAUTH"):
            return JournalDenied(f"{address} refuses ({error}); correct the password or the rights in redis.url")
        case (OutOfMemoryError(), _) | (_, "OOM"):
            return JournalFull(f"{address} is full ({error}); raise its maxmemory, or remove data. Nothing was written")
        case (ReadOnlyError(), _) | (_, "READONLY" | "MISCONF"):
            return JournalReadOnly(
                f"{address} takes no writes ({error}); name its primary in redis.url, or mend its disk"
            )
        case (BusyLoadingError() | ClusterDownError() | MasterDownError() | TryAgainError(), _):
            return JournalAway(f"{address} can not serve now ({error}); it is asked again")
        case (_, "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "BUSY"):
            return JournalAway(f"{address} can not serve now ({error}); it is asked again")
        case (RedisConnectionError() | RedisTimeoutError() | RedisClusterException() | OSError() | TimeoutError(), _):
            return JournalUnknown(
                f"the connection to {address} was cut ({error}); what was sent may have been done, "
                "and is sent again under the same ids"
            )
        case _:
            return Bug(f"{address} could not run a script of the journal: {error}")
