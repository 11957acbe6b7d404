"""The shard: truth first, indexes after it, and the same answers after every reopening."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from structlog.testing import capture_logs

from regrow.memory.embedder import HashingEmbedder
from regrow.memory.errors import InvalidMemory, OutOfScope, ShardClosed, StoreUnreachable
from regrow.memory.index import FlatIndex, Vectors
from regrow.memory.record import MemoryRecord, Query, RecordId, Scope
from regrow.memory.shard import Shard
from regrow.memory.store import BATCH_RECORDS, MemoryStore

TEXTS = (
    "A supervisor restarts its crashed children, at most three times in five seconds.",
    "A mailbox is bounded; when it is full the sender waits.",
    "Redis keeps the records, FAISS and tantivy find them again.",
    "The router sends planning to the large model and summaries to the small one.",
)


def note(text: str, scope: str = "acme/desk", source: str = "a.md") -> MemoryRecord:
    return MemoryRecord.of(text, scope=scope, source=source)


NOTES = tuple(note(text, source=f"{n}.md") for n, text in enumerate(TEXTS))


class FaultyStore(MemoryStore):
    """A twin that fails, or waits, where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.fails_before_put = False
        self.fails_after_put = False
        self.may_put = asyncio.Event()
        self.may_put.set()
        self.putting = asyncio.Event()
        self.closed = 0

    async def put_many(self, records: Sequence[MemoryRecord]) -> frozenset[RecordId]:
        self.putting.set()
        await self.may_put.wait()
        if self.fails_before_put:
            raise StoreUnreachable(address="twin", cause="told to")
        new = await super().put_many(records)
        if self.fails_after_put:
            raise StoreUnreachable(address="twin", cause="told to")
        return new

    async def aclose(self) -> None:
        self.closed += 1


class FaultyEmbedder(HashingEmbedder):
    fails = False

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        if self.fails:
            raise RuntimeError("no embeddings today")
        return await super().embed_documents(texts)


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore()


@pytest.fixture
async def shard(store: FaultyStore) -> AsyncIterator[Shard]:
    made = Shard(store, HashingEmbedder())
    await made.open()
    yield made
    await made.aclose()


async def found(shard: Shard, text: str, scope: str = "acme", k: int = 8) -> list[str]:
    return [hit.text for hit in await shard.recall(Query(text=text, k=k, scope=Scope.of(scope)))]


async def test_what_was_remembered_is_recalled_best_first(shard: Shard) -> None:
    new = await shard.remember(NOTES)

    hits = await shard.recall(Query(text="What happens when a mailbox is full?", k=2))

    assert new == {record.id for record in NOTES}
    assert len(hits) == 2
    assert hits[0].record == NOTES[1]
    assert hits[0].source == "1.md"
    assert hits[0].score > hits[1].score
    assert hits[0].lexical is not None
    assert hits[0].dense is not None


async def test_a_typing_error_is_found_by_the_dense_leg_alone(shard: Shard) -> None:
    await shard.remember(NOTES)

    hits = await shard.recall(Query(text="supervizor restrts", k=1))

    assert (hits[0].record, hits[0].lexical) == (NOTES[0], None)


@pytest.mark.parametrize("text", ["", "   ", "the of and", "?!"])
async def test_a_question_without_words_finds_nothing(shard: Shard, text: str) -> None:
    await shard.remember(NOTES)

    assert await found(shard, text) == []


async def test_an_empty_shard_finds_nothing(shard: Shard) -> None:
    assert await found(shard, "mailbox") == []


async def test_the_same_text_is_stored_and_found_once(shard: Shard) -> None:
    again = [note(TEXTS[0], source="0.md"), note(TEXTS[0], source="0.md")]

    first, second = await shard.remember(again), await shard.remember(again)

    assert (len(first), len(second)) == (1, 0)
    assert await found(shard, "supervisor") == [TEXTS[0]]


async def test_racing_writers_of_one_text_store_it_once(shard: Shard) -> None:
    answers = await asyncio.gather(*(shard.remember([NOTES[0]]) for _ in range(5)))

    assert sorted(map(len, answers)) == [0, 0, 0, 0, 1]
    assert await found(shard, "supervisor") == [TEXTS[0]]


async def test_recall_keeps_to_its_scope_in_both_legs(shard: Shard) -> None:
    scopes = ("acme", "acme/desk", "acme-corp", "other")
    await shard.remember([note(f"mailbox of {scope}", scope) for scope in scopes])

    assert sorted(await found(shard, "mailbox")) == ["mailbox of acme", "mailbox of acme/desk"]
    assert sorted(await found(shard, "mialbox")) == ["mailbox of acme", "mailbox of acme/desk"]
    assert await found(shard, "mailbox", "nobody") == []


