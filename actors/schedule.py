"""When a reminder is due, and when again: once, every so many seconds, or as a cron expression says.

Pure: times are milliseconds since 1970 by the store's clock. The next time is reckoned from the one before and not
from when somebody came to it, so that nothing drifts.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from regrow.runtime.errors import Misuse
from regrow.runtime.message import Message

if TYPE_CHECKING:
    from cronsim import CronSim

EVERY_MIN_S = 1.0
FURTHEST = timedelta(days=100 * 365)
"""How far ahead a reminder may be set, and how long may lie between two of its times."""
MISSED_LIMIT = 1_000
"""So many missed times are counted one by one where they have to be; beyond that it is said to be so many."""


class Schedule(Message):
    """After a time that has come: again `every_ms` later, or as `cron` says in `zone`; else never."""

    every_ms: int = 0
    cron: str = ""
    zone: str = "UTC"


ONCE = Schedule()


def first_and_schedule(
    now_ms: int,
    *,
    at: datetime | None,
    after_s: float | None,
    every_s: float | None,
    cron: str | None,
    zone: str,
) -> tuple[int, Schedule]:
    """When it is due first, and what follows. Raises Misuse for anything but one of the four, and for a wrong one."""
    given = {"at": at, "after_s": after_s, "every_s": every_s, "cron": cron}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise Misuse(f"a reminder has one of at=, after_s=, every_s= and cron=; got {', '.join(named) or 'none'}")
    if at is not None:
        return _moment(at, now_ms), ONCE
    if after_s is not None:
        return now_ms + _span_ms("after_s", after_s, least_s=0.0), ONCE
    if every_s is not None:
        every_ms = _span_ms("every_s", every_s, least_s=EVERY_MIN_S)
        return now_ms + every_ms, Schedule(every_ms=every_ms)
    assert cron is not None
    schedule = Schedule(cron=cron, zone=zone)
    first_ms = _next(_times(schedule, now_ms))
    if first_ms is None:
        raise Misuse(f"cron={cron!r} names no time that ever comes")
    return first_ms, schedule


def following(schedule: Schedule, due_ms: int, now_ms: int) -> tuple[int | None, int]:
    """The first time after now, or None, and how many times since `due_ms` have passed without anybody there."""
    if schedule.every_ms:
        missed = max(0, now_ms - due_ms) // schedule.every_ms
        return due_ms + (missed + 1) * schedule.every_ms, missed
    if not schedule.cron:
        return None, 0
    times, missed = _times(schedule, due_ms), 0
    while (next_ms := _next(times)) is not None and next_ms <= now_ms:
        missed += 1
        if missed == MISSED_LIMIT:
            return _next(_times(schedule, now_ms)), missed
    return next_ms, missed


def _times(schedule: Schedule, after_ms: int) -> CronSim:
    from cronsim import CronSim, CronSimError  # here, since few agents have any

    try:
        zone = ZoneInfo(schedule.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Misuse(
            f"zone={schedule.zone!r} is no time zone known here; write one such as 'Europe/Berlin' "
            "(the package tzdata brings them where the system has none)"
        ) from error
    try:
        return CronSim(schedule.cron, datetime.fromtimestamp(after_ms / 1000, zone))
    except CronSimError as error:
        raise Misuse(
            f"cron={schedule.cron!r} is no cron expression ({error}); write minute, hour, day, month and weekday, "
            "such as '0 9 * * MON-FRI'"
        ) from error


def _next(times: CronSim) -> int | None:
    try:
        return int(next(times).timestamp() * 1000)
    except StopIteration:
        return None


def _moment(at: datetime, now_ms: int) -> int:
    if at.tzinfo is None:
        raise Misuse(f"at={at.isoformat()} has no time zone; write datetime(…, tzinfo=UTC), or use after_s=")
    if at.astimezone(UTC) - datetime.fromtimestamp(now_ms / 1000, UTC) > FURTHEST:
        raise Misuse(f"at={at.isoformat()} is further ahead than the {FURTHEST.days:,} days that are kept")
    return max(0, int(at.timestamp() * 1000))


def _span_ms(name: str, span_s: float, *, least_s: float) -> int:
    if not least_s <= span_s <= FURTHEST.total_seconds():
        raise Misuse(f"{name}={span_s:g}: give seconds, at least {least_s:g} and at most {FURTHEST.total_seconds():g}")
    return int(span_s * 1000)
