"""Numbers by which guards tell whether two values say the same: messages, arguments, results, states. Pure.

What differs from one try to the next and says nothing is left out: fields that are named as ids of requests, counters
of tries and measured times, and points in time to the second. Two values with one number are alike; a stamp in a field
of another name, or one on a whole minute, is taken for a value, since somebody may have chosen it.

Of a large value all counts, but only its first part is looked into: behind that also a change that says nothing is one.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from operator import itemgetter
from typing import Final

from pydantic import BaseModel

MAX_PARTS: Final = 500
"""Values inside of one value that are looked into; what is behind them counts as it is written."""
MAX_WRITTEN: Final = 20_000
"""Of what is behind them, so many, and how many there are."""
MAX_DEPTH: Final = 8
MAX_TEXT_CHARS: Final = 20_000
"""Of one text; of a longer one the beginning and the end are looked into, and between them each sign counts."""

VOLATILE_NAMES: Final = frozenset(
    "trace_id traceid traceparent span_id correlation_id idempotency_key client_token nonce attempt attempts "
    "attempt_number attempt_no retry retries retry_count retry_number try_number "
    "sent_at asked_at checked_at requested_at received_at fetched_at now client_time server_time current_time".split()
)
"""Fields that differ from try to try and say nothing of what is tried."""

ID_NAMES: Final = frozenset("request_id req_id requestid".split())
"""The same, unless nothing else is there: then it is what is to be done."""

CLOCK_NAMES: Final = frozenset("time ts date datetime at clock when timestamp unix_time epoch_ms".split())
"""Fields that say nothing where they hold a moment to the second, and else what somebody has chosen."""

MEASURED_NAMES: Final = frozenset(
    "elapsed elapsed_ms elapsed_s duration duration_ms duration_s latency latency_ms latency_s took took_ms took_s "
    "seconds_taken uptime uptime_s".split()
)
"""The same of a result; as an argument somebody has chosen them."""

JSON_BEGINS: Final = ("{", "[", '"')
ID_WORDS: Final = ("request", "req", "trace", "correlation", "span", "message", "call")
SHORTEST_ID: Final = 10

_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s\-.]+")
_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:(?!00(?:\.0*)?(?!\d))\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?")
_NAMED_ID: Final = re.compile(rf"\b({'|'.join(ID_WORDS)})([ _-]?id[:= #]+)[0-9a-f][0-9a-f-]{{7,}}\b")
"""Only what is called an id: «call 4915…» is a number to be called, and «request 1000…» the one to be handled."""
_TOOK: Final = re.compile(r"\bin \d+\.\d+ ?(?:ms|s|sec|seconds)\b")
"""As runners of tests and builds say what they took."""


def likeness(value: object, volatile: AbstractSet[str] = frozenset(), *, own: str = "") -> int:
    """The number of a value, 0 to 2**40 - 1. `volatile` are names of fields to be left out, beside those known here.

    Objects whose class comes from the package `own` count by their attributes, all others by their class and size.
    """
    found = _Likeness(volatile, own)
    found.feed(value, 0)
    said = "\0".join(found.parts).encode(errors="surrogatepass")
    return int.from_bytes(blake2b(said, digest_size=5).digest(), "big")


def read_json(text: str) -> object:
    """What a text says as JSON, where it is an object, an array or a text; the text itself where it is none."""
    if text[:1] in JSON_BEGINS and len(text) <= MAX_TEXT_CHARS:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


class _Likeness:
    __slots__ = ("_is_result", "_own", "_volatile", "left", "parts")

    def __init__(self, volatile: AbstractSet[str], own: str) -> None:
        self.parts: list[str] = []
        """What counts, one behind the other; joined once, since that is the dearest of all."""
        self.left = MAX_PARTS
        self._volatile = volatile
        self._own = own
        self._is_result = volatile >= MEASURED_NAMES

    def feed(self, value: object, depth: int) -> None:
        self.left -= 1
        cls = type(value)
        if cls is str:
            self._text(value, depth)  # type: ignore[arg-type] # it is one
        elif cls is int or cls is bool or value is None:
            self.parts.append(f"n{value!r}")
        elif isinstance(value, BaseModel):
            self._fields(cls.__qualname__, list(value.__dict__.items()), depth)
        else:
            self._others(value, depth)

    def _others(self, value: object, depth: int) -> None:
        match value:
            case enum.Enum():
                self.parts.append(f"e{value.name}")
            case int() | float():
                self.parts.append(f"n{int(value) if isinstance(value, float) and value.is_integer() else value!r}")
            case str():
                self._text(str(value), depth)
            case bytes() | bytearray():
                self.parts.append(f"b{bytes(value[:MAX_TEXT_CHARS])!r}{len(value)}")
            case Mapping():
                fields = [(str(key), each) for key, each in islice(value.items(), MAX_PARTS + MAX_WRITTEN)]
                if len(fields) < len(value):
                    self.parts.append(f"m{len(value)}")
                self._fields("", sorted(fields, key=itemgetter(0)), depth)
            case AbstractSet():
                # Their order says nothing, and differs between processes.
                written = islice(value, MAX_PARTS + MAX_WRITTEN)
                self._items(sorted(likeness(each, self._volatile, own=self._own) for each in written), depth)
            case Sequence():
                self._items(value, depth)
            case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
                names = [field.name for field in dataclasses.fields(value)]
                self._fields(type(value).__qualname__, [(each, getattr(value, each, None)) for each in names], depth)
            case _ if self._own and package_of(value) == self._own and hasattr(value, "__dict__"):
                self._fields(type(value).__qualname__, list(vars(value).items()), depth)
            case _:
                self.parts.append(_opaque(value))

    def _text(self, text: str, depth: int) -> None:
        if text[:1] in JSON_BEGINS and depth < MAX_DEPTH and not isinstance(read := read_json(text), str):
            self.feed(read, depth + 1)
            return
        if len(text) > MAX_TEXT_CHARS:
            half = MAX_TEXT_CHARS // 2
            between = blake2b(text[half:-half].encode(errors="surrogatepass"), digest_size=8).hexdigest()
            text = f"{text[:half]}…{between}…{text[-half:]}"
        if ":" in text and "-" in text:
            text = _STAMP.sub("", text)
        # As models write the same twice: with other spaces, and other capitals.
        plain = " ".join(text.split()).casefold()
        if len(plain) > SHORTEST_ID and any(word in plain for word in ID_WORDS):
            plain = _NAMED_ID.sub(r"\1\2", plain)
        if self._is_result and "in " in plain:
            plain = _TOOK.sub("", plain)
        self.parts.append(f"t{plain}")

    def _fields(self, of: str, fields: list[tuple[str, object]], depth: int) -> None:
        said = [field for field in fields if not self._is_volatile(*field)]
        kept = [field for field in said if _plain(field[0]) not in ID_NAMES] or said
        self.parts.append(f"f{of}{len(kept)}")
        for at, (name, each) in enumerate(kept):
            if self.left <= 0 or depth >= MAX_DEPTH:
                self.parts.append(_written(kept[at : at + MAX_WRITTEN]))
                return
            self.parts.append(f"k{name}")
            self.feed(each, depth + 1)

    def _items(self, items: Sequence[object], depth: int) -> None:
        self.parts.append(f"l{len(items)}")
        for at, each in enumerate(items):
            if self.left <= 0 or depth >= MAX_DEPTH:
                self.parts.append(_written(list(islice(items, at, at + MAX_WRITTEN))))
                return
            self.feed(each, depth + 1)

    def _is_volatile(self, name: str, value: object) -> bool:
        plain = _plain(name)
        if plain in VOLATILE_NAMES or plain in self._volatile or name in self._volatile:
            return True
        return (plain in CLOCK_NAMES or plain.endswith(("_at", "_time", "_ts"))) and _is_moment(value)


def package_of(value: object) -> str:
    """The package from which the class of a value comes."""
    return type(value).__module__.partition(".")[0]


def _written(values: Sequence[object]) -> str:
    """Values as they are written, at the speed of C: a change among them is seen, and one that says nothing is, too."""
    try:
        return f"w{json.dumps(values, default=_fields_of, skipkeys=True)}"
    except (ValueError, RecursionError):  # they hold themselves, or are nested without end
        return f"w{len(values)}"


def _fields_of(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.__dict__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, AbstractSet):
        return sorted(map(likeness, islice(value, MAX_PARTS)))
    if isinstance(value, enum.Enum | datetime | bytes | bytearray):
        return repr(value)
    return list(value) if isinstance(value, Sequence) else _opaque(value)


def _opaque(value: object) -> str:
    return f"o{type(value).__qualname__} {_size(value)}"


@lru_cache(maxsize=4_096)
def _plain(name: str) -> str:
    return _WORD.sub("_", name).lower()


def _is_moment(value: object) -> bool:
    """Whether it is a time to the second or finer, as clocks give it and people do not choose it."""
    if isinstance(value, str):
        return _STAMP.fullmatch(value.strip()) is not None
    if isinstance(value, datetime):
        return bool(value.second or value.microsecond)
    return isinstance(value, int | float) and 1e9 <= value < 1e14 and value % 60 != 0


def _size(value: object) -> int:
    """How many are in it, where it says so: a queue that grows shorter is a state that changes."""
    for name in ("__len__", "qsize"):
        counted = getattr(type(value), name, None)
        if counted is not None:
            return int(counted(value))
    return 0
