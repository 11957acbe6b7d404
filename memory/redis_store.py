"""Records in Redis: one hash per scope, one field per record, msgpack values.

Keys, with `desk` for the app and `acme/research` for a scope:

    regrow:desk:memory:scopes                  set of the paths of all scopes that ever held a record
    regrow:desk:memory:{acme/research}         hash: digest → value; the braces are the cluster's hash tag

A value is msgpack `[version, text, source, kind, created_at_s, attributes, principal]`; scope and
digest stand in the key. redis-py may send a command twice after a broken connection, so its
retries are off, and every write is one that may be sent twice anyway: SADD, HSETNX and HDEL.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import msgpack
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from regrow.memory.errors import RecordUnreadable, StoreRefused, StoreUnreachable
from regrow.memory.record import Attribute, MemoryRecord, RecordId, Scope, parsed_id
from regrow.memory.store import BATCH_RECORDS

T = TypeVar("T")

VALUE_VERSION = 1

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 10.0
"""Longer than the slowest fsync and the slowest batch; a store that needs more counts as away."""

LIMIT_CONNECTIONS = 16
LIMIT_PIPELINE_BYTES = 1_048_576
"""A pipeline is buffered whole on both sides; with BATCH_RECORDS this bounds both buffers."""


class RedisStore:
    """A Store in Redis 6.2 or later, or in a Redis Cluster reached through a client of that kind.

    It owns the client and closes it. One shard writes to a scope; any number may read.
    """

    def __init__(
        self, client: redis.asyncio.Redis | redis.asyncio.RedisCluster, *, app: str, address: str = "Redis"
    ) -> None:
        """`client` must not decode responses and must not retry; `from_url` makes one."""
        self._is_cluster = isinstance(client, redis.asyncio.RedisCluster)
        self._places = asyncio.Semaphore(LIMIT_CONNECTIONS)
        self._first = asyncio.Lock()
        self._redis: Any = client  # of the two, each command is declared with a type of its own
        self._prefix = f"regrow:{Scope.of(app).path}:memory"
        self._address = address

    @classmethod
    def from_url(cls, url: str, *, app: str, cluster: bool = False) -> RedisStore:
        """A store on the server of that URL (redis://, rediss:// or unix://) or its cluster; connects on first use."""
        shared: dict[str, Any] = {
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_timeout": ANSWER_TIMEOUT_S,
        }
        if cluster:
            whole = redis.asyncio.RedisCluster.from_url(url, max_connections=LIMIT_CONNECTIONS, **shared)
            return cls(whole, app=app, address=_without_password(url))
        # The plain pool raises when all connections are in use; this one waits for one.
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=LIMIT_CONNECTIONS,
            timeout=ANSWER_TIMEOUT_S,
            retry_on_error=[],
            **shared,
        )
        client = redis.asyncio.Redis.from_pool(pool)
        return cls(client, app=app, address=_without_password(url))

    async def put_many(self, records: Sequence[MemoryRecord]) -> frozenset[RecordId]:
        """Keeps the records; returns which ids were new. Within a batch the first one of an id wins."""
        new: set[RecordId] = set()
        for batch in _bounded((record, _value(record)) for record in records):
            async with self._reached():
                # The scopes come first: a crash in between leaves an empty scope listed, which is
                # harmless; the other way round it would leave records that no scan could find.
                paths = sorted({record.scope.path for record, _ in batch})
                await _sent(self._redis.sadd(self._scopes_key, *paths))
                pipeline = self._redis.pipeline(transaction=False)
                for record, value in batch:
                    scope, digest = parsed_id(record.id)
                    _ = pipeline.hsetnx(self._key(scope.path), digest, cast("str", value))
                created = await pipeline.execute()
            new.update(record.id for (record, _), was_new in zip(batch, created, strict=True) if was_new)
        return frozenset(new)

    async def get_many(self, ids: Sequence[RecordId]) -> dict[RecordId, MemoryRecord]:
        """The records that are there, fetched with one HMGET for each scope and batch."""
        found: dict[RecordId, MemoryRecord] = {}
        for batch in _batches(ids):
            asked = _by_scope(batch)
            async with self._reached():
                pipeline = self._redis.pipeline(transaction=False)
                for path, digests in asked.items():
                    _ = pipeline.hmget(self._key(path), digests)
                answers = await pipeline.execute()
            for (path, digests), values in zip(asked.items(), answers, strict=True):
                for digest, value in zip(digests, values, strict=True):
                    if value is not None:
                        record = self._record(path, digest, value)
                        found[record.id] = record
        return {id: found[id] for id in ids if id in found}

    async def delete_many(self, ids: Sequence[RecordId]) -> frozenset[RecordId]:
        """Deletes the records; returns which ids were there.

        An emptied scope stays listed: taking it off the list could race with the next put.
        """
        gone: set[RecordId] = set()
        for batch in _batches(sorted(set(ids))):
            async with self._reached():
                pipeline = self._redis.pipeline(transaction=False)
                for id in batch:
                    scope, digest = parsed_id(id)
                    _ = pipeline.hdel(self._key(scope.path), digest)
                deleted = await pipeline.execute()
            gone.update(id for id, was_there in zip(batch, deleted, strict=True) if was_there)
        return frozenset(gone)

    async def scan(self, scope: Scope) -> AsyncIterator[tuple[MemoryRecord, ...]]:
        """All records at or below `scope`; HSCAN may bring a record twice while its hash grows."""
        for path in await self._paths(scope):
            cursor = 0
            while True:
                async with self._reached():
                    cursor, values = await _sent(self._redis.hscan(self._key(path), cursor, count=BATCH_RECORDS))
                if values:
                    yield tuple(self._record(path, digest.decode(), value) for digest, value in values.items())
                if cursor == 0:
                    break

    async def count(self, scope: Scope) -> int:
        """How many records there are at or below `scope`: one HLEN for each scope."""
        total = 0
        for batch in _batches(await self._paths(scope)):
            async with self._reached():
                pipeline = self._redis.pipeline(transaction=False)
                for path in batch:
                    _ = pipeline.hlen(self._key(path))
                total += sum(await pipeline.execute())
        return total

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    @property
    def _scopes_key(self) -> str:
        return f"{self._prefix}:scopes"

    def _key(self, path: str) -> str:
        return f"{self._prefix}:{{{path}}}"

    async def _paths(self, scope: Scope) -> list[str]:
        """The listed scopes at or below `scope`; filtered here, since a glob would match `acme-corp` for `acme`."""
        async with self._reached():
            listed = [path.decode() async for path in self._redis.sscan_iter(self._scopes_key, count=1_000)]
        return sorted({path for path in listed if scope.covers(Scope.model_construct(path=path))})

    def _record(self, path: str, digest: str, value: bytes) -> MemoryRecord:
        """The record of a stored value. Raises RecordUnreadable."""
        key = f"{self._key(path)}[{digest}]"
        try:
            version, *fields = cast("list[Any]", msgpack.unpackb(value, use_list=True))
            if version != VALUE_VERSION:
                raise RecordUnreadable(key=key, cause=f"format {version!r}; this Regrow reads {VALUE_VERSION}")
            text, source, kind, created_at_s, attributes, principal = fields
            record = MemoryRecord.of(
                text,
                scope=Scope.model_construct(path=path),
                source=source,
                kind=kind,
                created_at_s=created_at_s,
                attributes=cast("dict[str, Attribute]", dict(attributes)),
                principal=principal,
            )
        except (ValueError, TypeError, msgpack.UnpackException) as damage:
            raise RecordUnreadable(key=key, cause=f"{type(damage).__name__}: {damage}") from damage
        if record.id != f"{path}#{digest}":
            raise RecordUnreadable(key=key, cause="its content does not have this digest")
        return record

    @asynccontextmanager
    async def _reached(self) -> AsyncGenerator[None]:
        """Turns what redis-py and the socket raise into errors that say what to do."""
        try:
            if self._is_cluster:
                # Its client refuses when all connections of a node are in use, and is not to be initialised twice.
                async with self._places:
                    async with self._first:
                        await self._redis.initialize()
                    yield
            else:
                yield
        except (RedisConnectionError, RedisTimeoutError, OSError, asyncio.IncompleteReadError) as away:
            raise StoreUnreachable(address=self._address, cause=str(away) or type(away).__name__) from away
        except RedisError as refusal:
            raise StoreRefused(address=self._address, cause=str(refusal)) from refusal


