"""What a journal answers: a verdict for each contract, and what comes with it.

A verdict is an expected outcome and never an error; errors say that the store did not do its part. Only the first
of each kind changed anything, but for a timer that ends with its deleted agent. A word means the same in each:

- `STALE_EPOCH`: the caller's incarnation no longer holds the agent, so it is fenced;
- `TOO_LARGE`: state, result, note or message passes its limit; `…FULL`: a limit of how many, so later there is room;
- `NOT_PENDING`: the message is not in the mailbox: it waits, is in quarantine, or was never there;
- `DELETED`: the agent has its tombstone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from regrow.runtime.address import ActorId
from regrow.runtime.journal_entries import (
    CommandId,
    Epoch,
    OutboxId,
    Pending,
    Row,
    StepKey,
    StepRecord,
    StoredResult,
)

V = TypeVar("V", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[V]):
    """A verdict; what follows adds what comes with it."""

    verdict: V


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed(Answer[V]):
    """A verdict on a message for a mailbox, and its place there if it has one."""

    seq: int | None = None


class Revocation(StrEnum):
    """The answer to `revoke`."""

    REVOKED = "revoked"
    LEASE_HELD = "lease_held"
    """The host may live; wait until its lease is over, or until its process was reaped."""


class ClaimVerdict(StrEnum):
    """The answer to `claim`."""

    CLAIMED = "claimed"
    HELD = "held"
    """It is not as the caller believed: another has it, or had it since and gave it back; the row says which."""
    NOT_REVOKED = "not_revoked"
    """The previous host has no tombstone yet: revoke it first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Answer[ClaimVerdict]):
    """The verdict, and the row as it is now: the caller's where it claimed, else the winner's."""

    row: Row


class EnqueueVerdict(StrEnum):
    """The answer to each message of `enqueue`."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """It has an outcome already; the stored result says which."""
    PENDING = "pending"
    """It is in the mailbox, in a turn, or waits for an answer."""
    FULL = "full"
    TOO_OLD = "too_old"
    """Its id is older than results are kept, so that nobody knows whether it ran."""
    AHEAD = "ahead"
    """Its id comes from a clock too far ahead of the store's."""
    TOO_LARGE = "too_large"
    STALE_EPOCH = "stale_epoch"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued(Placed[EnqueueVerdict]):
    """The verdict on one message, with its place in the mailbox or its stored result."""

    stored: StoredResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The next messages in order, or None for `messages` where the epoch is stale; and the store's time."""

    now_ms: int
    messages: tuple[Pending, ...] | None


class TurnVerdict(StrEnum):
    """The answer to `commit`, `park` and `quarantine`. All but DONE changed nothing."""

    DONE = "done"
    DUPLICATE = "duplicate"
    """The command has an outcome by another operation; its stored result comes along."""
    STALE_EPOCH = "stale_epoch"
    VERSION_CONFLICT = "version_conflict"
    NOT_PENDING = "not_pending"
    TOO_LARGE = "too_large"
    DELETED = "deleted"
    """Its messages can only be refused, expire or be quarantined."""
    OUTBOX_FULL = "outbox_full"
    TIMERS_FULL = "timers_full"
    WAITS_FULL = "waits_full"
    QUARANTINE_FULL = "quarantine_full"


class Ending(StrEnum):
    """How a turn ended, or what a person did with its message."""

    COMMITTED = "committed"
    REFUSED = "refused"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"
    PARKED = "parked"
    REQUEUED = "requeued"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTurn:
    """One entry of an agent's history, by the store's clock. What a person did has neither an epoch nor a beginning.

    `by` says who that was, where it is known. `failed` counts the attempts that failed before; `about` is what the
    turn's Hand brought.
    """

    command: CommandId
    ending: Ending
    epoch: Epoch | None
    failed: int
    begun_ms: int | None
    ended_ms: int
    about: bytes
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnEnded(Answer[TurnVerdict]):
    """The verdict on the end of a turn, the version after it, and the messages that come next at this moment."""

    version: int
    following: tuple[Pending, ...] = ()
    stored: StoredResult | None = None


class StepVerdict(StrEnum):
    """The answer to `start_step` and `finish_step`."""

    RECORDED = "recorded"
    KNOWN = "known"
    """There is a record by another operation already; it comes along and stays."""
    DIVERGED = "diverged"
    """The record of that place has another digest; it comes along."""
    NOT_STARTED = "not_started"
    STALE_EPOCH = "stale_epoch"
    NOT_PENDING = "not_pending"
    FULL = "full"
    BLOBS_FULL = "blobs_full"
    """All large results of one message together pass their limit."""
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAnswer(Answer[StepVerdict]):
    """The verdict on a step, and the record that is there."""

    record: StepRecord | None = None


class AnswerVerdict(StrEnum):
    """The answer to `answer`."""

    RESUMED = "resumed"
    """The message is in the mailbox again, with the answer among its records."""
    NO_WAIT = "no_wait"
    """Nobody waits for it: never, or no longer."""
    TOO_EARLY = "too_early"
    """A wait times out only when its deadline has passed by the store's clock."""
    STALE_EPOCH = "stale_epoch"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Placed[AnswerVerdict]):
    """The verdict on an answer, and where the message stands in the mailbox again."""


class FireVerdict(StrEnum):
    """The answer to `fire`."""

    FIRED = "fired"
    NOT_DUE = "not_due"
    """There is no such timer with that due time, or its time has not come."""
    FULL = "full"
    """The mailbox has no room; the timer stays due."""
    STALE_EPOCH = "stale_epoch"
    DELETED = "deleted"
    """The timer is gone with its agent."""
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired(Placed[FireVerdict]):
    """The verdict on a timer, and the place of its message in the mailbox."""


class SettleVerdict(StrEnum):
    """The answer to `requeue` and `drop`."""

    SETTLED = "settled"
    NOT_QUARANTINED = "not_quarantined"


class Assume(StrEnum):
    """What a person says of steps that were started and have no result."""

    DONE = "done"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTimer:
    """A timer whose time has come."""

    agent: ActorId
    timer: str
    due_ms: int
    schedule: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message that waits for an answer."""

    agent: ActorId
    command: CommandId
    wait: StepKey
    deadline_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Timers and waits of a partition whose time has come, earliest first, and when to look again.

    `next_ms` is the time of the earliest that is not among them, None where there is none.
    """

    now_ms: int
    timers: tuple[DueTimer, ...]
    waits: tuple[Waiting, ...]
    next_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """An outgoing message that is not relayed yet."""

    id: OutboxId
    agent: ActorId
    target: ActorId
    command: CommandId
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """A message in quarantine, and since when."""

    agent: ActorId
    command: CommandId
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What an incarnation left about an attempt that failed."""

    epoch: Epoch
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """All that is known of a message in quarantine."""

    agent: ActorId
    command: CommandId
    body: bytes
    reason: bytes
    at_ms: int
    attempts: int
    notes: tuple[Note, ...]
    steps: tuple[StepRecord, ...]
