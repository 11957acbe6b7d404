"""What the door and the memory service say to each other.

`reach` in each request is the scope of the door that sent it. The service checks it again, so that
a door with a mistake in it can not read or write for somebody else.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from regrow.memory.record import Hit, MemoryRecord, Query, RecordId, Scope, parsed_id
from regrow.runtime.message import Message, Request

LIMIT_RECORDS_PER_REQUEST = 256
LIMIT_IDS_PER_REQUEST = 4_096
LIMIT_CHARS_PER_REQUEST = 1_000_000
"""Together they keep a request to a few MiB; the door splits what is more."""


class Remembered(Message):
    """The ids of all records of the request in its order, and how many of them were new."""

    ids: tuple[RecordId, ...]
    new: int


class Remember(Request[Remembered]):
    """Store these records; harmless to send twice."""

    records: Annotated[tuple[MemoryRecord, ...], Field(max_length=LIMIT_RECORDS_PER_REQUEST)]
    reach: Scope


class Recalled(Message):
    """What was found, the best first."""

    hits: tuple[Hit, ...]


class Recall(Request[Recalled]):
    """Find the records that fit the query best."""

    query: Query
    reach: Scope


class Forgotten(Message):
    """The ids that were there and are gone now; an id that was not there is not listed."""

    ids: tuple[RecordId, ...]


class Forget(Request[Forgotten]):
    """Delete these records for good; harmless to send twice."""

    ids: Annotated[tuple[RecordId, ...], Field(max_length=LIMIT_IDS_PER_REQUEST)]
    reach: Scope

    @field_validator("ids")
    @classmethod
    def _are_ids(cls, ids: tuple[RecordId, ...]) -> tuple[RecordId, ...]:
        """Here and not in the service, where a crafted id would count as its crash."""
        for id in ids:
            parsed_id(id)
        return ids


class MemoryCount(Message):
    """How many records there are."""

    records: int


class CountMemories(Request[MemoryCount]):
    """Count the records at or below `scope`."""

    scope: Scope
    reach: Scope
