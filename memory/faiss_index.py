"""The Index in FAISS: exact inner product over all vectors, `IndexIDMap2` over `IndexFlatIP`.

FAISS lets searches run together but not a search beside a change of the same index (its wiki,
"Threads and asynchronous calls"), and it releases the GIL in both, so the guard must be ours.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import faiss
import numpy as np

from regrow.memory.index import Nearest, RowIds, Vectors, check_new, check_query, check_rows, ordered


class FaissIndex:
    """An exact Index: each search reads all vectors, some milliseconds per 10,000 rows of 1,024 floats.

    `remove` is one pass over all vectors, whatever the number of ids: remove many at a time.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dim))
        # FAISS itself would take an id twice and then return the row twice.
        self._ids: set[int] = set()
        self._gate = SharedGate()

    @property
    def dim(self) -> int:
        """The length of every vector."""
        return self._dim

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: RowIds, vectors: Vectors) -> None:
        """Adds the vectors; waits until no search is running."""
        check_rows(ids, vectors, self._dim)
        with self._gate.alone():
            check_new(ids, self._ids)
            self._index.add_with_ids(np.ascontiguousarray(vectors), ids)
            self._ids.update(ids.tolist())

    def remove(self, ids: RowIds) -> int:
        """Removes the ids that are there; waits until no search is running."""
        with self._gate.alone():
            there = self._ids.intersection(ids.tolist())
            if not there:
                return 0
            self._index.remove_ids(faiss.IDSelectorBatch(np.fromiter(there, np.int64, len(there))))
            self._ids.difference_update(there)
            return len(there)

    def search(self, query: Vectors, k: int, allowed: RowIds | None = None) -> Nearest:
        """The best `k`; other searches may run at the same time."""
        check_query(query, self._dim)
        # For this thread only. With more, OpenMP's threads spin for each other, and on a machine that is
        # busy with agents one search of 5,000 rows took 36 ms instead of 4; searches run beside each other anyway.
        faiss.omp_set_num_threads(1)
        with self._gate.shared():
            # FAISS fills up with id -1 what it does not find, and allocates for all k.
            k = min(k, len(self._ids) if allowed is None else len(allowed))
            if k == 0:
                return Nearest(ids=np.empty(0, np.int64), scores=np.empty(0, np.float32))
            # The parameters point to the selector without owning it: both must outlive the call.
            selector = None if allowed is None else faiss.IDSelectorBatch(np.ascontiguousarray(allowed, np.int64))
            params = faiss.SearchParameters()
            params.sel = selector
            scores, ids = self._index.search(query[np.newaxis, :], k, params=params)
        found = ids[0] >= 0
        return ordered(ids[0][found], scores[0][found], k)


class SharedGate:
    """Lets any number of threads through together, or one alone; who waits to be alone goes first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing = 0
        self._alone = False
        self._waiting_to_be_alone = 0

    @property
    def claimed(self) -> bool:
        """True while somebody is alone inside, or waits to be; who wants to share must wait."""
        return self._alone or self._waiting_to_be_alone > 0

    @contextmanager
    def shared(self) -> Generator[None]:
        """Inside, others may share, and nobody is alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self.claimed)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Generator[None]:
        """Inside, nobody else is, in either way."""
        with self._changed:
            self._waiting_to_be_alone += 1
            self._changed.wait_for(lambda: not self._alone and not self._sharing)
            self._waiting_to_be_alone -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()