def _value(record: MemoryRecord) -> bytes:
    fields = (
        VALUE_VERSION,
        record.text,
        record.source,
        record.kind,
        record.created_at_s,
        record.attributes,
        record.provenance.principal,
    )
    return cast("bytes", msgpack.packb(fields))


def _bounded(items: Iterable[tuple[MemoryRecord, bytes]]) -> Iterator[list[tuple[MemoryRecord, bytes]]]:
    """Batches within both limits; a single value that is over LIMIT_PIPELINE_BYTES goes alone."""
    batch: list[tuple[MemoryRecord, bytes]] = []
    size_bytes = 0
    for record, value in items:
        if batch and (len(batch) == BATCH_RECORDS or size_bytes + len(value) > LIMIT_PIPELINE_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append((record, value))
        size_bytes += len(value)
    if batch:
        yield batch


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH_RECORDS):
        yield items[start : start + BATCH_RECORDS]


def _by_scope(ids: Sequence[RecordId]) -> dict[str, list[str]]:
    """The digests asked for in each scope, each once. Raises InvalidMemory for what is no id."""
    asked: dict[str, dict[str, None]] = defaultdict(dict)
    for id in ids:
        scope, digest = parsed_id(id)
        asked[scope.path][digest] = None
    return {path: list(digests) for path, digests in asked.items()}


async def _sent(reply: Awaitable[Any] | Any) -> Any:
    """The reply of a command, typed: redis-py declares each as maybe awaitable, which it always is here."""
    return await reply


def _without_password(url: str) -> str:
    """The URL without user and password, fit for an error text."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}".partition("?")[0]
