"""The owner of one store and the two indexes over it: what is remembered, found and forgotten.

The store is written first and the indexes after it, so a crash in between loses nothing: the next
`open` builds both indexes from the store again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from regrow.memory.embedder import Embedder
from regrow.memory.errors import ShardClosed
from regrow.memory.index import Index, RowIds, Vectors
from regrow.memory.ranking import Leg, Ranked, fused
from regrow.memory.record import Hit, Hits, MemoryRecord, Query, RecordId, Scope, parsed_id
from regrow.memory.rows import RowTable
from regrow.memory.store import Store
from regrow.runtime import telemetry

if TYPE_CHECKING:
    from regrow.memory.lexical import LexicalIndex

MIN_CANDIDATES = 100
"""What each leg brings at least: a mean and a deviation over fewer say little."""

CANDIDATES_PER_HIT = 4

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Indexes:
    """What `open` builds; thrown away as a whole."""

    dense: Index
    lexical: LexicalIndex
    rows: RowTable


class Shard:
    """One store with a dense and a lexical index over the part of it at or below `scope`.

    One shard writes to a scope. Writes run one after another and to their end, even when their
    caller is cancelled; a recall sees every write that was begun before it. Work that takes long
    runs in a thread, not on the event loop.

    Raises, from every call but `open`: ShardClosed; from all that reach the store: StoreUnreachable,
    StoreRefused, RecordUnreadable, and the call may be repeated; whatever the embedder raises.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        *,
        scope: Scope | None = None,
        make_index: Callable[[int], Index] | None = None,
    ) -> None:
        """`make_index` makes an empty index of that dimension; FAISS, exact, where it is None."""
        self.scope = scope if scope is not None else Scope()
        self._store = store
        self._embedder = embedder
        self._make_index = make_index
        self._indexes: _Indexes | None = None
        self._writing = asyncio.Lock()
        self._writes: set[asyncio.Task[Any]] = set()

    async def open(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Builds the indexes from the store; does nothing when the shard is open.

        `progress(done, total)` is called after each batch; `total` is the count at the beginning.
        Texts are embedded again, which takes as long as it took at first.
        """
        async with self._writing:
            if self._indexes is not None:
                return
            total = await self._store.count(self.scope)
            indexes = await asyncio.to_thread(_empty_indexes, self._make_index, self._embedder.dim)
            try:
                async for batch in self._store.scan(self.scope):
                    unseen = {record.id: record for record in batch if record.id not in indexes.rows}
                    await self._index(indexes, list(unseen.values()))
                    if progress is not None:
                        progress(len(indexes.rows), total)
                self._indexes = indexes
            finally:
                if self._indexes is None:  # it failed or was cancelled; tantivy's threads would outlive it
                    indexes.lexical.close()

    async def aclose(self) -> None:
        """Waits for the running write, then lets go of indexes and store. What is stored stays."""
        async with self._writing:
            indexes, self._indexes = self._indexes, None
            if indexes is not None:
                await asyncio.to_thread(indexes.lexical.close)
            await self._store.aclose()

    async def remember(self, records: Sequence[MemoryRecord]) -> frozenset[RecordId]:
        """Stores the records and makes them findable; returns which ids were new.

        Those that are there already stay as they are. Raises OutOfScope outside of the shard's scope.
        """
        return await self._to_the_end(self._remember(records))

    async def recall(self, query: Query) -> Hits:
        """The records that fit best, by both legs together; fewer than `k` where there are fewer.

        A text without a word finds nothing.
        """
        async with self._writing:
            indexes = self._opened()
        with self._embedding():
            vector = await self._embedder.embed_query(query.text)
        depth = max(MIN_CANDIDATES, CANDIDATES_PER_HIT * query.k)
        # Here, since only the event loop may touch the rows; the next recall finds it cached.
        allowed = indexes.rows.within(query.scope)
        nearest, matches = await asyncio.to_thread(_searched, indexes, vector, query, depth, allowed)
        dense = _in_scope(indexes.rows, nearest, query.scope)
        lexical = _in_scope(indexes.rows, matches, query.scope)
        # Fewer than asked for means that these are all that share a word with the question.
        floor = 0.0 if len(matches) < depth else None
        ranked = fused([Leg(scores=dense, weight=self._embedder.weight), Leg(scores=lexical, floor=floor)])
        records = await self._fetched(ranked, query.k)
        scores = {one.id: one.score for one in ranked}
        return Hits(
            tuple(
                Hit(record=record, score=scores[record.id], dense=dense.get(record.id), lexical=lexical.get(record.id))
                for record in records
            )
        )

    async def forget(self, ids: Sequence[RecordId]) -> frozenset[RecordId]:
        """Deletes the records for good; returns which were there.

        Raises:
            InvalidMemory, OutOfScope: an id is none, or not of this shard; nothing was deleted.
        """
        return await self._to_the_end(self._forget(ids))

    async def count(self, scope: Scope) -> int:
        """How many records the store has at or below `scope`."""
        async with self._writing:
            self._opened()
        return await self._store.count(scope)

    async def _remember(self, records: Sequence[MemoryRecord]) -> frozenset[RecordId]:
        async with self._writing:
            indexes = self._opened()
            unique: dict[RecordId, MemoryRecord] = {}
            for record in records:
                self.scope.check_covers(record.scope)
                unique.setdefault(record.id, record)
            # What counts is whether the indexes have it, not whether the store says it is new: after
            # a write that got no answer the store may have it while the indexes do not.
            missing = [record for record in unique.values() if record.id not in indexes.rows]
            # Before the store is written: an embedder that fails should leave nothing half done.
            with self._embedding():
                vectors = await self._embedder.embed_documents([record.text for record in missing])
            new = await self._store.put_many(list(unique.values()))
            await self._enter(indexes, missing, vectors)
            return new

    async def _forget(self, ids: Sequence[RecordId]) -> frozenset[RecordId]:
        async with self._writing:
            indexes = self._opened()
            for id in ids:
                self.scope.check_covers(parsed_id(id)[0])
            gone = await self._store.delete_many(ids)
            rows = indexes.rows.leave(ids)
            if len(rows):
                await asyncio.to_thread(_removed, indexes, rows)
            return gone

    def _embedding(self) -> AbstractContextManager[object]:
        attributes = {telemetry.OPERATION: telemetry.EMBEDDINGS, telemetry.REQUEST_MODEL: self._embedder.name}
        return telemetry.span(f"{telemetry.EMBEDDINGS} {self._embedder.name}", "", attributes)

    async def _index(self, indexes: _Indexes, records: Sequence[MemoryRecord]) -> None:
        vectors = await self._embedder.embed_documents([record.text for record in records])
        await self._enter(indexes, records, vectors)

    async def _enter(self, indexes: _Indexes, records: Sequence[MemoryRecord], vectors: Vectors) -> None:
        if not records:
            return
        rows = indexes.rows.reserve(len(records))
        await asyncio.to_thread(_added, indexes, rows, records, vectors)
        # Last: a row that is in only one index because of a failure is never looked up.
        indexes.rows.enter(rows, ((record.id, record.scope) for record in records))

    async def _fetched(self, ranked: Sequence[Ranked], k: int) -> list[MemoryRecord]:
        """The best `k` that the store still has, in their order."""
        found: list[MemoryRecord] = []
        for start in range(0, len(ranked), k):
            ids = [one.id for one in ranked[start : start + k]]
            records = await self._store.get_many(ids)
            if len(records) < len(ids):
                _log.warning("memory records are indexed but not stored", records=len(ids) - len(records))
            found.extend(records[id] for id in ids if id in records)
            if len(found) >= k:
                break
        return found[:k]

    async def _to_the_end(self, write: Coroutine[Any, Any, T]) -> T:
        """The write's result. It goes on when its caller is cancelled: half a write would leave the
        indexes behind the store until the next opening."""
        task = asyncio.ensure_future(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)

    def _opened(self) -> _Indexes:
        if self._indexes is None:
            raise ShardClosed
        return self._indexes


def _empty_indexes(make_index: Callable[[int], Index] | None, dim: int) -> _Indexes:
    """The indexes of an empty shard. FAISS and tantivy are imported here and nowhere else."""
    from regrow.memory.lexical import LexicalIndex

    if make_index is None:
        from regrow.memory.faiss_index import FaissIndex

        make_index = FaissIndex
    return _Indexes(dense=make_index(dim), lexical=LexicalIndex(), rows=RowTable())


def _added(indexes: _Indexes, rows: RowIds, records: Sequence[MemoryRecord], vectors: Vectors) -> None:
    indexes.dense.add(rows, vectors)
    indexes.lexical.add((row, record.scope, record.text) for row, record in zip(rows.tolist(), records, strict=True))


def _removed(indexes: _Indexes, rows: RowIds) -> None:
    indexes.dense.remove(rows)
    indexes.lexical.remove(rows.tolist())


def _searched(
    indexes: _Indexes, vector: Vectors, query: Query, depth: int, allowed: RowIds | None
) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Both legs' candidates as (row, score), at most `depth` each; no dense ones from a zero vector."""
    nearest = indexes.dense.search(vector, depth if vector.any() else 0, allowed)
    dense = list(zip(nearest.ids.tolist(), nearest.scores.tolist(), strict=True))
    return dense, indexes.lexical.search(query.text, depth, query.scope)


def _in_scope(rows: RowTable, found: Sequence[tuple[int, float]], scope: Scope) -> dict[RecordId, float]:
    """The scores by record. Scopes are checked once more, since a write for another scope that came
    between filter and search must not show; what left meanwhile is left out."""
    scores: dict[RecordId, float] = {}
    for row, score in found:
        entry = rows.entry(row)
        if entry is not None and scope.covers(entry.scope):
            scores[entry.id] = score
    return scores
