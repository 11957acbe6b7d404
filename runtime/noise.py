"""What differs from one try to the next and says nothing: by the name of its field, or by how it looks. Pure.

Names are few and plain (ids of requests, clocks, measured times). What they name, or what looks so, such as a uuid in
a field of any name, may be what is to be done next: who compares asks for more evidence then. Only what a result says
that something took is surely noise.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from typing import Final

ID_NAMES: Final = frozenset(
    "request_id req_id requestid trace_id traceid span_id correlation_id idempotency_key client_token".split()
)
"""Fields that differ from try to try where whoever calls stamps his calls, unless they are what is asked about."""

VOLATILE_NAMES: Final = frozenset(
    "traceparent nonce sent_at asked_at checked_at requested_at received_at fetched_at "
    "now client_time server_time current_time".split()
)
"""The same of chance and of clocks, also beside such an id."""

CLOCK_NAMES: Final = frozenset("time ts date datetime at clock when timestamp unix_time epoch_ms".split())
"""Fields that say nothing where they hold a moment to the second, and else what somebody has chosen."""

MEASURED_NAMES: Final = frozenset(
    "elapsed elapsed_s duration duration_s latency latency_s took took_s seconds_taken uptime uptime_s "
    "age pid mtime".split()
)
"""Fields of a result that surely say nothing; as an argument somebody has chosen them."""
MEASURED_ENDS: Final = ("_ms", "_millis", "_seconds", "_secs")

COUNTER_WORDS: Final = frozenset(
    "attempt attempts try tries retry retries step iteration hop hops turn round cycle depth".split()
)
"""Words in names of fields that count how often something was done; or how often it is to be done, as in a sweep."""

_BREAKS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s\-.]+")

_MOMENT: Final = r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:"
_ZONE: Final = r"(?:[.,]\d+)?(?:[Zz]|[+-]\d\d:?\d\d)?"
_STAMP: Final = re.compile(rf"{_MOMENT}(?!00(?:\.0+)?(?![\d.]))\d\d{_ZONE}")
"""A point in time that nobody has chosen: one on a whole minute may have been."""
_NAMED_ID: Final = re.compile(
    r"\b(request|req|trace|correlation|span|message|call)([ _-]?id[:= #]+)[0-9a-f][0-9a-f-]{7,}\b"
)
"""Only what is called an id: «call 4915…» is a number to be called, and «request 1000…» the one to be handled."""
_TOOK: Final = re.compile(r"\bin \d+\.\d+ ?(?:ms|s|sec|seconds)\b")
"""As runners of tests and builds say what they took."""

_MARK: Final = re.compile(
    rf"{_MOMENT}(?!00(?:\.0+)?(?![\d.]))\d\d{_ZONE}"
    r"|\d\d?:\d\d:(?!00)\d\d(?:[.,]\d+)?"  # the time of a clock
    r"|(?<![\d.])1[4-9]\d{8}(?:\d{3})?(?:\.\d+)?(?![\d.])"  # the same in seconds or milliseconds since 1970
    r"|(?<![0-9a-z])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-z])"
    r"|(?<![0-9a-z])(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,}(?![0-9a-z])"
    r"|(?<![0-9a-z])(?=(?:[a-z]*[0-9]){3})(?=[0-9]*[a-z])[0-9a-z]{16,}(?![0-9a-z])"
)
"""What chance or a clock has made, in a text without capitals."""
_RESULT_MARK: Final = re.compile(
    rf"{_MARK.pattern}"
    r"|\d{4}-\d\d-\d\d[t_ ]\d\d[:_-]\d\d[:_-]\d\d(?:[.,]\d+)?z?|\d\d?:\d\d:\d\d"
    r"|(?<![\d.])\d{1,9}(?:\.\d{1,9})? ?(?:ms|µs|us|s|secs?|seconds?)\b"  # bounded, or ten thousand digits take seconds
    r"|/tmp/[^\s:'\"),]*"
)
"""What a result has beside these: times that it took, and places for a while."""
DIGIT: Final = re.compile(r"\d")
"""What any noise has; most texts have none, and are looked at no further."""
_NUMBER: Final = re.compile(r"\d+(?:[.,:/-]\d+)*")


@lru_cache(maxsize=4_096)
def plain_name(name: str) -> str:
    """The name of a field in one spelling: `requestId` and `request-id` are `request_id`."""
    return _BREAKS.sub("_", name).lower()


@lru_cache(maxsize=4_096)
def is_counter(name: str) -> bool:
    """Whether a field of this name, in the one spelling, may count tries."""
    return not COUNTER_WORDS.isdisjoint(name.split("_"))


@lru_cache(maxsize=4_096)
def subjects_of(tool: str) -> frozenset[str]:
    """Names of fields that say what a call of this tool is about: `id`, and for get_message `message_id`."""
    things = {word.removesuffix("s") for word in plain_name(tool).split("_")[1:]} - {""}
    return frozenset({"id"}.union(*({each, f"{each}_id", f"{each}_uuid"} for each in things))) - ID_NAMES


def is_clock(name: str, value: object) -> bool:
    """Whether a field of this name, in the one spelling, tells what time it is."""
    return (name in CLOCK_NAMES or name.endswith(("_at", "_time", "_ts"))) and is_moment(value)


def is_measured(name: str) -> bool:
    """Whether a field of a result tells what something took."""
    return name in MEASURED_NAMES or name.endswith(MEASURED_ENDS)


def is_moment(value: object) -> bool:
    """Whether it is a time to the second or finer, as clocks give it and people do not choose it."""
    if isinstance(value, str):
        return _STAMP.fullmatch(value.strip()) is not None
    if isinstance(value, datetime):
        return bool(value.second or value.microsecond)
    return isinstance(value, int | float) and 1e9 <= value < 1e14 and value % 60 != 0


def without_took(text: str) -> str:
    """A text of a result, without capitals, and without what it says that something took."""
    return _TOOK.sub("", text) if "in " in text else text


def without_named(text: str) -> str:
    """The same without what says by its own words that it is noise, unless nothing else is there."""
    named = text
    if ":" in named and "-" in named:
        named = _STAMP.sub("", named)
    if "id" in named:
        named = _NAMED_ID.sub(r"\1\2", named)
    return named if named.strip() else text


def without_marks(text: str, *, is_result: bool) -> str:
    """The same without what looks as if chance or a clock had made it."""
    return (_RESULT_MARK if is_result else _MARK).sub("", text)


def without_numbers(text: str) -> str:
    """The same without any number."""
    return _NUMBER.sub("", text)
