"""The room as a whole: what loading it costs, and whether it finds what a person would expect."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

import regrow.memory
from regrow.memory.embedder import HashingEmbedder
from regrow.memory.fabric import Memory
from regrow.memory.faiss_index import FaissIndex
from regrow.memory.lexical import LexicalIndex
from regrow.memory.ranking import Leg, fused
from regrow.memory.record import MemoryRecord, Scope
from regrow.memory.service import MemoryService
from regrow.memory.shard import MIN_CANDIDATES, Shard
from regrow.memory.store import MemoryStore

SCIFACT = Path(os.environ.get("REGROW_DATA", Path(__file__).parents[3] / "shared/data")) / "scifact"

DOCUMENTS = {
    "supervision.md": "A supervisor restarts its children when they crash. The strategy one_for_one restarts only the "
    "child that ended; rest_for_one also restarts those that were started after it.",
    "mailbox.md": "Each agent has a bounded mailbox of 1,000 messages. When it is full, senders wait for room; after "
    "five seconds they get MailboxFull.",
    "budget.md": "Money is reserved before a model is called and settled afterwards, so that two agents cannot "
    "spend the same dollar.",
    "memory.md": "Records live in Redis. FAISS and tantivy index them, and both indexes are rebuilt at every start.",
    "install.md": "Install with pip. Python 3.11 or newer is needed; no Ray cluster has to run for the first steps.",
    "kuberay.md": "On Kubernetes the operator starts one pod per node and scales them with the queue length.",
}


@pytest.fixture
async def memory() -> AsyncIterator[Memory]:
    service = MemoryService(Shard(MemoryStore(), HashingEmbedder()))
    await service.started(None)

    async def ask(request: object) -> object:
        return await service.handle(request, None)

    door = Memory(ask, "docs")  # type: ignore[arg-type]
    for source, text in DOCUMENTS.items():
        await door.remember(text, source=source)
    yield door
    await service.stopping(None, None)


@pytest.mark.parametrize(
    ("question", "source"),
    [
        ("What does a supervisor do when a child crashes?", "supervision.md"),
        ("What is rest_for_one?", "supervision.md"),
        ("What happens if the mailbox of an agent is full?", "mailbox.md"),
        ("which python version do I need", "install.md"),
        ("Where are the records kept?", "memory.md"),
        ("How is overspending prevented, is money reserved?", "budget.md"),
        ("kubernets pods scaling", "kuberay.md"),
        ("rebuilding the idexes", "memory.md"),
        ("MAILBOXFULL", "mailbox.md"),
    ],
)
async def test_a_plain_question_finds_its_document_first(memory: Memory, question: str, source: str) -> None:
    assert (await memory.recall(question, k=3)).sources[0] == source


@pytest.mark.slow
def test_loading_the_room_loads_no_index_and_no_redis(tmp_path: Path) -> None:
    code = "import json, sys, regrow.memory; print(json.dumps(list(sys.modules)))"

    loaded = json.loads(
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    )

    assert {"faiss", "tantivy", "redis", "ray", "regrow.memory.lexical"} & set(loaded) == set()


def test_the_room_offers_what_it_lists() -> None:
    assert all(getattr(regrow.memory, name) for name in regrow.memory.__all__)
    assert sorted(regrow.memory.__all__) == regrow.memory.__all__ == dir(regrow.memory)


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.again  # an evaluation, of the same functions as above
@pytest.mark.skipif(
    not SCIFACT.exists(), reason="needs SciFact in BEIR form; set REGROW_DATA to the folder that holds it"
)
def test_on_scifact_both_legs_together_are_at_least_as_good_as_each() -> None:
    """nDCG@10 over 150 claims and 5,183 abstracts; measured: BM25 .677, hashing .512, fused .680."""
    abstracts = [json.loads(line) for line in (SCIFACT / "corpus.jsonl").read_text("utf-8").splitlines()]
    claims = [json.loads(line) for line in (SCIFACT / "queries.jsonl").read_text("utf-8").splitlines()]
    relevant: dict[str, set[str]] = {}
    for line in (SCIFACT / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
        claim, abstract, grade = line.split("\t")
        if int(grade) > 0:
            relevant.setdefault(claim, set()).add(abstract)
    scope, embedder = Scope.of("scifact"), HashingEmbedder()
    records = [
        MemoryRecord.of(f"{each['title']}. {each['text']}", scope=scope, source=each["_id"]) for each in abstracts
    ]
    dense_index, lexical_index = FaissIndex(embedder.dim), LexicalIndex()
    dense_index.add(np.arange(len(records), dtype=np.int64), embedder.embedded([record.text for record in records]))
    lexical_index.add((row, scope, record.text) for row, record in enumerate(records))
    source_of = {record.id: record.source for record in records}

    gains = {"dense": 0.0, "lexical": 0.0, "fused": 0.0}
    for claim in claims:
        nearest = dense_index.search(embedder.embedded([claim["text"]])[0], MIN_CANDIDATES)
        pairs = zip(nearest.ids.tolist(), nearest.scores.tolist(), strict=True)
        dense = Leg(scores={records[row].id: score for row, score in pairs}, weight=embedder.weight)
        matches = lexical_index.search(claim["text"], MIN_CANDIDATES, scope)
        floor = 0.0 if len(matches) < MIN_CANDIDATES else None
        lexical = Leg(scores={records[row].id: score for row, score in matches}, floor=floor)
        for name, legs in (("dense", [dense]), ("lexical", [lexical]), ("fused", [dense, lexical])):
            ranking = [source_of[one.id] for one in fused(legs)]
            gains[name] += ndcg(ranking, relevant[claim["_id"]], k=10) / len(claims)
    lexical_index.close()

    print({name: round(gain, 4) for name, gain in gains.items()})
    assert gains["fused"] >= max(gains["dense"], gains["lexical"])
    assert gains["lexical"] >= 0.66


def ndcg(ranking: list[str], relevant: set[str], *, k: int) -> float:
    """Normalised discounted cumulative gain of the first `k`, with binary relevance."""
    gain = sum(1 / math.log2(rank + 2) for rank, source in enumerate(ranking[:k]) if source in relevant)
    return gain / sum(1 / math.log2(rank + 2) for rank in range(min(k, len(relevant))))
