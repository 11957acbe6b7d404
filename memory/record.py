"""What is remembered and what comes back: Scope, MemoryRecord, Query, Hit, Hits.

A record's id names its scope and the digest of what it says, so that the same text from the same
source in the same scope is one record however often and by whomever it is stored, and so that the
scope of an id is known without asking anyone.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NewType, overload

from pydantic import field_validator, model_validator

from regrow.memory.errors import InvalidMemory, InvalidQuery, InvalidScope, OutOfScope
from regrow.runtime.message import Message

RecordId = NewType("RecordId", str)
"""`scope#digest`, as in `acme/desk#9f86d081884c7d65…`; made by MemoryRecord.of only."""

Attribute = str | int | float | bool
"""What an attribute's value may be."""

LIMIT_SCOPE_SEGMENTS = 8
"""Deeper trees were never needed, and every segment is one more term in the lexical index."""

LIMIT_TEXT_CHARS = 100_000
"""About 50 pages. A longer document belongs into several records: retrieval works on passages."""

LIMIT_SOURCE_CHARS = 2_000
LIMIT_ATTRIBUTES = 64

LIMIT_QUERY_CHARS = 20_000
LIMIT_K = 1_000

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+:=~-]{0,63}")
_DIGEST_BYTES = 16


class Scope(Message):
    """A place in the tree of memories; it reaches itself and everything below, by exact segments.

    >>> Scope.of("acme").covers(Scope.of("acme/desk")), Scope.of("acme").covers(Scope.of("acme-corp"))
    (True, False)

    The empty path is the root, which reaches everything of the app.
    """

    path: str = ""

    @field_validator("path")
    @classmethod
    def _checked_path(cls, path: str) -> str:
        return checked_path(path)

    @classmethod
    def of(cls, place: Scope | str) -> Scope:
        """The scope itself, or the one written as `a/b/c`.

        Raises:
            InvalidScope: the path is empty or has a segment that is not allowed. The root is never
                meant by an empty string, which is what a missing setting looks like: write `Scope()`.
        """
        if isinstance(place, Scope):
            return place
        if not place:
            raise InvalidScope("an empty string is no scope; write Scope() where the whole memory is meant")
        return cls.model_construct(path=checked_path(place))

    def __truediv__(self, segment: str) -> Scope:
        """The scope one or more segments below this one."""
        return Scope.of(f"{self.path}/{segment}" if self.path else segment)

    def covers(self, other: Scope) -> bool:
        """True when `other` is this scope or lies below it."""
        return not self.path or other.path == self.path or other.path.startswith(self.path + "/")

    def check_covers(self, wanted: Scope) -> None:
        """Raises OutOfScope unless `wanted` is this scope or lies below it."""
        if not self.covers(wanted):
            raise OutOfScope(wanted=wanted.path, reach=self.path)

    @property
    def lineage(self) -> tuple[str, ...]:
        """The paths of all scopes that cover this one, from the top, without the root: a, a/b, a/b/c."""
        segments = self.path.split("/") if self.path else []
        return tuple("/".join(segments[: depth + 1]) for depth in range(len(segments)))

    def __hash__(self) -> int:
        return hash(self.path)

    def __str__(self) -> str:
        return self.path or "(all)"


def checked_path(path: str) -> str:
    """The path as it is. Raises InvalidScope with the segment that is wrong."""
    segments = path.split("/") if path else []
    if len(segments) > LIMIT_SCOPE_SEGMENTS:
        raise InvalidScope(f"the scope {path!r} has {len(segments)} segments, more than {LIMIT_SCOPE_SEGMENTS}")
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            raise InvalidScope(
                f"the scope {path!r} has the segment {segment!r}; a segment is 1 to 64 ASCII letters, digits and "
                "._@+:=~- and begins with a letter or digit"
            )
    return path


class Provenance(Message):
    """Where a record comes from: `principal` is who wrote it, empty where nobody said."""

    principal: str = ""


class MemoryRecord(Message):
    """One thing that is remembered. Make it with `MemoryRecord.of`, which gives it its id.

    `source` is what an answer cites (a path, a URL, an agent); `created_at_s` is Unix time.
    """

    id: RecordId
    text: str
    scope: Scope
    source: str = ""
    kind: str = "note"
    created_at_s: float = 0.0
    attributes: tuple[tuple[str, Attribute], ...] = ()
    provenance: Provenance = Provenance()

    @classmethod
    def of(
        cls,
        text: str,
        *,
        scope: Scope | str,
        source: str = "",
        kind: str = "note",
        created_at_s: float = 0.0,
        attributes: Mapping[str, Attribute] | None = None,
        principal: str = "",
    ) -> MemoryRecord:
        """A record with its id.

        Raises:
            InvalidMemory: the text is empty, too long or not valid Unicode, or a field is.
            InvalidScope: the scope is written wrongly.
        """
        place = Scope.of(scope)
        pairs = tuple(sorted((attributes or {}).items(), key=str))
        _check_content(text=text, source=source, kind=kind, created_at_s=created_at_s, attributes=pairs)
        return cls.model_construct(
            id=record_id(text, scope=place, source=source),
            text=text,
            scope=place,
            source=source,
            kind=kind,
            created_at_s=float(created_at_s),
            attributes=pairs,
            provenance=Provenance(principal=principal),
        )

    @model_validator(mode="after")
    def _id_says_what_the_record_says(self) -> MemoryRecord:
        """Holds for what comes over the wire too: nobody can store a text under another text's id."""
        _check_content(
            text=self.text,
            source=self.source,
            kind=self.kind,
            created_at_s=self.created_at_s,
            attributes=self.attributes,
        )
        expected = record_id(self.text, scope=self.scope, source=self.source)
        if self.id != expected:
            raise InvalidMemory(f"the id {self.id!r} is not the one of this text, scope and source ({expected})")
        return self


