"""The only door to the memory: `ctx.memory` of an agent.

It makes records, keeps to its scope, and sends requests to whoever owns the shard.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

from regrow.memory.record import Attribute, Hits, MemoryRecord, Provenance, Query, RecordId, Scope, parsed_id
from regrow.memory.requests import (
    LIMIT_CHARS_PER_REQUEST,
    LIMIT_IDS_PER_REQUEST,
    LIMIT_RECORDS_PER_REQUEST,
    CountMemories,
    Forget,
    Recall,
    Remember,
)
from regrow.runtime.message import Request

R = TypeVar("R")


class Ask(Protocol):
    """Sends a request to the memory service and awaits its reply: `ref.ask`, in an app."""

    def __call__(self, request: Request[R], /) -> Awaitable[R]:
        """The reply, or the error that the service answered with."""
        ...


class Memory:
    """What one agent remembers and may recall: everything at or below its scope, nothing else.

    Raises, from every call: OutOfScope (raised here, nothing was sent), StoreUnreachable and
    StoreRefused (the store is away or full; the same call may be repeated), and what asking raises.
    """

    def __init__(
        self,
        ask: Ask,
        scope: Scope | str,
        principal: str = "",
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """`principal` is written into every record as the one who wrote it; `now_s` gives Unix time."""
        self._ask = ask
        self._scope = Scope.of(scope)
        self._principal = principal
        self._now_s = now_s

    @property
    def scope(self) -> Scope:
        """The scope that this door reaches, with everything below it."""
        return self._scope

    def within(self, scope: Scope | str) -> Memory:
        """A narrower door, for a part of this one's scope."""
        return Memory(self._ask, self._admitted(scope), self._principal, now_s=self._now_s)

    async def remember(
        self,
        what: str | MemoryRecord,
        *,
        source: str = "",
        kind: str = "note",
        scope: Scope | str | None = None,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> RecordId:
        """Stores one thing and returns its id; it is durable and can be recalled when this returns.

        The same text from the same source in the same scope is stored once, and has the same id.
        A MemoryRecord brings its own source, kind, scope and attributes; the arguments are for texts.

        Raises:
            InvalidMemory, InvalidScope: what was given can not be stored; the text says why.
        """
        ids = await self.remember_many([what], source=source, kind=kind, scope=scope, attributes=attributes)
        return ids[0]

    async def remember_many(
        self,
        what: Iterable[str | MemoryRecord],
        *,
        source: str = "",
        kind: str = "note",
        scope: Scope | str | None = None,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> tuple[RecordId, ...]:
        """Stores many and returns their ids in order; all are checked before the first is sent.

        More than one request's worth is sent in several. If one fails the earlier ones are stored;
        the whole call may be repeated.
        """
        place = self._admitted(scope)
        records = [
            self._stamped(item)
            if isinstance(item, MemoryRecord)
            else MemoryRecord.of(
                item,
                scope=place,
                source=source,
                kind=kind,
                created_at_s=self._now_s(),
                attributes=attributes,
                principal=self._principal,
            )
            for item in what
        ]
        ids: list[RecordId] = []
        for batch in _request_batches(records):
            reply = await self._ask(Remember(records=batch, reach=self._scope))
            ids.extend(reply.ids)
        return tuple(ids)

    async def recall(self, text: str, k: int = 8, scope: Scope | str | None = None) -> Hits:
        """The `k` records that fit `text` best, the best first, at or below `scope`.

        A text without any word finds nothing. Raises InvalidQuery.
        """
        query = Query.of(text, k=k, scope=self._admitted(scope))
        reply = await self._ask(Recall(query=query, reach=self._scope))
        return Hits(reply.hits)

    async def forget(self, ids: Iterable[RecordId] | RecordId) -> tuple[RecordId, ...]:
        """Deletes records for good and returns the ids of those that were there.

        Raises:
            InvalidMemory: one is not the id of a memory. Nothing was deleted.
        """
        wanted = (ids,) if isinstance(ids, str) else tuple(ids)
        for id in wanted:
            self._scope.check_covers(parsed_id(id)[0])
        gone: list[RecordId] = []
        for start in range(0, len(wanted), LIMIT_IDS_PER_REQUEST):
            part = wanted[start : start + LIMIT_IDS_PER_REQUEST]
            reply = await self._ask(Forget(ids=part, reach=self._scope))
            gone.extend(reply.ids)
        return tuple(gone)

    async def count(self, scope: Scope | str | None = None) -> int:
        """How many records there are at or below `scope`."""
        reply = await self._ask(CountMemories(scope=self._admitted(scope), reach=self._scope))
        return reply.records

    def _admitted(self, scope: Scope | str | None) -> Scope:
        if scope is None:
            return self._scope
        place = Scope.of(scope)
        self._scope.check_covers(place)
        return place

    def _stamped(self, record: MemoryRecord) -> MemoryRecord:
        """The record as this door writes it: inside its scope and under its own name."""
        self._scope.check_covers(record.scope)
        return record.model_copy(update={"provenance": Provenance(principal=self._principal)})


def _request_batches(records: list[MemoryRecord]) -> Iterator[tuple[MemoryRecord, ...]]:
    """The records in requests that stay within both limits; a single long record goes alone."""
    batch: list[MemoryRecord] = []
    chars = 0
    for record in records:
        full = len(batch) == LIMIT_RECORDS_PER_REQUEST or chars + len(record.text) > LIMIT_CHARS_PER_REQUEST
        if batch and full:
            yield tuple(batch)
            batch, chars = [], 0
        batch.append(record)
        chars += len(record.text)
    if batch:
        yield tuple(batch)
