"""What tells a guard that two values say the same (decision 0039)."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from regrow.runtime.likeness import likeness, likenesses
from regrow.runtime.likeness_parts import Degree
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
        ("it is 2026-11-28T10:12:13Z now", "it is 2026-11-28T10:12:59.123+01:00 now"),
        ("failed (request id: 0a1b2c3d4e)", "failed (request id: ffeeddcc00)"),
        ('{"status": "running", "checked_at": "10:00"}', '{"checked_at": "10:01", "status": "running"}'),
        (Search(query="a", request_id="1"), Search(query="A", request_id="2")),
        ({"q": "a", "nonce": 1}, {"q": "a", "nonce": 2}),
        ({"trace_id": "a", "start_time": 1_780_000_001}, {"trace_id": "a", "start_time": 1_780_000_061}),
        ([{"q": "a", "request_id": "1"}], [{"q": "a", "request_id": "2"}]),
        ("delete --message-id=0a1b2c3d4e5f6071", "delete --message-id=ffeeddccbbaa9988"),
    ],
)
def test_what_differs_from_try_to_try_says_nothing_though_it_is_written(one: object, other: object) -> None:
    assert likenesses(one).said == likenesses(other).said
    assert likeness(one) != likeness(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ("Find  the Report\n", "find the report"),
        ({3, 1, 2}, {2, 3, 1}),
        (2, 2.0),
    ],
)
def test_order_spaces_capitals_and_kinds_of_numbers_are_no_difference(one: object, other: object) -> None:
    assert likeness(one) == likeness(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"cursor": "a"}, {"cursor": "b"}),
        ({"page": 1}, {"page": 2}),
        ({"id": "7d444840-9dc0-11d1-b245-5ffdce74fad2"}, {"id": "7d444840-9dc0-11d1-b245-5ffdce74fad3"}),
        ({"at": "2026-05-01T10:00:00Z"}, {"at": "2026-05-01T11:00:00Z"}),
        ({"request_id": "7d444840"}, {"request_id": "7d444841"}),
        ({"trace_id": "7d444840"}, {"trace_id": "7d444841"}),
        ({"request_id": "1", "now": 1_780_000_001}, {"request_id": "2", "now": 1_780_000_001}),
        ({"start_time": "2026-05-01T10:00:07Z"}, {"start_time": "2026-05-01T11:00:07Z"}),
        ({"since": "2026-05-01T10:00:07Z"}, {"since": "2026-05-01T11:00:07Z"}),
        ({"q": {"trace_id": "7d444840"}}, {"q": {"trace_id": "7d444841"}}),
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
    assert likenesses(one).said != likenesses(other).said


@pytest.mark.parametrize(
    ("one", "other", "degree"),
    [
        ({"q": "a"}, {"q": "A "}, Degree.WRITTEN),
        ({"q": "a", "nonce": 1}, {"q": "A ", "nonce": 2}, Degree.SAID),
        ({"q": "a", "request_id": "1"}, {"q": "a", "request_id": "2"}, Degree.SAID),
        ({"q": "a", "attempt": 1}, {"q": "a", "attempt": 2}, Degree.UNCOUNTED),
        ({"q": "a", "max_retries": 1}, {"q": "a", "max_retries": 2}, Degree.UNCOUNTED),
        ({"q": "a", "key": "0a1b2c3d4e5f"}, {"q": "a", "key": "00112233aabb"}, Degree.UNMARKED),
        ({"q": "a", "key": "tok_4f9Zq81LmP0xYw77"}, {"q": "a", "key": "tok_Qw3rTy80pAsD11fG"}, Degree.UNMARKED),
        ({"q": "a", "since": 1_780_000_001.5}, {"q": "a", "since": 1_780_000_009.25}, Degree.UNMARKED),
        ("gone at 10:12:13", "gone at 10:14:59", Degree.UNMARKED),
        ({"q": "a", "page": 1}, {"q": "a", "page": 2}, Degree.UNNUMBERED),
        ("page 1 of 9", "page 2 of 9", Degree.UNNUMBERED),
        ({"cursor": "0a1b2c3d4e5f"}, {"cursor": "00112233aabb"}, Degree.UNNUMBERED),
    ],
)
def test_what_differs_by_less_sure_noise_is_alike_to_a_higher_degree(
    one: object, other: object, degree: Degree
) -> None:
    alike = [each == another for each, another in zip(likenesses(one), likenesses(other), strict=True)]

    assert alike == [at >= degree for at in Degree]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "b"),
        ({"a": 1}, {"b": 1}),
        ([1], [1, 2]),
        (True, False),
        (None, ""),
        ({"q": "a", "k": 1}, {"q": "b", "k": 1}),
    ],
)
def test_other_words_and_other_fields_are_alike_to_no_degree(one: object, other: object) -> None:
    assert not any(each == another for each, another in zip(likenesses(one), likenesses(other), strict=True))


def test_the_same_of_another_tool_is_alike_to_no_degree() -> None:
    one, other = likenesses({"q": "a"}, of="search"), likenesses({"q": "a"}, of="delete")

    assert not set(one) & set(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Time: 5.31 s", "Time: 7.2 s"),
        ("FAIL x (0.52s)", "FAIL x (0.61s)"),
        ("log in /tmp/run-17/out", "log in /tmp/run-18/out"),
        ({"rows": 0, "render_ms": 3}, {"rows": 0, "render_ms": 4}),
        ({"rows": 0, "pid": 312}, {"rows": 0, "pid": 313}),
    ],
)
def test_of_a_result_what_it_took_and_where_it_was_made_are_noise(one: object, other: object) -> None:
    assert likenesses(one, is_result=True).unmarked == likenesses(other, is_result=True).unmarked
    assert likenesses(one).unmarked != likenesses(other).unmarked


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (date(2026, 5, 1), date(2026, 5, 2)),
        (datetime(2026, 5, 1, 8, 30, tzinfo=UTC), datetime(2026, 5, 1, 9, 0, tzinfo=UTC)),
        (UUID(int=1), UUID(int=2)),
        (Decimal("1.5"), Decimal("1.6")),
        (timedelta(seconds=5), timedelta(seconds=6)),
    ],
)
def test_dates_ids_and_decimals_count_by_their_value(one: object, other: object) -> None:
    assert likeness({"of": one, "n": "x"}) != likeness({"of": other, "n": "x"})


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


@pytest.mark.parametrize(
    "text", ["1" * 20_000, "a1" * 10_000, "1 " * 10_000, "1:" * 10_000, "/tmp/" * 4_000, "0a1b2c3d-" * 2_200]
)
def test_long_texts_of_what_noise_is_made_of_take_no_longer_than_others(text: str) -> None:
    """One that is tried from each of its signs to its end takes half a minute."""
    assert likenesses(text, is_result=True) == likenesses(text, is_result=True)
    assert likenesses(text, is_result=True).said != likenesses(f"{text}x", is_result=True).said


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
