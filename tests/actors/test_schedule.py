"""When reminders are due: once, every so often, by cron; nothing drifts and what was missed is counted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.actors.schedule import MISSED_LIMIT, ONCE, Schedule, first_and_schedule, following
from regrow.runtime.errors import Misuse

NOON = datetime(2026, 3, 27, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
MINUTE_MS = 60_000


def first(**given: Any) -> tuple[int, Schedule]:
    arguments: dict[str, Any] = {"at": None, "after_s": None, "every_s": None, "cron": None, "zone": "UTC", **given}
    return first_and_schedule(NOON_MS, **arguments)


def test_a_reminder_for_once_is_due_at_its_time_and_never_again() -> None:
    assert first(at=datetime(2026, 3, 27, 13, tzinfo=UTC)) == (NOON_MS + 60 * MINUTE_MS, ONCE)
    assert first(after_s=1.5) == (NOON_MS + 1_500, ONCE)
    assert following(ONCE, NOON_MS, NOON_MS + MINUTE_MS) == (None, 0)


def test_one_that_comes_again_is_due_first_after_its_span() -> None:
    assert first(every_s=60) == (NOON_MS + MINUTE_MS, Schedule(every_ms=MINUTE_MS))


@given(every_ms=st.integers(1_000, 10**9), due_ms=st.integers(0, 2 * 10**12), late_ms=st.integers(0, 10**12))
def test_times_stay_a_whole_number_of_spans_apart_and_each_is_sent_or_counted(
    every_ms: int, due_ms: int, late_ms: int
) -> None:
    next_ms, missed = following(Schedule(every_ms=every_ms), due_ms, due_ms + late_ms)

    assert next_ms is not None
    assert next_ms == due_ms + (missed + 1) * every_ms
    assert next_ms - every_ms <= due_ms + late_ms < next_ms


def test_cron_is_read_in_its_time_zone_also_when_its_clocks_change() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    due_ms, schedule = first(cron="30 9 * * *", zone="Europe/Berlin")
    days = []
    for _ in range(3):
        days.append(datetime.fromtimestamp(due_ms / 1000, berlin))
        next_ms, missed = following(schedule, due_ms, due_ms + 1)
        assert next_ms is not None and missed == 0
        due_ms = next_ms

    assert [f"{day:%d %H:%M %z}" for day in days] == ["28 09:30 +0100", "29 09:30 +0200", "30 09:30 +0200"]


def test_times_of_cron_that_have_passed_are_counted() -> None:
    next_ms, missed = following(Schedule(cron="*/5 * * * *"), NOON_MS, NOON_MS + 17 * MINUTE_MS)

    assert (next_ms, missed) == (NOON_MS + 20 * MINUTE_MS, 3)


def test_after_a_very_long_time_cron_goes_on_from_now_and_says_that_many_were_missed() -> None:
    next_ms, missed = following(Schedule(cron="* * * * *"), NOON_MS, NOON_MS + 10**6 * MINUTE_MS)

    assert (next_ms, missed) == (NOON_MS + (10**6 + 1) * MINUTE_MS, MISSED_LIMIT)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, "got none"),
        ({"after_s": 1, "cron": "* * * * *"}, "got after_s, cron"),
        ({"at": NOON.replace(tzinfo=None)}, "has no time zone"),
        ({"at": datetime(2200, 1, 1, tzinfo=UTC)}, "is further ahead"),
        ({"after_s": -1}, "after_s=-1"),
        ({"after_s": float("nan")}, "after_s=nan"),
        ({"every_s": 0.5}, "every_s=0.5: give seconds, at least 1"),
        ({"cron": "every day"}, "is no cron expression"),
        ({"cron": "* * * * *", "zone": "Europe/Atlantis"}, "no time zone known here"),
        ({"cron": "* * * * *", "zone": "../etc/passwd"}, "no time zone known here"),
    ],
)
def test_what_is_no_time_is_told_with_the_mend(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(Misuse, match=told):
        first(**wrong)
