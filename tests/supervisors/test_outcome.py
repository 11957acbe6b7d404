"""What the outcome of a call tells (decision 0044)."""

from __future__ import annotations

import pytest

from regrow.runtime.run_store import Tone
from regrow.supervisors.outcome import tone


@pytest.mark.parametrize(
    ("tool", "outcome"),
    [
        ("click", None),
        ("click", "null"),
        ("press_key", ""),
        ("press_key", True),
        ("delete", {}),
        ("put", 204),
        ("delete_user", "deleted"),
        ("scroll", "OK"),
        ("approve", {"status": "approved"}),
        ("save", '{"saved": true}'),
        ("archive_mail", "archived"),
        ("undo", "undone"),
    ],
)
def test_that_it_was_done(tool: str, outcome: object) -> None:
    assert tone(tool, {"of": "more than a gesture has to say"}, outcome) is Tone.DONE


@pytest.mark.parametrize(
    "outcome",
    [
        "INSERT 0 1",
        "UPDATE 3",
        "1 row affected",
        "Query OK, 1 row affected (0.01 sec)",
        "Rows affected: 2",
        "1 record inserted",
        {"rowcount": 1},
        {"status": "ok", "rows_affected": 1, "lastrowid": 17},
        {"modified_count": 1},
    ],
)
def test_that_a_database_has_written_something(outcome: object) -> None:
    assert tone("sql", {"statement": "INSERT INTO items VALUES (1, 'one')"}, outcome) is Tone.DONE


@pytest.mark.parametrize("outcome", ["UPDATE 0", "0 rows affected (0.01 sec)", {"rowcount": 0}, "SELECT 1", "1 row"])
def test_that_it_has_written_nothing_or_only_read_is_something_of_its_own(outcome: object) -> None:
    assert tone("sql", {"statement": "UPDATE items SET name = 'one' WHERE id = 1"}, outcome) is Tone.TOLD


@pytest.mark.parametrize(
    "outcome",
    [
        False,
        "Error 503: upstream unavailable",
        "2 failed, 9 passed in 1.20s",
        {"status": 401, "reason": "credentials"},
        {"ok": False, "balance": 3},
        {"error": "offline", "value": 1},
        "HTTP 404",
        "10 failed, 0 errors",
        "no answer: timed out",
        "Error: 0 rows for this key",
        "errors: 0, failed: 2",
    ],
)
def test_that_it_failed(outcome: object) -> None:
    assert tone("look", {}, outcome) is Tone.FAILED


@pytest.mark.parametrize(
    "outcome",
    [
        {"state": "RUNNING", "job": "7"},
        "still queued",
        {"status": "in_progress"},
        "running tests",
        "0 done, 3 waiting",
        "not ready",
    ],
)
def test_that_it_is_not_done_yet(outcome: object) -> None:
    assert tone("job_status", {}, outcome) is Tone.PENDING


@pytest.mark.parametrize(
    "outcome",
    [
        "no errors",
        "No errors found",
        "0 errors found",
        "finished without any errors",
        "tests passed, 0 failed",
        "no tests failed",
        "9 passed, failed: 0",
        "errors=0",
        {"log": "0 errors"},
        "running shoes: 3",
        "waiting list is empty",
        "starting price 30",
        "no pending orders",
        "not running",
        "nothing queued",
    ],
)
def test_that_nothing_failed_or_waits_and_things_named_like_that_are_something_of_its_own(outcome: object) -> None:
    assert tone("look", {}, outcome) is Tone.TOLD


@pytest.mark.parametrize(
    "outcome",
    ["none", "no results", [], {"hits": []}, 6, {"value": 3}, {"id": "x1"}, "not deleted", {"ok": True, "errors": []}],
)
def test_something_of_its_own_also_that_there_is_nothing(outcome: object) -> None:
    assert tone("delete", {}, outcome) is Tone.TOLD


def test_of_a_large_outcome_only_its_beginning_is_looked_at() -> None:
    assert tone("read", {}, "x" * 10**6 + " error") is Tone.TOLD


@pytest.mark.parametrize(
    ("arguments", "is_gesture"),
    [
        ({}, True),
        (None, True),
        ({"key": "Tab"}, True),
        ({"x": 312, "y": 40, "button": "left"}, True),
        ({"selector": "#next"}, True),
        ({"to": "kim", "text": "Where is it, please?"}, False),
        ({"id": 1, "a": 2, "b": 3, "c": 4}, False),
        ({"rows": [1]}, False),
    ],
)
def test_what_needs_few_and_short_arguments_and_is_done_is_a_gesture(arguments: object, *, is_gesture: bool) -> None:
    assert (tone("click", arguments, "ok") is Tone.GESTURE) is is_gesture
