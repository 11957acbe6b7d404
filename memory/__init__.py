"""The memory fabric: what agents remember, found again by words and by likeness.

Reading order: `record` (Scope, MemoryRecord, Query, Hits) · `store` ⧉ the truth, `redis_store` ·
`index` ⧉ nearest vectors, `faiss_index` · `embedder` ⧉ texts to vectors · `lexical` BM25 · `ranking` †
how both are fused · `rows` · `shard` owns one store with its indexes · `requests` and `service` make it
an actor · `fabric` Memory, the only door · `errors`.

Importing the room loads none of it, nor numpy, FAISS, tantivy or redis: a name is loaded when it is first
used.
"""

from __future__ import annotations

if __name__ != "regrow.memory":
    raise ImportError(f"this is regrow.memory; import it under that name, not as {__name__!r}")

from typing import TYPE_CHECKING

from regrow.runtime.late_names import late_names

if TYPE_CHECKING:
    from regrow.memory.embedder import Embedder, HashingEmbedder
    from regrow.memory.errors import (
        InvalidMemory,
        InvalidQuery,
        InvalidScope,
        InvalidVectors,
        OutOfScope,
        RecordUnreadable,
        ShardClosed,
        StoreFailed,
        StoreRefused,
        StoreUnreachable,
    )
    from regrow.memory.fabric import Memory
    from regrow.memory.index import FlatIndex, Index
    from regrow.memory.record import Attribute, Hit, Hits, MemoryRecord, Provenance, Query, RecordId, Scope
    from regrow.memory.service import MemoryService
    from regrow.memory.shard import Shard
    from regrow.memory.store import MemoryStore, Store

__all__ = [
    "Attribute",
    "Embedder",
    "FlatIndex",
    "HashingEmbedder",
    "Hit",
    "Hits",
    "Index",
    "InvalidMemory",
    "InvalidQuery",
    "InvalidScope",
    "InvalidVectors",
    "Memory",
    "MemoryRecord",
    "MemoryService",
    "MemoryStore",
    "OutOfScope",
    "Provenance",
    "Query",
    "RecordId",
    "RecordUnreadable",
    "Scope",
    "Shard",
    "ShardClosed",
    "Store",
    "StoreFailed",
    "StoreRefused",
    "StoreUnreachable",
]

if not TYPE_CHECKING:  # a checker that saw this function would take every misspelt name for a good one
    __getattr__ = late_names(
        __name__,
        {
            "embedder": (
                "Embedder",
                "HashingEmbedder",
            ),
            "errors": (
                "InvalidMemory",
                "InvalidQuery",
                "InvalidScope",
                "InvalidVectors",
                "OutOfScope",
                "RecordUnreadable",
                "ShardClosed",
                "StoreFailed",
                "StoreRefused",
                "StoreUnreachable",
            ),
            "fabric": ("Memory",),
            "index": (
                "FlatIndex",
                "Index",
            ),
            "record": (
                "Attribute",
                "Hit",
                "Hits",
                "MemoryRecord",
                "Provenance",
                "Query",
                "RecordId",
                "Scope",
            ),
            "service": ("MemoryService",),
            "shard": ("Shard",),
            "store": (
                "MemoryStore",
                "Store",
            ),
        },
    )


def __dir__() -> list[str]:
    return list(__all__)