def record_id(text: str, *, scope: Scope, source: str) -> RecordId:
    """The id of this content: BLAKE2b-128 over the three parts, each with its length before it."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in (scope.path, source, text):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return RecordId(f"{scope.path}#{digest.hexdigest()}")


def parsed_id(id: str) -> tuple[Scope, str]:
    """The scope and the digest in a record id. Raises InvalidMemory when it is not one."""
    path, mark, digest = id.partition("#")
    if not mark or len(digest) != 2 * _DIGEST_BYTES or not all(c in "0123456789abcdef" for c in digest):
        raise InvalidMemory(f"{id!r} is not the id of a memory; use the ids that remember() or a Hit gave")
    try:
        return Scope.model_construct(path=checked_path(path)), digest
    except InvalidScope as wrong:
        raise InvalidMemory(f"{id!r} is not the id of a memory: {wrong}") from wrong


def _check_content(
    *,
    text: str,
    source: str,
    kind: str,
    created_at_s: float,
    attributes: tuple[tuple[str, Attribute], ...],
) -> None:
    for field, part in (("text", text), ("source", source), ("kind", kind)):
        if not isinstance(part, str):
            raise InvalidMemory(f"the {field} is {part!r}, a {type(part).__name__}; it must be a str")
    if not text.strip():
        raise InvalidMemory("a memory needs text; this one is empty or only white space")
    if len(text) > LIMIT_TEXT_CHARS:
        raise InvalidMemory(
            f"the text has {len(text)} characters, more than {LIMIT_TEXT_CHARS}; remember it in passages"
        )
    if len(source) > LIMIT_SOURCE_CHARS:
        raise InvalidMemory(f"the source has {len(source)} characters, more than {LIMIT_SOURCE_CHARS}")
    if not _SEGMENT.fullmatch(kind):
        raise InvalidMemory(f"the kind {kind!r} is not one word of ASCII letters, digits and ._@+:=~-")
    if not math.isfinite(created_at_s):
        raise InvalidMemory(f"created_at_s is {created_at_s}; it is Unix time in seconds")
    if len(attributes) > LIMIT_ATTRIBUTES:
        raise InvalidMemory(f"{len(attributes)} attributes are more than {LIMIT_ATTRIBUTES}")
    for name, value in attributes:
        if not isinstance(name, str) or not isinstance(value, (str, int, float)):
            raise InvalidMemory(f"the attribute {name!r} is {value!r}; names are str, values str, int, float or bool")
    for words in (text, source, *(part for pair in attributes for part in pair if isinstance(part, str))):
        if not _is_unicode(words):
            raise InvalidMemory(
                f"{words[:40]!r} holds lone surrogates, which can not be stored; decode the file with errors='replace'"
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Query(Message):
    """A question to the memory: the `k` best records at or below `scope`, the best first."""

    text: str
    k: int = 8
    scope: Scope = Scope()

    @classmethod
    def of(cls, text: str, *, k: int, scope: Scope) -> Query:
        """The query. Raises InvalidQuery when `k` is out of range or the text is too long."""
        _check_query(text, k)
        return cls.model_construct(text=text, k=k, scope=scope)

    @model_validator(mode="after")
    def _within_limits(self) -> Query:
        _check_query(self.text, self.k)
        return self


def _check_query(text: str, k: int) -> None:
    if not 1 <= k <= LIMIT_K:
        raise InvalidQuery(f"k is {k}; it must be 1 to {LIMIT_K}")
    if len(text) > LIMIT_QUERY_CHARS:
        raise InvalidQuery(
            f"the query has {len(text)} characters, more than {LIMIT_QUERY_CHARS}; ask with the part that matters"
        )
    if not _is_unicode(text):
        raise InvalidQuery("the query holds lone surrogates; decode its bytes with errors='replace' first")


class Hit(Message):
    """One record found. `score` is the fused score, comparable only within one answer.

    `dense` is the cosine of the embeddings and `lexical` the BM25 score, None where that leg did
    not have the record among its candidates.
    """

    record: MemoryRecord
    score: float
    dense: float | None = None
    lexical: float | None = None

    @property
    def text(self) -> str:
        """The record's text: what a router quotes."""
        return self.record.text

    @property
    def source(self) -> str:
        """The record's source: what a router cites."""
        return self.record.source


@dataclass(frozen=True, slots=True)
class Hits(Sequence[Hit]):
    """What a recall found, the best first."""

    found: tuple[Hit, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources in rank order, each once; records without a source add none."""
        return tuple(dict.fromkeys(hit.source for hit in self.found if hit.source))

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Hits: ...
    def __getitem__(self, index: int | slice) -> Hit | Hits:
        return Hits(self.found[index]) if isinstance(index, slice) else self.found[index]

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.found)