async def test_a_small_scope_is_found_behind_many_better_matches_of_others(shard: Shard) -> None:
    await shard.remember([note(f"mailbox {n}", f"crowd/{n % 7}") for n in range(150)])
    await shard.remember([note("something about a mailbox that is long and hardly matches", "acme")])

    assert len(await found(shard, "mailbox")) == 1


async def test_forgotten_records_are_gone_from_store_and_both_legs(shard: Shard, store: FaultyStore) -> None:
    await shard.remember(NOTES)

    gone = await shard.forget([NOTES[1].id, note("never stored").id])

    assert gone == {NOTES[1].id}
    assert TEXTS[1] not in await found(shard, "full mailbox")
    assert await store.get_many([NOTES[1].id]) == {}
    assert await shard.count(Scope()) == 3


async def test_a_forgotten_text_can_be_remembered_again(shard: Shard) -> None:
    await shard.remember(NOTES)
    await shard.forget([NOTES[1].id])

    await shard.remember([NOTES[1]])

    assert (await found(shard, "full mailbox"))[0] == TEXTS[1]


async def test_a_reopened_shard_gives_the_same_answers(shard: Shard, store: FaultyStore) -> None:
    await shard.remember(NOTES)
    question = Query(text="who restarts crashed children?", k=4)
    before = await shard.recall(question)

    again = Shard(store, HashingEmbedder())
    await again.open()

    assert [hit.record for hit in await again.recall(question)] == [hit.record for hit in before]
    await again.aclose()


async def test_both_indexes_give_the_same_answers(shard: Shard, store: FaultyStore) -> None:
    await shard.remember(NOTES)
    flat = Shard(store, HashingEmbedder(), make_index=FlatIndex)
    await flat.open()
    question = Query(text="keeps records", k=4)

    expected = {hit.text: hit.dense for hit in await shard.recall(question)}
    assert {hit.text: hit.dense for hit in await flat.recall(question)} == pytest.approx(expected, abs=1e-5)
    await flat.aclose()


@pytest.mark.slow
async def test_opening_tells_its_progress_and_reads_every_batch(store: FaultyStore) -> None:
    count = 2 * BATCH_RECORDS + 3
    await store.put_many([note(f"fact number {n}") for n in range(count)])
    shard, told = Shard(store, HashingEmbedder(dim=64)), list[tuple[int, int]]()

    await shard.open(lambda done, total: told.append((done, total)))
    await shard.open()

    assert told == [(BATCH_RECORDS, count), (2 * BATCH_RECORDS, count), (count, count)]
    assert await found(shard, "514", k=1) == ["fact number 514"]
    await shard.aclose()


async def test_a_shard_of_a_scope_reads_and_takes_nothing_else(store: FaultyStore) -> None:
    await store.put_many([note("a mailbox here", "acme"), note("a mailbox there", "other")])
    shard = Shard(store, HashingEmbedder(), scope=Scope.of("acme"))
    await shard.open()

    assert [hit.text for hit in await shard.recall(Query(text="mailbox"))] == ["a mailbox here"]
    with pytest.raises(OutOfScope):
        await shard.remember([note("x", "acme"), note("y", "other")])
    with pytest.raises(OutOfScope):
        await shard.forget([note("a mailbox there", "other").id])
    assert await store.count(Scope()) == 2
    await shard.aclose()


async def test_a_failing_store_leaves_nothing_findable(shard: Shard, store: FaultyStore) -> None:
    store.fails_before_put = True
    with pytest.raises(StoreUnreachable):
        await shard.remember(NOTES)

    assert await found(shard, "mailbox") == []


async def test_a_write_without_an_answer_becomes_findable_when_it_is_repeated(shard: Shard, store: FaultyStore) -> None:
    """The store has it and says that it is not new; the indexes need it all the same."""
    store.fails_after_put = True
    with pytest.raises(StoreUnreachable):
        await shard.remember(NOTES)
    store.fails_after_put = False

    new = await shard.remember(NOTES)

    assert new == frozenset()
    assert (await found(shard, "full mailbox"))[0] == TEXTS[1]


async def test_a_crash_between_store_and_indexes_is_healed_by_opening(shard: Shard, store: FaultyStore) -> None:
    store.fails_after_put = True
    with pytest.raises(StoreUnreachable):
        await shard.remember(NOTES)

    after = Shard(store, HashingEmbedder())
    await after.open()

    assert (await found(after, "full mailbox"))[0] == TEXTS[1]
    await after.aclose()


