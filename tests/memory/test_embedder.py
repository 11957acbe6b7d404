"""The hashing embedder: the contract of every embedder, and what this one can and can not see."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from regrow.memory import embedder as module
from regrow.memory.embedder import HASHING_DIM, HashingEmbedder

PROBE = "Supervisors restart crashed children within 5 s. Größe, 漢字!"


async def alike(one: str, two: str) -> float:
    vectors = await HashingEmbedder().embed_documents([one, two])
    return float(vectors[0] @ vectors[1])


async def test_rows_are_float32_and_of_unit_length() -> None:
    vectors = await HashingEmbedder(dim=256).embed_documents(["one text", "and another", PROBE * 50])

    assert (vectors.dtype, vectors.shape) == (np.float32, (3, 256))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-6)


async def test_no_documents_give_no_rows() -> None:
    assert (await HashingEmbedder().embed_documents([])).shape == (0, HASHING_DIM)


@pytest.mark.parametrize("text", ["", "  ", "!?…", "the of and where", "👍"])
async def test_a_text_without_content_words_is_zero(text: str) -> None:
    assert not (await HashingEmbedder().embed_query(text)).any()


async def test_a_query_is_embedded_like_a_document() -> None:
    embedder = HashingEmbedder()

    query, documents = await embedder.embed_query(PROBE), await embedder.embed_documents([PROBE])

    assert (query.dtype, query.shape) == (np.float32, (HASHING_DIM,))
    assert query.tolist() == documents[0].tolist()


async def test_the_scheme_is_the_one_its_name_promises() -> None:
    """Changing the vectors needs a new name: indexes of two hosts must not mix."""
    embedder = HashingEmbedder()

    vector = (await embedder.embed_query(PROBE)).round(4) + 0.0

    assert embedder.name == "hashing-1-1024"
    assert hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest()[:16] == "6ed211471360150d"


@pytest.mark.program
@pytest.mark.slow
def test_another_process_with_another_hash_seed_gives_the_same_vector() -> None:
    code = f"from regrow.memory.embedder import HashingEmbedder as E; print(E().embedded([{PROBE!r}]).tobytes().hex())"

    said = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]

    assert said == [HashingEmbedder().embedded([PROBE]).tobytes().hex() + "\n"] * 2


async def test_a_full_word_cache_starts_over_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"word{n} other{n}" for n in range(20)]
    expected = await HashingEmbedder().embed_documents(texts)
    monkeypatch.setattr(module, "LIMIT_CACHED_WORDS", 3)

    assert (await HashingEmbedder().embed_documents(texts)).tolist() == expected.tolist()


async def test_inflections_and_typing_errors_are_alike() -> None:
    unrelated = await alike("supervisor restarts", "vegetable soup")

    assert await alike("the supervisor restarts it", "restarted by supervisors") > unrelated + 0.4
    assert await alike("kubernetes", "kubernets") > unrelated + 0.3


async def test_case_width_and_function_words_do_not_matter() -> None:
    assert await alike("THE Mailbox is ＦＵＬＬ", "mailbox full") == pytest.approx(1.0)


async def test_synonyms_are_strangers_to_it() -> None:
    """A known limit: it sees spelling. A semantic embedder behind the same port would fail this test."""
    assert await alike("car", "automobile") < 0.2


async def test_a_word_that_comes_often_counts_less_than_its_count() -> None:
    assert await alike("mailbox " * 50 + "ray", "ray") > 0.15


async def test_an_endless_word_is_cut() -> None:
    assert await alike("x" * 90_000, "x" * 64) == pytest.approx(1.0)
