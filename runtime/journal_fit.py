"""What fits into a journal by its size alone; every implementation asks here, so that all refuse the same.

Pure. What depends on the stored rows (how many timers there are already) is the store's to say.
"""

from __future__ import annotations

from regrow.runtime.journal_entries import (
    Commit,
    Incoming,
    JournalLimits,
    Park,
    SetTimer,
    StepKey,
    Writes,
    check_id,
)


def message_fits(message: Incoming, limits: JournalLimits) -> bool:
    """Whether the body is within its limit."""
    return len(message.body) <= limits.message_bytes


def commit_fits(commit: Commit, limits: JournalLimits) -> bool:
    """Whether result and writes are within their limits."""
    return len(commit.result) <= limits.result_bytes and _writes_fit(commit.writes, limits)


def park_fits(park: Park, limits: JournalLimits) -> bool:
    """Whether the beginning state and the writes are within their limits."""
    return len(park.begun) <= limits.state_bytes and _writes_fit(park.writes, limits)


def checked_step(step: StepKey) -> StepKey:
    """The step. Raises InvalidEntry for a name or digest that can not be kept."""
    check_id("step name", step.name)
    check_id("step digest", step.digest)
    return step


def bounded(asked: int | None, limit: int) -> int:
    """What was asked for, within 0 and the limit; None asks for all of it."""
    return limit if asked is None else max(0, min(asked, limit))


def _writes_fit(writes: Writes, limits: JournalLimits) -> bool:
    schedules = (change.schedule for change in writes.timers if isinstance(change, SetTimer))
    return (
        len(writes.state or b"") <= limits.state_bytes
        and all(len(message.body) <= limits.message_bytes for message in writes.outgoing)
        and all(len(schedule) <= limits.message_bytes for schedule in schedules)
    )
