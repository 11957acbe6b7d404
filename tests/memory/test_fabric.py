"""The door: what an agent writes, and what it can not reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar, cast

import pytest

from regrow.memory.embedder import HashingEmbedder
from regrow.memory.errors import InvalidMemory, InvalidQuery, InvalidScope, OutOfScope
from regrow.memory.fabric import Memory
from regrow.memory.record import MemoryRecord, RecordId, Scope
from regrow.memory.requests import LIMIT_IDS_PER_REQUEST, LIMIT_RECORDS_PER_REQUEST, Remember
from regrow.memory.service import MemoryService
from regrow.memory.shard import Shard
from regrow.memory.store import MemoryStore
from regrow.runtime.message import Request

R = TypeVar("R")


class Service:
    """Answers as a cell would, and keeps what it was asked."""

    def __init__(self) -> None:
        self.service = MemoryService(Shard(MemoryStore(), HashingEmbedder(dim=128)))
        self.asked: list[Request[Any]] = []

    async def ask(self, request: Request[R]) -> R:
        self.asked.append(request)
        return cast("R", await self.service.handle(request, None))


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    await made.service.started(None)
    yield made
    await made.service.stopping(None, None)


@pytest.fixture
def memory(service: Service) -> Memory:
    return Memory(service.ask, "acme", principal="acme/clerk", now_s=lambda: 1_700_000_000.0)


async def test_a_text_is_remembered_with_who_when_and_where_from(memory: Memory) -> None:
    id = await memory.remember("Ray starts actors.", source="ray.md", kind="document", attributes={"page": 3})

    [hit] = await memory.recall("actors")
    record = hit.record
    assert (record.id, record.text, record.source, record.kind) == (id, "Ray starts actors.", "ray.md", "document")
    assert (record.scope, record.created_at_s, record.attributes) == (Scope.of("acme"), 1_700_000_000.0, (("page", 3),))
    assert record.provenance.principal == "acme/clerk"


async def test_the_same_thing_is_remembered_once(memory: Memory) -> None:
    ids = [await memory.remember("the same", source="a.md") for _ in range(3)]

    assert len(set(ids)) == 1
    assert await memory.count() == 1
    assert await memory.remember("the same", source="b.md") not in ids


async def test_many_are_remembered_in_order_and_counted_by_scope(memory: Memory) -> None:
    ids = await memory.remember_many(["one", "two", "one"], scope="acme/desk")

    assert ids[0] == ids[2] != ids[1]
    assert (await memory.count(), await memory.count("acme/desk"), await memory.count("acme/other")) == (2, 2, 0)


async def test_a_record_keeps_its_own_fields_but_is_signed_by_the_door(memory: Memory) -> None:
    mine = MemoryRecord.of("x y z", scope="acme/desk", source="s", kind="fact", principal="somebody else")

    id = await memory.remember(mine, source="ignored")

    [hit] = await memory.recall("x y z")
    assert (id, hit.source, hit.record.kind) == (mine.id, "s", "fact")
    assert hit.record.provenance.principal == "acme/clerk"


async def test_a_door_reads_and_writes_only_at_or_below_its_scope(service: Service, memory: Memory) -> None:
    neighbour = Memory(service.ask, "acme-corp")
    theirs = await neighbour.remember("a secret of the neighbour")
    service.asked.clear()

    for scope in ("acme-corp", "acm", "other/acme", Scope()):
        with pytest.raises(OutOfScope):
            await memory.remember("x", scope=scope)
        with pytest.raises(OutOfScope):
            await memory.recall("secret", scope=scope)
        with pytest.raises(OutOfScope):
            await memory.count(scope)
        with pytest.raises(OutOfScope):
            memory.within(scope)
    with pytest.raises(OutOfScope):
        await memory.remember(MemoryRecord.of("x", scope="acme-corp"))
    with pytest.raises(OutOfScope):
        await memory.forget(theirs)

    assert service.asked == []
    assert list(await memory.recall("secret neighbour")) == []
    assert await neighbour.count() == 1


async def test_a_narrower_door_does_not_see_the_rest(memory: Memory) -> None:
    await memory.remember("common knowledge")
    desk = memory.within("acme/desk")
    await desk.remember("desk knowledge")

    assert [hit.text for hit in await desk.recall("knowledge")] == ["desk knowledge"]
    assert len(await memory.recall("knowledge")) == 2
    assert [hit.text for hit in await memory.recall("knowledge", scope="acme/desk")] == ["desk knowledge"]
    with pytest.raises(OutOfScope):
        desk.within("acme")


async def test_recall_brings_at_most_k_with_their_sources(memory: Memory) -> None:
    await memory.remember_many([f"mailbox {n}" for n in range(5)], source="m.md")

    hits = await memory.recall("mailbox", k=3)

    assert (len(hits), hits.sources) == (3, ("m.md",))


async def test_forget_names_what_was_there(memory: Memory) -> None:
    ids = await memory.remember_many(["one", "two"])

    assert await memory.forget(ids[0]) == (ids[0],)
    assert await memory.forget(ids) == (ids[1],)
    assert await memory.forget([]) == ()
    assert await memory.count() == 0


@pytest.mark.slow
async def test_what_is_too_much_for_one_request_goes_in_several(service: Service, memory: Memory) -> None:
    texts = [f"fact {n}" for n in range(2 * LIMIT_RECORDS_PER_REQUEST + 1)]

    ids = await memory.remember_many(texts)
    long = await memory.remember_many([f"{n} {'x' * 90_000}" for n in range(12)])

    sizes = [len(request.records) for request in service.asked if isinstance(request, Remember)]
    assert sizes == [LIMIT_RECORDS_PER_REQUEST, LIMIT_RECORDS_PER_REQUEST, 1, 11, 1]
    assert (len(set(ids)), len(set(long))) == (len(texts), 12)
    nothing = [MemoryRecord.of(f"absent {n}", scope="acme").id for n in range(LIMIT_IDS_PER_REQUEST)]
    assert await memory.forget([*nothing, *ids]) == ids


async def test_one_bad_text_among_many_is_refused_before_anything_is_sent(service: Service, memory: Memory) -> None:
    with pytest.raises(InvalidMemory):
        await memory.remember_many(["fine", " "])

    assert service.asked == []


async def test_misuse_is_told_at_the_door(memory: Memory) -> None:
    with pytest.raises(InvalidQuery):
        await memory.recall("x", k=0)
    with pytest.raises(InvalidMemory):
        await memory.forget([RecordId("nonsense")])
    with pytest.raises(InvalidScope):
        await memory.remember("x", scope="")
    with pytest.raises(InvalidScope):
        Memory(cast("Any", None), "")


async def test_nothing_to_remember_asks_nobody(service: Service, memory: Memory) -> None:
    assert await memory.remember_many([]) == ()
    assert service.asked == []


async def test_two_doors_on_the_same_text_do_not_steal_each_others_record(service: Service) -> None:
    one, two = Memory(service.ask, "acme", "one"), Memory(service.ask, "acme", "two")

    await one.remember("first come")
    await two.remember("first come")

    [hit] = await two.recall("first come")
    assert hit.record.provenance.principal == "one"
