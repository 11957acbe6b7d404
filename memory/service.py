"""The memory service: the behavior that a cell drives, around one shard.

It lives under a supervisor like any other actor. When it dies, the next incarnation opens the same
store and builds the indexes again; nothing that was acknowledged is lost.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from opentelemetry.trace import Span, SpanKind

from regrow.memory.record import Scope, parsed_id
from regrow.memory.requests import (
    CountMemories,
    Forget,
    Forgotten,
    MemoryCount,
    Recall,
    Recalled,
    Remember,
    Remembered,
)
from regrow.memory.shard import Shard
from regrow.runtime import telemetry
from regrow.runtime.behavior import BehaviorTraits
from regrow.runtime.context import CellContext
from regrow.runtime.errors import Refused
from regrow.runtime.message import Message
from regrow.runtime.span_content import note_content


class MemoryService(BehaviorTraits):
    """Answers Remember, Recall, Forget and CountMemories; refuses everything else and lives.

    Recalls and counts may run beside each other and beside a write; a recall sees every write that
    was taken from the mailbox before it.
    """

    def __init__(self, shard: Shard) -> None:
        """`shard` is closed still; the service opens and closes it."""
        self._shard = shard

    async def started(self, ctx: object) -> None:
        """Opens the shard, which reads the whole store. Raises StoreFailed, RecordUnreadable."""
        await self._shard.open()

    async def handle(self, message: object, ctx: object) -> Message:
        """The reply to one request.

        Raises:
            OutOfScope: the request goes beyond its own reach, or beyond this shard.
            StoreFailed: the store is away or refuses; the service lives on.
            Refused: the message is none of the four.
        """
        parent = ctx.origin().trace if isinstance(ctx, CellContext) else ""
        match message:
            case Remember(records=records, reach=reach):
                self._admit({record.scope for record in records}, reach)
                with _span(telemetry.UPSERT_MEMORY, parent) as span:
                    new = await self._shard.remember(records)
                    span.set_attribute(telemetry.RECORDS, len(records))
                return Remembered(ids=tuple(record.id for record in records), new=len(new))
            case Recall(query=query, reach=reach):
                self._admit({query.scope}, reach)
                with _span(telemetry.SEARCH_MEMORY, parent) as span:
                    note_content(span, telemetry.MEMORY_QUERY, lambda: query.text)
                    hits = (await self._shard.recall(query)).found
                    span.set_attribute(telemetry.HITS, len(hits))
                return Recalled(hits=hits)
            case Forget(ids=ids, reach=reach):
                self._admit({parsed_id(id)[0] for id in ids}, reach)
                with _span(telemetry.DELETE_MEMORY, parent):
                    gone = await self._shard.forget(ids)
                return Forgotten(ids=tuple(id for id in dict.fromkeys(ids) if id in gone))
            case CountMemories(scope=scope, reach=reach):
                self._admit({scope}, reach)
                return MemoryCount(records=await self._shard.count(scope))
            case _:
                raise Refused(
                    f"the memory service does not understand {type(message).__name__}; use ctx.memory, or send one of "
                    "Remember, Recall, Forget and CountMemories"
                )

    async def stopping(self, reason: object, ctx: object) -> None:
        """Lets a running write end and closes the shard."""
        await self._shard.aclose()

    def runs_concurrently(self, message: object) -> bool:
        """Reading does not wait for reading; writes come one after another."""
        return isinstance(message, (Recall, CountMemories))

    def _admit(self, wanted: set[Scope], reach: Scope) -> None:
        """Raises OutOfScope unless all are within the reach of the door and of the shard."""
        for scope in wanted:
            reach.check_covers(scope)
            self._shard.scope.check_covers(scope)


def _span(operation: str, parent: str) -> AbstractContextManager[Span]:
    shown_as = telemetry.SHOWN_AS_RETRIEVER if operation == telemetry.SEARCH_MEMORY else telemetry.SHOWN_AS_CHAIN
    attributes = {telemetry.OPERATION: operation, telemetry.SHOWN_AS: shown_as}
    return telemetry.span(operation, parent, attributes, kind=SpanKind.CLIENT)
