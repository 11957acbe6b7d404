"""Which row of the indexes is which record, and which rows lie in a scope."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from regrow.memory.index import RowIds
from regrow.memory.record import RecordId, Scope

LIMIT_CACHED_SCOPES = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """What one row stands for."""

    id: RecordId
    scope: Scope


class RowTable:
    """Numbers the records of a shard, from 0, never reusing a number until the next opening.

    Indexes want int64 numbers, and a digest cut down to 63 bits could collide.
    """

    def __init__(self) -> None:
        self._next = 0
        self._row_of: dict[RecordId, int] = {}
        self._entries: dict[int, Entry] = {}
        self._in_scope: dict[Scope, set[int]] = {}
        self._within: dict[Scope, RowIds] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, id: RecordId) -> bool:
        return id in self._row_of

    def reserve(self, count: int) -> RowIds:
        """The next `count` numbers, int64[count]; nothing is looked up by them before `enter`."""
        first, self._next = self._next, self._next + count
        return np.arange(first, self._next, dtype=np.int64)

    def enter(self, rows: RowIds, records: Iterable[tuple[RecordId, Scope]]) -> None:
        """Enters records under reserved numbers, once the indexes have them."""
        for row, (id, scope) in zip(rows.tolist(), records, strict=True):
            self._row_of[id] = row
            self._entries[row] = Entry(id, scope)
            self._in_scope.setdefault(scope, set()).add(row)
        self._within.clear()

    def leave(self, ids: Iterable[RecordId]) -> RowIds:
        """Takes records out and returns the numbers they had, for the indexes to remove."""
        rows: list[int] = []
        for id in ids:
            row = self._row_of.pop(id, None)
            if row is None:
                continue
            scope = self._entries.pop(row).scope
            self._in_scope[scope].discard(row)
            if not self._in_scope[scope]:
                del self._in_scope[scope]
            rows.append(row)
        self._within.clear()
        return np.array(rows, np.int64)

    def entry(self, row: int) -> Entry | None:
        """What a row stands for; None when it left while a search was under way."""
        return self._entries.get(row)

    def within(self, scope: Scope) -> RowIds | None:
        """The rows at or below `scope`, int64[m]; None when that is all of them, and no filter is needed."""
        known = self._within.get(scope)
        if known is None:
            inside = [rows for place, rows in self._in_scope.items() if scope.covers(place)]
            count = sum(map(len, inside))
            known = np.fromiter((row for rows in inside for row in rows), np.int64, count)
            if len(self._within) >= LIMIT_CACHED_SCOPES:
                self._within.clear()
            self._within[scope] = known
        return None if len(known) == len(self) else known
