"""What is particular to Redis: keys, values, versions, and what a broken server does."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgpack
import pytest
import redis.asyncio

from regrow.memory.errors import RecordUnreadable, StoreFailed, StoreRefused, StoreUnreachable
from regrow.memory.record import MemoryRecord, Scope
from regrow.memory.redis_store import RedisStore
from regrow.runtime.errors import Refused, WorldBroke
from tests.memory.redis_server import RunningRedis, running_redis

pytestmark = pytest.mark.redis

RECORD = MemoryRecord.of(
    "Ray starts actors.",
    scope="acme/desk",
    source="a.md",
    kind="document",
    created_at_s=12.5,
    attributes={"page": 3},
    principal="desk/reader",
)
DIGEST = RECORD.id.partition("#")[2]


@pytest.fixture
def app() -> str:
    return f"app-{uuid.uuid4().hex}"


@pytest.fixture
async def store(redis_server: RunningRedis, app: str) -> AsyncIterator[RedisStore]:
    made = RedisStore.from_url(redis_server.url, app=app)
    yield made
    await made.aclose()


@pytest.fixture
async def client(redis_server: RunningRedis) -> AsyncIterator[redis.asyncio.Redis]:
    made = redis.asyncio.Redis.from_url(redis_server.url)
    yield made
    await made.aclose()


async def test_keys_and_value_are_the_documented_ones(store: RedisStore, client: redis.asyncio.Redis, app: str) -> None:
    """A golden value: records outlive the version that wrote them."""
    await store.put_many([RECORD])

    keys = sorted([key async for key in client.scan_iter(f"*{app}*")])
    value = await client.execute_command("HGET", f"regrow:{app}:memory:{{acme/desk}}", DIGEST)

    assert keys == [f"regrow:{app}:memory:scopes".encode(), f"regrow:{app}:memory:{{acme/desk}}".encode()]
    assert value == bytes.fromhex(
        "9701b252617920737461727473206163746f72732ea4612e6d64a8646f63756d656e74cb4029000000000000"
        "9192a47061676503ab6465736b2f726561646572"
    )


async def test_apps_in_one_redis_do_not_see_each_other(store: RedisStore, redis_server: RunningRedis, app: str) -> None:
    await store.put_many([RECORD])
    neighbour = RedisStore.from_url(redis_server.url, app=f"{app}-2")

    assert await neighbour.count(Scope()) == 0
    assert await neighbour.get_many([RECORD.id]) == {}
    await neighbour.aclose()


async def test_records_are_there_for_the_next_process(store: RedisStore, redis_server: RunningRedis, app: str) -> None:
    await store.put_many([RECORD])
    later = RedisStore.from_url(redis_server.url, app=app)

    assert await later.get_many([RECORD.id]) == {RECORD.id: RECORD}
    await later.aclose()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (msgpack.packb([2, "x"]), "format 2; this Regrow reads 1"),
        (msgpack.packb([1, "x"]), "ValueError"),
        (msgpack.packb("x"), "format 'x'"),
        (msgpack.packb([1, "another text", "a.md", "note", 0.0, [], ""]), "does not have this digest"),
        (b"\xc1", "ormat"),
        (b"", "npack"),
    ],
)
async def test_a_value_that_can_not_be_read_is_named_with_its_key(
    store: RedisStore, client: redis.asyncio.Redis, app: str, value: bytes, reason: str
) -> None:
    await store.put_many([RECORD])
    await client.execute_command("HSET", f"regrow:{app}:memory:{{acme/desk}}", DIGEST, value)

    with pytest.raises(RecordUnreadable, match=reason) as unreadable:
        await store.get_many([RECORD.id])

    assert unreadable.value.key == f"regrow:{app}:memory:{{acme/desk}}[{DIGEST}]"
    with pytest.raises(RecordUnreadable):
        _ = [batch async for batch in store.scan(Scope())]


async def test_batches_are_bounded_in_bytes(store: RedisStore, client: redis.asyncio.Redis) -> None:
    """30 records of 100 kB are 3 MB, and must go in at least 3 pipelines of at most 1 MiB."""
    records = [MemoryRecord.of(f"{n} {'x' * 99_900}", scope="acme") for n in range(30)]
    await client.execute_command("CONFIG", "RESETSTAT")

    new = await store.put_many(records)

    stats = await client.info("commandstats")
    assert len(new) == 30
    # One SADD goes before each pipeline, so it counts them.
    assert (stats["cmdstat_hsetnx"]["calls"], stats["cmdstat_sadd"]["calls"]) == (30, 3)


async def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    store = RedisStore.from_url(f"unix://:secret-word@{tmp_path}/none.sock", app="app")

    with pytest.raises(StoreUnreachable, match="can not be reached") as refusal:
        await store.put_many([RECORD])

    assert str(tmp_path) in str(refusal.value)
    assert "secret-word" not in str(refusal.value)


async def test_a_wrong_password_is_said(redis_server: RunningRedis) -> None:
    store = RedisStore.from_url(redis_server.url.replace(redis_server.password, "wrong"), app="app")

    with pytest.raises(StoreUnreachable, match="password"):
        await store.count(Scope())
    await store.aclose()


async def test_a_full_server_refuses_and_heals(store: RedisStore, client: redis.asyncio.Redis) -> None:
    await client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreRefused, match="maxmemory"):
            await store.put_many([RECORD])
    finally:
        await client.config_set("maxmemory", "0")

    assert await store.put_many([RECORD]) == {RECORD.id}


async def test_a_failed_store_is_the_worlds_fault_and_no_reason_to_die() -> None:
    assert issubclass(StoreFailed, WorldBroke)
    assert issubclass(StoreFailed, Refused)


@pytest.mark.slow
async def test_every_call_says_so_when_the_server_dies_and_works_when_it_is_back(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        store = RedisStore.from_url(server.url, app="app")
        await store.put_many([RECORD])
        server.end()

        for call in (
            store.put_many([RECORD]),
            store.get_many([RECORD.id]),
            store.delete_many([RECORD.id]),
            store.count(Scope()),
            anext(store.scan(Scope())),
        ):
            with pytest.raises(StoreUnreachable):
                await call
    with running_redis(tmp_path) as server:
        again = RedisStore.from_url(server.url, app="app")
        assert await again.put_many([RECORD]) == {RECORD.id}
        await again.aclose()
    await store.aclose()


async def test_a_write_whose_answer_was_lost_is_sent_once_and_may_be_repeated(
    redis_server: RunningRedis, store: RedisStore, app: str, tmp_path: Path
) -> None:
    async with losing_answers_to(b"HSETNX", redis_server, tmp_path / "lossy.sock") as (url, sent):
        lossy = RedisStore.from_url(url, app=app)

        with pytest.raises(StoreUnreachable, match="may safely be sent twice"):
            await lossy.put_many([RECORD])
        await lossy.aclose()

    assert sent == [1]
    assert await store.put_many([RECORD]) == frozenset()
    assert await store.get_many([RECORD.id]) == {RECORD.id: RECORD}


@asynccontextmanager
async def losing_answers_to(command: bytes, server: RunningRedis, path: Path) -> AsyncIterator[tuple[str, list[int]]]:
    """A way to the server that is cut after it has carried this command there, before the answer comes back.

    Gives its URL and a list with how often the command was seen.
    """
    sent, ended = [0], asyncio.Event()
    real = server.url.partition("@")[2]

    async def carry(near: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        there, out = await asyncio.open_unix_connection(real)
        back = asyncio.ensure_future(copy(there, far))
        try:
            while data := await near.read(65_536):
                sent[0] += data.count(command)
                if command in data:
                    back.cancel()
                    await asyncio.wait({back})
                out.write(data)
                if back.cancelled():
                    await there.read(1)  # the server has answered, so it has done it
                    break
        finally:
            back.cancel()
            for writer in (out, far):
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
            ended.set()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()

    async with await asyncio.start_unix_server(carry, path):
        yield server.url.replace(real, str(path)), sent
        await ended.wait()
