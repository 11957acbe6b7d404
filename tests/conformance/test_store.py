"""What every Store keeps, over the twin and over a real Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Generator

import pytest

from regrow.memory.errors import InvalidMemory
from regrow.memory.record import MemoryRecord, RecordId, Scope
from regrow.memory.redis_store import RedisStore
from regrow.memory.store import BATCH_RECORDS, MemoryStore, Store
from tests.conformance.conftest import CLUSTER
from tests.memory.redis_server import RunningRedis, running_redis


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningRedis]:
    with running_redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis), CLUSTER])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        made: Store = MemoryStore()
    elif request.param == "cluster":
        made = RedisStore.from_url(request.getfixturevalue("cluster"), app=f"app-{uuid.uuid4().hex}", cluster=True)
    else:
        server: RunningRedis = request.getfixturevalue("redis_server")
        made = RedisStore.from_url(server.url, app=f"app-{uuid.uuid4().hex}")
    yield made
    await made.aclose()


def note(text: str, scope: str = "acme/desk", source: str = "a.md") -> MemoryRecord:
    return MemoryRecord.of(text, scope=scope, source=source)


async def scanned(store: Store, scope: Scope) -> dict[RecordId, MemoryRecord]:
    return {record.id: record async for batch in store.scan(scope) for record in batch}


async def test_a_record_comes_back_as_it_was_put(store: Store) -> None:
    record = MemoryRecord.of(
        "Grüße, 漢字 and a \x00 byte",
        scope="acme/desk",
        source="docs/a.md",
        kind="document",
        created_at_s=1_700_000_000.25,
        attributes={"page": 3, "title": "T", "share": 0.5, "draft": True},
        principal="desk/reader",
    )

    await store.put_many([record])

    assert await store.get_many([record.id]) == {record.id: record}


async def test_put_says_which_ids_are_new(store: Store) -> None:
    old, fresh = note("old"), note("fresh")
    await store.put_many([old])

    assert await store.put_many([old, fresh]) == {fresh.id}


async def test_the_first_record_under_an_id_stays(store: Store) -> None:
    first = MemoryRecord.of("same", scope="acme", kind="first")
    second = MemoryRecord.of("same", scope="acme", kind="second")

    new = [await store.put_many([first, second]), await store.put_many([second])]

    assert new == [{first.id}, frozenset()]
    assert (await store.get_many([first.id]))[first.id].kind == "first"


async def test_of_many_writers_of_one_record_exactly_one_hears_that_it_is_new(store: Store) -> None:
    record = note("raced for")

    answers = await asyncio.gather(*(store.put_many([record]) for _ in range(8)))

    assert sorted(map(len, answers)) == [0] * 7 + [1]
    assert await store.count(Scope()) == 1


@pytest.mark.slow
async def test_many_callers_at_once_are_all_served(store: Store) -> None:
    """More than there are connections; the others wait for one."""
    records = [note(f"fact {n}") for n in range(64)]

    await asyncio.gather(*(store.put_many([record]) for record in records))
    answers = await asyncio.gather(*(store.get_many([record.id]) for record in records))

    assert [list(answer.values()) for answer in answers] == [[record] for record in records]


async def test_unknown_ids_are_left_out(store: Store) -> None:
    there, absent = note("there"), note("absent")
    await store.put_many([there])

    assert await store.get_many([absent.id, there.id, there.id]) == {there.id: there}


async def test_nothing_asked_is_nothing_answered(store: Store) -> None:
    assert await store.put_many([]) == frozenset()
    assert await store.get_many([]) == {}
    assert await store.delete_many([]) == frozenset()


async def test_delete_says_what_was_there_and_may_be_repeated(store: Store) -> None:
    there, absent = note("there"), note("absent")
    await store.put_many([there])

    first = await store.delete_many([there.id, absent.id, there.id])
    second = await store.delete_many([there.id])

    assert (first, second) == ({there.id}, frozenset())
    assert await scanned(store, Scope()) == {}


async def test_what_was_deleted_can_be_put_again(store: Store) -> None:
    record = note("again")
    await store.put_many([record])
    await store.delete_many([record.id])

    assert await store.put_many([record]) == {record.id}


async def test_scan_keeps_to_the_scope_by_whole_segments(store: Store) -> None:
    inside = [note("1", "acme"), note("2", "acme/desk"), note("3", "acme/desk/a")]
    outside = [note("4", "acme-corp"), note("5", "acm"), note("6", "other/acme")]
    await store.put_many([*inside, *outside])

    found = await scanned(store, Scope.of("acme"))

    assert found == {record.id: record for record in inside}


async def test_the_root_reaches_every_scope_and_may_hold_records_itself(store: Store) -> None:
    records = [MemoryRecord.of("top", scope=Scope()), note("low", "a/b/c")]
    await store.put_many(records)

    assert await scanned(store, Scope()) == {record.id: record for record in records}
    assert await scanned(store, Scope.of("a")) == {records[1].id: records[1]}


async def test_count_keeps_to_the_scope(store: Store) -> None:
    await store.put_many([note("1", "acme"), note("2", "acme/desk"), note("3", "acme-corp")])

    counts = [await store.count(scope) for scope in (Scope(), Scope.of("acme"), Scope.of("acme/desk"), Scope.of("no"))]

    assert counts == [3, 2, 1, 0]


@pytest.mark.slow
async def test_more_than_a_batch_is_put_scanned_read_and_deleted_whole(store: Store) -> None:
    records = [note(f"fact {n}", f"acme/{n % 3}") for n in range(2 * BATCH_RECORDS + 5)]
    ids = [record.id for record in records]

    assert await store.put_many(records) == set(ids)
    assert await scanned(store, Scope()) == {record.id: record for record in records}
    assert list(await store.get_many(ids)) == ids
    assert await store.delete_many(ids) == set(ids)
    assert await store.count(Scope()) == 0


@pytest.mark.parametrize("id", ["", "acme", "acme#12", "acme#" + "g" * 32, "a//b#" + "0" * 32])
async def test_what_is_no_id_is_refused(store: Store, id: str) -> None:
    with pytest.raises(InvalidMemory, match="not the id of a memory"):
        await store.get_many([RecordId(id)])
    with pytest.raises(InvalidMemory, match="not the id of a memory"):
        await store.delete_many([RecordId(id)])
