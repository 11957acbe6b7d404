"""The memory service as a cell drives it: requests in, replies or refusals out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import ValidationError

from regrow.memory.embedder import HashingEmbedder
from regrow.memory.errors import OutOfScope, ShardClosed
from regrow.memory.record import MemoryRecord, Query, RecordId, Scope
from regrow.memory.requests import (
    LIMIT_RECORDS_PER_REQUEST,
    CountMemories,
    Forget,
    Forgotten,
    MemoryCount,
    Recall,
    Recalled,
    Remember,
    Remembered,
)
from regrow.memory.service import MemoryService
from regrow.memory.shard import Shard
from regrow.memory.store import MemoryStore
from regrow.runtime.behavior import Behavior
from regrow.runtime.errors import NotAllowed, Refused
from regrow.runtime.message import Message

ACME = Scope.of("acme")
NOTE = MemoryRecord.of("a bounded mailbox", scope="acme/desk")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def service(store: MemoryStore) -> AsyncIterator[MemoryService]:
    made = MemoryService(Shard(store, HashingEmbedder()))
    await made.started(None)
    yield made
    await made.stopping(None, None)


def test_it_is_a_behavior() -> None:
    assert isinstance(MemoryService(Shard(MemoryStore(), HashingEmbedder())), Behavior)


async def test_each_request_gets_the_reply_it_names(service: MemoryService) -> None:
    remembered = await service.handle(Remember(records=(NOTE, NOTE), reach=ACME), None)
    recalled = await service.handle(Recall(query=Query(text="mailbox", scope=ACME), reach=ACME), None)
    counted = await service.handle(CountMemories(scope=ACME, reach=ACME), None)
    forgotten = await service.handle(Forget(ids=(NOTE.id, NOTE.id), reach=ACME), None)

    assert remembered == Remembered(ids=(NOTE.id, NOTE.id), new=1)
    assert isinstance(recalled, Recalled)
    assert [hit.record for hit in recalled.hits] == [NOTE]
    assert counted == MemoryCount(records=1)
    assert forgotten == Forgotten(ids=(NOTE.id,))
    assert Remember.reply().accepts(remembered)
    assert Recall.reply().accepts(recalled)


@pytest.mark.parametrize("reach", [Scope.of("acme/des"), Scope.of("acme/desk/a"), Scope.of("other")], ids=str)
async def test_a_request_that_goes_beyond_its_own_reach_is_refused(service: MemoryService, reach: Scope) -> None:
    await service.handle(Remember(records=(NOTE,), reach=ACME), None)
    other = MemoryRecord.of("x", scope=reach)

    for request in (
        Remember(records=(other, NOTE), reach=reach),
        Recall(query=Query(text="mailbox", scope=NOTE.scope), reach=reach),
        Recall(query=Query(text="mailbox"), reach=reach),
        Forget(ids=(other.id, NOTE.id), reach=reach),
        CountMemories(scope=NOTE.scope, reach=reach),
    ):
        with pytest.raises(OutOfScope) as refusal:
            await service.handle(request, None)
        assert isinstance(refusal.value, NotAllowed)

    assert await service.handle(CountMemories(scope=ACME, reach=ACME), None) == MemoryCount(records=1)


async def test_a_request_beyond_the_shard_is_refused(store: MemoryStore) -> None:
    service = MemoryService(Shard(store, HashingEmbedder(), scope=Scope.of("acme/desk")))
    await service.started(None)

    with pytest.raises(OutOfScope, match="'acme/desk'"):
        await service.handle(CountMemories(scope=ACME, reach=Scope()), None)
    await service.stopping(None, None)


async def test_what_it_does_not_understand_is_refused_and_costs_no_life(service: MemoryService) -> None:
    class Nonsense(Message):
        pass

    with pytest.raises(Refused, match="does not understand Nonsense"):
        await service.handle(Nonsense(), None)


async def test_the_next_life_answers_from_the_same_store(service: MemoryService, store: MemoryStore) -> None:
    await service.handle(Remember(records=(NOTE,), reach=ACME), None)

    reborn = MemoryService(Shard(store, HashingEmbedder()))
    await reborn.started(None)

    recalled = await reborn.handle(Recall(query=Query(text="mailbox"), reach=Scope()), None)
    assert isinstance(recalled, Recalled)
    assert [hit.record for hit in recalled.hits] == [NOTE]
    await reborn.stopping(None, None)


async def test_before_the_start_and_after_the_stop_it_is_closed(store: MemoryStore) -> None:
    service = MemoryService(Shard(store, HashingEmbedder()))
    count = CountMemories(scope=ACME, reach=ACME)

    with pytest.raises(ShardClosed):
        await service.handle(count, None)
    await service.started(None)
    await service.stopping(None, None)
    with pytest.raises(ShardClosed):
        await service.handle(count, None)


def test_reading_runs_beside_reading_and_writing_does_not() -> None:
    service = MemoryService(Shard(MemoryStore(), HashingEmbedder()))
    beside = {
        type(request).__name__: service.runs_concurrently(request)
        for request in (
            Remember(records=(NOTE,), reach=ACME),
            Recall(query=Query(text="x"), reach=ACME),
            Forget(ids=(NOTE.id,), reach=ACME),
            CountMemories(scope=ACME, reach=ACME),
        )
    }

    assert beside == {"Remember": False, "Recall": True, "Forget": False, "CountMemories": True}


def test_a_crafted_request_is_refused_where_it_is_made_or_read() -> None:
    with pytest.raises(ValidationError, match="not the id of a memory"):
        Forget(ids=(RecordId("nonsense"),), reach=ACME)
    with pytest.raises(ValidationError, match="at most"):
        Remember(records=(NOTE,) * (LIMIT_RECORDS_PER_REQUEST + 1), reach=ACME)
