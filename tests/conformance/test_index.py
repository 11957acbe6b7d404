"""What every Index keeps, over the exact twin and over FAISS."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from regrow.memory.errors import InvalidVectors
from regrow.memory.faiss_index import FaissIndex
from regrow.memory.index import FlatIndex, Index, RowIds, Vectors

DIM = 16

MakeIndex = Callable[[int], Index]


@pytest.fixture(params=[FlatIndex, FaissIndex])
def make(request: pytest.FixtureRequest) -> MakeIndex:
    made: MakeIndex = request.param
    return made


def rows(*ids: int) -> RowIds:
    return np.array(ids, np.int64)


def unit(count: int, seed: int = 0, dim: int = DIM) -> Vectors:
    """Random unit rows, no two alike."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def filled(make: MakeIndex, count: int) -> tuple[Index, Vectors]:
    index, vectors = make(DIM), unit(count)
    index.add(np.arange(count, dtype=np.int64), vectors)
    return index, vectors


def test_the_nearest_of_a_stored_vector_is_itself(make: MakeIndex) -> None:
    index, vectors = filled(make, 50)

    nearest = index.search(vectors[7], 1)

    assert nearest.ids.tolist() == [7]
    assert nearest.scores.tolist() == pytest.approx([1.0])


def test_scores_are_inner_products_in_descending_order(make: MakeIndex) -> None:
    index, vectors = filled(make, 50)
    query = unit(1, seed=1)[0]

    nearest = index.search(query, 10)

    products = vectors @ query
    assert nearest.ids.tolist() == np.argsort(-products)[:10].tolist()
    assert nearest.scores == pytest.approx(products[nearest.ids], abs=1e-5)
    assert (nearest.ids.dtype, nearest.scores.dtype) == (np.int64, np.float32)


def test_an_empty_index_finds_nothing(make: MakeIndex) -> None:
    nearest = make(DIM).search(unit(1)[0], 5)

    assert (nearest.ids.tolist(), nearest.scores.tolist()) == ([], [])


def test_more_than_there_are_gives_all_there_are(make: MakeIndex) -> None:
    index, vectors = filled(make, 3)

    assert sorted(index.search(vectors[0], 10).ids.tolist()) == [0, 1, 2]


def test_none_asked_gives_none(make: MakeIndex) -> None:
    index, vectors = filled(make, 3)

    assert index.search(vectors[0], 0).ids.tolist() == []


def test_removed_rows_are_not_found_and_the_others_are(make: MakeIndex) -> None:
    index, vectors = filled(make, 20)

    removed = index.remove(rows(3, 4, 99))

    assert (removed, len(index)) == (2, 18)
    assert set(index.search(vectors[3], 20).ids.tolist()) == set(range(20)) - {3, 4}


def test_a_removed_id_can_be_added_again(make: MakeIndex) -> None:
    index, _ = filled(make, 5)
    index.remove(rows(2))
    other = unit(1, seed=9)

    index.add(rows(2), other)

    assert index.search(other[0], 1).ids.tolist() == [2]


def test_ids_may_be_any_int64(make: MakeIndex) -> None:
    index, ids = make(DIM), rows(0, 2**40, 2**62)
    index.add(ids, unit(3))

    assert [index.search(vector, 1).ids.item() for vector in unit(3)] == ids.tolist()


def test_only_allowed_rows_are_found_and_they_fill_the_answer(make: MakeIndex) -> None:
    index, vectors = filled(make, 60)
    allowed = rows(*range(0, 60, 7), 1_000)

    nearest = index.search(vectors[1], 5, allowed)

    products = {row: float(vectors[row] @ vectors[1]) for row in range(0, 60, 7)}
    assert nearest.ids.tolist() == sorted(products, key=lambda row: -products[row])[:5]


def test_nothing_allowed_finds_nothing(make: MakeIndex) -> None:
    index, vectors = filled(make, 5)

    assert index.search(vectors[0], 5, rows()).ids.tolist() == []
    assert index.search(vectors[0], 5, rows(77)).ids.tolist() == []


def test_equal_scores_come_in_the_order_of_ids(make: MakeIndex) -> None:
    index, vector = make(DIM), unit(1)
    index.add(rows(5, 3, 9), np.repeat(vector, 3, axis=0))

    assert index.search(vector[0], 3).ids.tolist() == [3, 5, 9]


def test_a_zero_query_is_no_error(make: MakeIndex) -> None:
    index, _ = filled(make, 5)

    assert index.search(np.zeros(DIM, np.float32), 2).scores.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "vectors",
    [
        unit(2, dim=DIM + 1),
        unit(1),
        unit(2)[0],
        unit(2).astype(np.float64),
        np.full((2, DIM), np.nan, np.float32),
    ],
    ids=["dimension", "count", "one row", "dtype", "nan"],
)
def test_vectors_that_do_not_fit_are_refused_whole(make: MakeIndex, vectors: npt.NDArray[np.float32]) -> None:
    index = make(DIM)

    with pytest.raises(InvalidVectors):
        index.add(rows(1, 2), vectors)
    assert len(index) == 0


@pytest.mark.parametrize(
    "query", [unit(1), unit(1, dim=DIM - 1)[0], np.full(DIM, np.inf, np.float32)], ids=["matrix", "dimension", "inf"]
)
def test_a_query_that_does_not_fit_is_refused(make: MakeIndex, query: Vectors) -> None:
    with pytest.raises(InvalidVectors):
        make(DIM).search(query, 1)


@pytest.mark.parametrize("ids", [rows(8, 8), rows(0, 9)], ids=["twice in one call", "there already"])
def test_an_id_is_taken_once(make: MakeIndex, ids: RowIds) -> None:
    index, vectors = filled(make, 3)

    with pytest.raises(InvalidVectors, match="an id"):
        index.add(ids, unit(2, seed=4))
    assert len(index) == 3
    assert index.search(vectors[0], 1).ids.tolist() == [0]


@pytest.mark.slow
def test_searches_beside_changes_see_a_whole_index(make: MakeIndex) -> None:
    index, vectors = filled(make, 64)
    more = unit(128, seed=3)

    def change(at: int) -> None:
        index.add(rows(1_000 + at), more[at : at + 1])
        if at % 4 == 0:
            index.remove(rows(1_000 + at))

    with ThreadPoolExecutor(4) as pool:
        changes = pool.map(change, range(128))
        found = list(pool.map(lambda row: index.search(vectors[row % 64], 1).ids.item(), range(128)))
        list(changes)

    assert found == [row % 64 for row in range(128)]
    assert len(index) == 64 + 96


@pytest.mark.slow
def test_faiss_agrees_with_the_oracle_through_adds_removes_and_filters() -> None:
    random = np.random.default_rng(20)
    oracle, subject = FlatIndex(DIM), FaissIndex(DIM)
    vectors = unit(400, seed=5)
    for step in range(0, 400, 50):
        ids = np.arange(step, step + 50, dtype=np.int64)
        gone = random.integers(0, step + 50, 9).astype(np.int64)
        for index in (oracle, subject):
            index.add(ids, vectors[ids])
            index.remove(gone)
        allowed = random.choice(step + 50, 30, replace=False).astype(np.int64)
        for query in unit(4, seed=step + 1_000):
            for only in (None, allowed):
                expected, actual = oracle.search(query, 12, only), subject.search(query, 12, only)

                assert actual.ids.tolist() == expected.ids.tolist()
                assert actual.scores == pytest.approx(expected.scores, abs=1e-5)