async def test_a_failing_embedder_leaves_nothing_half_done(store: FaultyStore) -> None:
    embedder = FaultyEmbedder()
    shard = Shard(store, embedder)
    await shard.open()
    embedder.fails = True

    with pytest.raises(RuntimeError, match="no embeddings"):
        await shard.remember(NOTES)

    assert await store.count(Scope()) == 0
    await shard.aclose()


async def test_a_failed_opening_can_be_repeated(store: FaultyStore) -> None:
    await store.put_many(NOTES)
    embedder = FaultyEmbedder()
    embedder.fails = True
    shard = Shard(store, embedder)
    with pytest.raises(RuntimeError, match="no embeddings"):
        await shard.open()
    embedder.fails = False

    await shard.open()

    assert (await found(shard, "full mailbox"))[0] == TEXTS[1]
    await shard.aclose()


async def test_a_write_whose_caller_gave_up_is_finished(shard: Shard, store: FaultyStore) -> None:
    store.may_put.clear()
    write = asyncio.ensure_future(shard.remember(NOTES))
    await store.putting.wait()
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write

    store.may_put.set()

    assert (await found(shard, "full mailbox"))[0] == TEXTS[1]


async def test_a_recall_sees_the_write_that_was_begun_before_it(shard: Shard, store: FaultyStore) -> None:
    store.may_put.clear()
    write = asyncio.ensure_future(shard.remember(NOTES))
    await store.putting.wait()

    recall = asyncio.ensure_future(found(shard, "full mailbox"))
    store.may_put.set()

    assert (await recall)[0] == TEXTS[1]
    await write


async def test_a_record_that_left_the_store_by_another_way_is_logged_and_replaced_by_the_next(
    shard: Shard, store: FaultyStore
) -> None:
    await shard.remember(NOTES)
    await store.delete_many([NOTES[1].id])

    with capture_logs() as logs:
        texts = await found(shard, "when a mailbox is full the sender waits", k=1)

    assert len(texts) == 1
    assert texts != [TEXTS[1]]
    assert [(log["log_level"], log["records"]) for log in logs] == [("warning", 1)]


async def test_recalls_and_writes_may_run_together(shard: Shard) -> None:
    await shard.remember(NOTES)

    answers = await asyncio.gather(
        *(shard.remember([note(f"filler {n}", "other")]) for n in range(10)),
        *(found(shard, "full mailbox") for _ in range(10)),
        *(shard.forget([note(f"filler {n}", "other").id]) for n in range(10)),
    )

    assert all(answer[0] == TEXTS[1] for answer in answers[10:20] if isinstance(answer, list))
    assert await shard.count(Scope()) == 4


async def test_what_needs_an_open_shard_says_so(store: FaultyStore) -> None:
    shard = Shard(store, HashingEmbedder())
    for call in (
        shard.remember(NOTES),
        shard.recall(Query(text="x")),
        shard.forget([NOTES[0].id]),
        shard.count(Scope()),
    ):
        with pytest.raises(ShardClosed):
            await call


async def test_closing_waits_for_the_write_and_closes_the_store(store: FaultyStore) -> None:
    shard = Shard(store, HashingEmbedder())
    await shard.open()
    store.may_put.clear()
    write = asyncio.ensure_future(shard.remember(NOTES))
    await store.putting.wait()

    close = asyncio.ensure_future(shard.aclose())
    store.may_put.set()
    await close

    assert write.done()
    assert (await write, store.closed) == ({record.id for record in NOTES}, 1)
    with pytest.raises(ShardClosed):
        await shard.remember(NOTES)


async def test_what_is_no_id_is_refused_before_anything_is_deleted(shard: Shard) -> None:
    await shard.remember(NOTES)

    with pytest.raises(InvalidMemory):
        await shard.forget([NOTES[0].id, RecordId("nonsense")])
    assert await shard.count(Scope()) == 4


async def test_a_zero_vector_brings_no_dense_hits(shard: Shard) -> None:
    class Blind(HashingEmbedder):
        async def embed_query(self, text: str) -> Vectors:
            return np.zeros(self.dim, np.float32)

    blind = Shard(MemoryStore(), Blind())
    await blind.open()
    await blind.remember(NOTES)

    hits = await blind.recall(Query(text="mailbox"))

    assert [(hit.text, hit.dense) for hit in hits] == [(TEXTS[1], None)]
    await blind.aclose()
