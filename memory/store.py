"""Where records are kept for good: the port, and its twin in memory.

The store is the truth. Every index is made from it and can be thrown away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from regrow.memory.record import MemoryRecord, RecordId, Scope, parsed_id

BATCH_RECORDS = 256
"""How many records one scanned batch or one pipeline holds at most."""


class Store(Protocol):
    """Keeps records by id. `tests/conformance/test_store.py` is what every store must pass.

    Records are written once: what is stored under an id never changes until it is deleted. All
    calls may be repeated with the same effect, so a caller that got no answer simply sends again.

    Raises, from every call: StoreUnreachable (it may have happened or not), StoreRefused (it did
    not happen, or only for a part of the records).
    """

    async def put_many(self, records: Sequence[MemoryRecord]) -> frozenset[RecordId]:
        """Keeps the records and returns which ids were new; the first one under an id stays.

        Durable when it returns, as far as the store is.
        """
        ...

    async def get_many(self, ids: Sequence[RecordId]) -> dict[RecordId, MemoryRecord]:
        """The records that are there; unknown ids are left out. Raises InvalidMemory, RecordUnreadable."""
        ...

    async def delete_many(self, ids: Sequence[RecordId]) -> frozenset[RecordId]:
        """Deletes the records and returns which ids were there. Raises InvalidMemory."""
        ...

    def scan(self, scope: Scope) -> AsyncIterator[tuple[MemoryRecord, ...]]:
        """All records at or below `scope`, about BATCH_RECORDS at a time, in no promised order.

        A record that is there from beginning to end comes at least once; one that is written or
        deleted meanwhile may come or not. Raises RecordUnreadable.
        """
        ...

    async def count(self, scope: Scope) -> int:
        """How many records there are at or below `scope`."""
        ...

    async def aclose(self) -> None:
        """Gives back connections. What is stored stays."""
        ...


class MemoryStore:
    """A Store in this process, for tests and for the inline engine: it is gone with the process."""

    def __init__(self) -> None:
        self._records: dict[RecordId, MemoryRecord] = {}

    async def put_many(self, records: Sequence[MemoryRecord]) -> frozenset[RecordId]:
        """Keeps the records; returns which ids were new."""
        new: set[RecordId] = set()
        for record in records:
            if record.id not in self._records:
                self._records[record.id] = record
                new.add(record.id)
        return frozenset(new)

    async def get_many(self, ids: Sequence[RecordId]) -> dict[RecordId, MemoryRecord]:
        """The records that are there."""
        for id in ids:
            parsed_id(id)
        return {id: self._records[id] for id in ids if id in self._records}

    async def delete_many(self, ids: Sequence[RecordId]) -> frozenset[RecordId]:
        """Deletes the records; returns which ids were there."""
        for id in ids:
            parsed_id(id)
        return frozenset(id for id in set(ids) if self._records.pop(id, None) is not None)

    async def scan(self, scope: Scope) -> AsyncIterator[tuple[MemoryRecord, ...]]:
        """All records at or below `scope`, as they are when the scan begins."""
        found = [record for record in self._records.values() if scope.covers(record.scope)]
        for start in range(0, len(found), BATCH_RECORDS):
            yield tuple(found[start : start + BATCH_RECORDS])

    async def count(self, scope: Scope) -> int:
        """How many records there are at or below `scope`."""
        return sum(scope.covers(record.scope) for record in self._records.values())

    async def aclose(self) -> None:
        """Does nothing: a closed twin still holds its records, as a Redis does."""
