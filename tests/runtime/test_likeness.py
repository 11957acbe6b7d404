"""What tells a guard that two values say the same (decision 0039)."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from regrow.runtime.likeness import likeness
from regrow.runtime.message import Message


class Search(Message):
    query: str
    request_id: str = ""
    page: int = 0


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Line:
    text: str
    number: int = 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"query": "a", "request_id": "1"}, {"query": "a", "request_id": "2"}),
        ({"query": "a", "at": "2026-05-01T10:00:07Z"}, {"query": "a", "at": "2026-05-01T10:00:09.5Z"}),
        ({"query": "a", "started_at": 1_780_000_001.5}, {"query": "a", "started_at": 1_780_000_009.25}),
        ({"query": "a", "requestId": "1"}, {"query": "a", "requestId": "2"}),
        ({"query": "a", "timestamp": 1_780_000_001.5}, {"query": "a", "timestamp": 1_780_000_009.25}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ("Find  the Report\n", "find the report"),
        ("it is 2026-11-28T10:12:13Z now", "it is 2026-11-28T10:12:59.123+01:00 now"),
        ("failed (request id: 0a1b2c3d4e)", "failed (request id: ffeeddcc00)"),
        ('{"status": "running", "checked_at": "10:00"}', '{"checked_at": "10:01", "status": "running"}'),
        (Search(query="a", request_id="1"), Search(query="A", request_id="2")),
        ({3, 1, 2}, {2, 3, 1}),
        (2, 2.0),
    ],
)
def test_what_differs_from_try_to_try_says_nothing(one: object, other: object) -> None:
    assert likeness(one) == likeness(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"cursor": "a"}, {"cursor": "b"}),
        ({"page": 1}, {"page": 2}),
        ({"id": "7d444840-9dc0-11d1-b245-5ffdce74fad2"}, {"id": "7d444840-9dc0-11d1-b245-5ffdce74fad3"}),
        ({"at": "2026-05-01T10:00:00Z"}, {"at": "2026-05-01T11:00:00Z"}),
        ({"request_id": "7d444840"}, {"request_id": "7d444841"}),
        ({"ts": "1780000001.000200"}, {"ts": "1780000002.000300"}),
        ({"time": 600}, {"time": 660}),
        ({"day": "2026-05-01"}, {"day": "2026-05-02"}),
        ({"duration_s": 5}, {"duration_s": 10}),
        ({"uuid": "7d444840", "notify": False}, {"uuid": "7d444841", "notify": False}),
        ({"video": "v", "timestamp": 12.5}, {"video": "v", "timestamp": 13.5}),
        ("call 4915112345678", "call 4915187654321"),
        ("handle request 10000001 please", "handle request 10000002 please"),
        ("wait in 1.5s", "wait in 2.5s"),
        ("x" * 30_000 + "a" + "x" * 30_000, "x" * 30_000 + "b" + "x" * 30_000),
        ([1, 2], [2, 1]),
        (Search(query="a", page=1), Search(query="a", page=2)),
        (Colour.RED, Colour.BLUE),
        (Line("a"), Line("b")),
        (deque([1, 2]), deque([1])),
        ("1", 1),
        (None, False),
        (b"a", b"b"),
    ],
)
def test_what_somebody_has_chosen_is_told_apart(one: object, other: object) -> None:
    assert likeness(one) != likeness(other)


def test_named_fields_say_nothing() -> None:
    one, other = {"query": "a", "sessionNote": 1}, {"query": "a", "sessionNote": 2}

    assert likeness(one) != likeness(other)
    assert likeness(one, {"session_note"}) == likeness(other, {"session_note"}) == likeness(one, {"sessionNote"})


def test_measured_times_of_a_result_say_nothing() -> None:
    one, other = {"rows": 0, "took_ms": 12}, {"rows": 0, "took_ms": 90}

    assert likeness(one) != likeness(other)
    assert likeness(one, is_result=True) == likeness(other, is_result=True)


def test_a_value_without_end_and_one_that_holds_itself_are_looked_at_up_to_a_bound() -> None:
    endless: list[object] = []
    endless.append(endless)

    assert likeness(endless) == likeness(endless)
    assert likeness(list(range(10**6))) != likeness(list(range(10**6 + 1)))
    assert likeness("x" * 10**7) != likeness("x" * (10**7 + 1))


def test_what_a_run_of_tests_took_says_nothing_of_its_result() -> None:
    one, other = "1 failed, 3 passed in 2.31s", "1 failed, 3 passed in 2.87s"

    assert likeness(one) != likeness(other)
    assert likeness(one, is_result=True) == likeness(other, is_result=True)


@pytest.mark.parametrize("made", [dict, lambda jobs: list(dict(jobs).values()), lambda jobs: [[dict(jobs)]]])
def test_a_change_far_behind_in_a_large_value_is_one(made: Callable[[Any], object]) -> None:
    jobs = {f"job {number:04}": "waits" for number in range(2_000)}

    before = likeness(made(jobs))
    jobs["job 1900"] = "done"

    assert before != likeness(made(jobs))


def test_objects_of_the_apps_own_count_by_their_attributes() -> None:
    class Board:
        def __init__(self, *moves: str) -> None:
            self.moves = list(moves)

    assert likeness(Board("e4")) == likeness(Board())
    assert likeness(Board("e4"), own="tests") != likeness(Board(), own="tests")
    assert likeness(Board("e4"), own="tests") == likeness(Board("e4"), own="tests")


def test_what_nobody_knows_counts_by_its_class_and_size() -> None:
    class Queue:
        def __init__(self, size: int) -> None:
            self.size = size

        def qsize(self) -> int:
            return self.size

    assert likeness(Queue(1)) != likeness(Queue(2))
    assert likeness(object()) == likeness(object())
