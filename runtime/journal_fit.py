"""What fits into a journal by its size alone; every implementation asks here, so that all refuse the same.

Pure. It judges too what was read: a state that is too new, and a store that has gone back. What depends on
the stored rows (how many timers there are already) is the store's to say.
"""

from __future__ import annotations

from collections.abc import Sequence

from regrow.runtime.address import ActorId
from regrow.runtime.blobs import BlobRef, blob_of
from regrow.runtime.journal_entries import (
    Commit,
    Epoch,
    Hand,
    Incoming,
    JournalLimits,
    Park,
    Row,
    SetTimer,
    StepKey,
    Writes,
    check_id,
)
from regrow.runtime.journal_errors import InvalidEntry, JournalRestored, SchemaNewer


def message_fits(message: Incoming, limits: JournalLimits) -> bool:
    """Whether the body is within its limit."""
    return len(message.body) <= limits.message_bytes


def batch_length(messages: Sequence[Incoming], limits: JournalLimits) -> int:
    """How many of these may go into one `enqueue`, from the first on: at least one where there is any."""
    size = 0
    for length, message in enumerate(messages[: limits.batch_messages]):
        size += len(message.body) if message_fits(message, limits) else 0
        if size > limits.batch_bytes and length:
            return length
    return min(len(messages), limits.batch_messages)


def check_batch(messages: Sequence[Incoming], limits: JournalLimits) -> None:
    """Raises InvalidEntry for messages that are not one batch: of several agents or claims, or more than its bounds."""
    if len({(message.agent, message.epoch) for message in messages}) > 1:
        raise InvalidEntry("these messages are not for one agent under one claim; enqueue those of each by themselves")
    if batch_length(messages, limits) < len(messages):
        raise InvalidEntry(
            f"{len(messages)} messages of {sum(len(message.body) for message in messages)} bytes are more than a "
            f"journal stores in one step, {limits.batch_messages} messages of {limits.batch_bytes} bytes; enqueue the "
            f"first {batch_length(messages, limits)}, and the others when they are stored"
        )


def commit_fits(commit: Commit, limits: JournalLimits) -> bool:
    """Whether result and writes are within their limits."""
    return len(commit.result) <= limits.result_bytes and _writes_fit(commit.writes, limits)


def park_fits(park: Park, limits: JournalLimits) -> bool:
    """Whether the beginning state and the writes are within their limits."""
    return len(park.begun) <= limits.state_bytes and _writes_fit(park.writes, limits)


def kept_about(hand: Hand, limits: JournalLimits) -> bytes:
    """What history keeps of what a turn was about; nothing of what passes the limit, since a part can not be read."""
    return hand.about if len(hand.about) <= limits.history_bytes else b""


def kept_apart(result: bytes, limits: JournalLimits) -> BlobRef | None:
    """What stands in the record of a step for a result that is too large for it; None for any other."""
    return blob_of(result) if len(result) > limits.step_bytes else None


def checked_step(step: StepKey) -> StepKey:
    """The step. Raises InvalidEntry for a name or digest that can not be kept."""
    check_id("step name", step.name)
    check_id("step digest", step.digest)
    return step


def check_schema(agent: ActorId, row: Row, *, known: int) -> None:
    """Raises SchemaNewer for a state of a schema above `known`, the newest that this host can read.

    Ask before the agent is claimed: an older host would lose what it does not know at its first commit.
    """
    if row.state is not None and row.schema > known:
        raise SchemaNewer(
            f"the state of {agent} has schema {row.schema}, and this host knows up to {known}; "
            "run the newer version of the app here, or stop this host",
            schema=row.schema,
            known=known,
        )


def check_epoch_not_behind(agent: ActorId, row: Row, *, seen: Epoch | None) -> None:
    """Raises JournalRestored where the store's epoch of an agent is below one that was seen; they only grow."""
    if seen is not None and row.epoch < seen:
        raise JournalRestored(
            f"the store has epoch {row.epoch} of {agent}, and epoch {seen} was seen in it before: it was wiped, "
            "restored from an older copy, or failed over to a replica that had less. Bring the newer data back, or "
            "start the app anew on what there is"
        )


def check_not_behind(hand: Hand, version: int) -> None:
    """Raises JournalRestored where the store's version of an agent is below the one that was read; they only grow."""
    if version < hand.version:
        raise JournalRestored(
            f"the store has version {version} of {hand.agent}, and version {hand.version} was read from it before: "
            "it was wiped, restored from an older copy, or failed over to a replica that had less. "
            "Bring the newer data back, or start the app anew on what there is"
        )


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
