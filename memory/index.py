"""Nearest vectors by inner product: the port, and the exact twin that is also its oracle.

Ids are int64 numbers that the caller chooses; vectors are unit rows, so that the score is a cosine.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from regrow.memory.errors import InvalidVectors

Vectors = npt.NDArray[np.float32]
RowIds = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nearest:
    """What a search found: `ids` int64[m] and `scores` float32[m], best first, m ≤ k."""

    ids: RowIds
    scores: Vectors


class Index(Protocol):
    """Finds the vectors nearest to one. `tests/conformance/test_index.py` is what every index must pass.

    Calls block and may come from any thread. Searches may run together; an adapter whose library
    does not bear a search beside a change makes one wait for the other.
    """

    @property
    def dim(self) -> int:
        """The length of every vector."""
        ...

    def __len__(self) -> int:
        """How many vectors there are."""
        ...

    def add(self, ids: RowIds, vectors: Vectors) -> None:
        """Adds `vectors` float32[n, dim] under `ids` int64[n], all of them or none.

        Raises:
            InvalidVectors: a shape or dtype is wrong, a value is not finite, or an id is there already.
        """
        ...

    def remove(self, ids: RowIds) -> int:
        """Removes what is there of `ids` and returns how many that were."""
        ...

    def search(self, query: Vectors, k: int, allowed: RowIds | None = None) -> Nearest:
        """The `k` vectors with the greatest inner product with `query` float32[dim].

        Equal scores come in the order of their ids. With `allowed` only these ids are considered,
        and the answer is still the best `k` of them. Raises InvalidVectors.
        """
        ...


class FlatIndex:
    """An exact Index in numpy. One lock serves all calls: it is for tests and for thousands of rows."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._ids: RowIds = np.empty(0, np.int64)
        self._vectors: Vectors = np.empty((0, dim), np.float32)
        self._lock = threading.Lock()

    @property
    def dim(self) -> int:
        """The length of every vector."""
        return self._dim

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: RowIds, vectors: Vectors) -> None:
        """Adds the vectors; copies all earlier ones, which a twin can afford."""
        check_rows(ids, vectors, self._dim)
        with self._lock:
            check_new(ids, known=set(self._ids.tolist()))
            self._ids = np.concatenate([self._ids, ids])
            self._vectors = np.concatenate([self._vectors, vectors])

    def remove(self, ids: RowIds) -> int:
        """Removes the ids that are there."""
        with self._lock:
            keep = ~np.isin(self._ids, ids)
            self._ids, self._vectors = self._ids[keep], self._vectors[keep]
            return int(np.count_nonzero(~keep))

    def search(self, query: Vectors, k: int, allowed: RowIds | None = None) -> Nearest:
        """The best `k` by a full sort."""
        check_query(query, self._dim)
        with self._lock:
            ids, vectors = self._ids, self._vectors
        if allowed is not None:
            keep = np.isin(ids, allowed)
            ids, vectors = ids[keep], vectors[keep]
        return ordered(ids, (vectors @ query).astype(np.float32), k)


def ordered(ids: RowIds, scores: Vectors, k: int) -> Nearest:
    """The best `k` of them by descending score, equal scores by ascending id."""
    order = np.lexsort((ids, -scores))[:k]
    return Nearest(ids=ids[order], scores=scores[order])


def check_rows(ids: RowIds, vectors: Vectors, dim: int) -> None:
    """Raises InvalidVectors unless these are int64[n] and finite float32[n, dim]."""
    if ids.dtype != np.int64 or ids.ndim != 1:
        raise InvalidVectors(f"ids are {ids.dtype}{list(ids.shape)}; they must be int64[n]")
    if vectors.dtype != np.float32 or vectors.shape != (len(ids), dim):
        raise InvalidVectors(
            f"vectors are {vectors.dtype}{list(vectors.shape)}; they must be float32[{len(ids)}, {dim}]: "
            "is this another embedder than the one the index was made for?"
        )
    if not np.isfinite(vectors).all():
        raise InvalidVectors("a vector holds NaN or infinity; the embedder that made it is broken")


def check_query(query: Vectors, dim: int) -> None:
    """Raises InvalidVectors unless this is a finite float32[dim]."""
    if query.dtype != np.float32 or query.shape != (dim,):
        raise InvalidVectors(f"the query is {query.dtype}{list(query.shape)}; it must be float32[{dim}]")
    if not np.isfinite(query).all():
        raise InvalidVectors("the query vector holds NaN or infinity; the embedder that made it is broken")


def check_new(ids: RowIds, known: set[int]) -> None:
    """Raises InvalidVectors when an id is known already or comes twice."""
    fresh = set(ids.tolist())
    twice = len(fresh) < len(ids)
    if twice or not known.isdisjoint(fresh):
        raise InvalidVectors(f"{'an id comes twice' if twice else 'an id is in the index already'}; remove it first")
