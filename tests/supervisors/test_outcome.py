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
    assert tone(tool, outcome) is Tone.DONE


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
    ],
)
def test_that_it_failed(outcome: object) -> None:
    assert tone("look", outcome) is Tone.FAILED


@pytest.mark.parametrize("outcome", [{"state": "RUNNING", "job": "7"}, "still queued", {"status": "in_progress"}])
def test_that_it_is_not_done_yet(outcome: object) -> None:
    assert tone("job_status", outcome) is Tone.PENDING


@pytest.mark.parametrize(
    "outcome",
    ["none", "no results", [], {"hits": []}, 6, {"value": 3}, {"id": "x1"}, "not deleted", {"ok": True, "errors": []}],
)
def test_something_of_its_own_also_that_there_is_nothing(outcome: object) -> None:
    assert tone("delete", outcome) is Tone.TOLD


def test_of_a_large_outcome_only_its_beginning_is_looked_at() -> None:
    assert tone("read", "x" * 10**6 + " error") is Tone.TOLD
