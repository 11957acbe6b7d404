"""What goes into a journal and what comes back: ids, limits, messages, rows and the endings of turns.

Bodies, states, results, schedules and notes are bytes that the caller encodes; the journal never looks into
them. All times are milliseconds since 1970 on the store's clock, which `Taken.now_ms` and `Due.now_ms` tell.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NewType

from regrow.runtime.address import ActorId
from regrow.runtime.blobs import BlobRef
from regrow.runtime.journal_errors import InvalidEntry

HostEpoch = NewType("HostEpoch", int)
"""One life of one host, drawn from the store's counter; a later life has a higher one."""

Epoch = NewType("Epoch", int)
"""How often an agent has been claimed: its incarnation and its fence."""

Partition = NewType("Partition", int)
"""One of the fixed parts into which agents are hashed; what one script touches lies in one of them."""

CommandId = NewType("CommandId", str)
"""The id of a message, a UUIDv7; the same id is never run twice."""

OperationId = NewType("OperationId", str)
"""The id of one call of the journal: sent again with it, the call changes nothing and answers the same."""

OutboxId = NewType("OutboxId", str)
"""The place of an outgoing message in the outbox of its partition; opaque, ordered by the store."""

PARTITIONS = 4_096
"""Fixed for ever: an agent's keys carry the partition that this number gives it."""

ABOUT_LIMIT_BYTES = 4_096
"""For what a turn tells its history."""

_UUID_7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

ID_LIMIT_BYTES = 512
"""For the id of an agent, a timer, a step or an operation."""


KNOWN_COMMANDS = 1_024
"""Of which ids it is remembered when they were made: those in hand."""


def partition_of(agent: ActorId) -> Partition:
    """The partition of an agent: the same in every process and every version."""
    # 65,536 is a multiple of 4,096, so that the rest is as even as the digest.
    return Partition(int.from_bytes(hashlib.blake2b(agent.encode(), digest_size=2).digest()) % PARTITIONS)


def born_ms(command: CommandId) -> int:
    """When the id was made, by its maker's clock. Raises InvalidEntry for what is no UUIDv7."""
    return _born_ms(command)


@lru_cache(KNOWN_COMMANDS)
def _born_ms(command: str) -> int:
    # One way of writing it only, since two spellings would be two ids in the store. A pattern, since every call of
    # a journal comes by here several times, and uuid.UUID takes ten times as long.
    if _UUID_7.fullmatch(command) is None:
        raise InvalidEntry(f"{command[:60]!r} is no UUIDv7 in small letters with dashes; make command ids of that kind")
    return int(command[:8] + command[9:13], 16)


def check_id(what: str, id: str) -> None:
    """Raises InvalidEntry for an id that is empty, too long, or contains the separator NUL."""
    # A sign takes four bytes at most, so a short id need not be written out to know its size.
    if not id or "\0" in id or (4 * len(id) > ID_LIMIT_BYTES and len(id.encode()) > ID_LIMIT_BYTES):
        raise InvalidEntry(
            f"{id[:60]!r} is no {what} that a journal keeps; use 1 to {ID_LIMIT_BYTES} bytes without NUL"
        )


def check_partition(partition: Partition) -> None:
    """Raises InvalidEntry for a number that no partition has."""
    if not 0 <= partition < PARTITIONS:
        raise InvalidEntry(f"there is no partition {partition}; they are numbered 0 to {PARTITIONS - 1}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLimits:
    """Every bound of a journal. All who share a store use the same."""

    message_bytes: int = 262_144
    state_bytes: int = 1_048_576
    result_bytes: int = 262_144
    step_bytes: int = 65_536
    """In the record of a step; a larger result is kept beside it, as a blob."""
    blob_bytes: int = 16_777_216
    """For one blob. While one is written or read its server serves nobody else, for some ten milliseconds or more."""
    blobs_bytes: int = 67_108_864
    """For all blobs of one message; they stay until its outcome, for weeks where it waits for a person."""
    history_bytes: int = ABOUT_LIMIT_BYTES
    """For what an ended turn was about; what passes it is left out of the history."""
    note_bytes: int = 8_192
    """For one attempt's note, and for the reason of a quarantine."""
    notes: int = 16
    """Notes of attempts kept for a message; the oldest go first."""
    mailbox: int = 1_000
    batch_messages: int = 128
    """Messages of one `enqueue`; while they are stored their server serves nobody else, for a millisecond or so."""
    batch_bytes: int = 262_144
    """For the bodies of one `enqueue` together; a single message may pass it."""
    outbox: int = 1_000
    """Messages of one agent that wait to be relayed."""
    timers: int = 1_000
    waits: int = 1_000
    quarantined: int = 1_000
    steps: int = 1_000
    """Records of one message."""
    take_messages: int = 128
    take_bytes: int = 1_048_576
    """A take ends before the message that would pass it, but always brings one."""
    page: int = 500
    """Rows in one answer about a partition."""
    history_turns: int = 100
    """Ended turns of one agent kept for people to see, the newest ones; 0 keeps none."""
    history_ttl_ms: int = 604_800_000
    """How long an ended turn is kept at most."""
    result_ttl_ms: int = 86_400_000
    """How long the result of a command is kept, and how old a command's id may be."""
    ahead_ms: int = 3_600_000
    """How far the clock of a command's maker may run ahead of the store's."""
    operation_ttl_ms: int = 600_000
    """How long the answer to an operation of a person or a timer is kept for its repetition."""


class Outcome(StrEnum):
    """How an accepted message ended; only COMMITTED changed state."""

    COMMITTED = "committed"
    REFUSED = "refused"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """The recorded outcome of a command, as its first run left it."""

    outcome: Outcome
    version: int
    result: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who holds an agent: a life of a host, under its last claim; where it is None, nobody does since that claim."""

    host: HostEpoch | None
    epoch: Epoch


NEVER_CLAIMED = Owner(host=None, epoch=Epoch(0))
"""The owner of an agent that is new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An agent as the store has it, all from one moment. An agent that was never claimed has epoch 0."""

    epoch: Epoch
    version: int
    schema: int
    state: bytes | None
    host: HostEpoch | None
    """None where nobody holds it: never claimed, or released."""
    deleted: bool

    @property
    def owner(self) -> Owner:
        """Who holds it, to hand to `claim`."""
        return Owner(host=self.host, epoch=self.epoch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A message for an agent's durable mailbox.

    `epoch` is that of the incarnation that the enqueuing host holds; None enqueues whoever holds it.
    """

    agent: ActorId
    command: CommandId
    body: bytes
    expires_ms: int | None = None
    epoch: Epoch | None = None

    def __post_init__(self) -> None:
        check_id("agent id", self.agent)
        born_ms(self.command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A message that waits for its turn. `begun` is the beginning state of one that resumes after a wait.

    `failed_in` is the last life that has failed on it, also before somebody has put it back from quarantine.
    """

    seq: int
    command: CommandId
    body: bytes
    expires_ms: int | None
    attempts: int
    begun: bytes | None
    failed_in: Epoch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message that leaves with the commit."""

    target: ActorId
    command: CommandId
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTimer:
    """Sets a timer, in place of an earlier one of that name."""

    timer: str
    due_ms: int
    schedule: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTimer:
    """Takes a timer back; harmless when there is none."""

    timer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKey:
    """Which recorded call of a turn: the n-th of its name, with the digest of its arguments."""

    name: str
    occurrence: int
    digest: str


class StepState(StrEnum):
    """How far a recorded call came."""

    STARTED = "started"
    DONE = "done"
    ASSUMED = "assumed"
    """A person said that it was done; there is no result, unless it is one that may be made again."""
    TIMED_OUT = "timed_out"
    """A wait whose time passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What the store knows of one recorded call. `epoch` is that of the incarnation that started it."""

    key: StepKey
    epoch: Epoch
    state: StepState
    result: bytes
    attempts: int = 1
    """How many incarnations have begun it."""
    blob: BlobRef | None = None
    """What is kept beside the record instead of a `result`; `Journal.blob` gives it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """A message in the hand of the incarnation `epoch` of its agent, and the call that is made about it.

    `version` is the one that was read last; a writer that has not read can not write. A call that ends the turn
    also brings what its history is to say: when it began, by the store's clock, and what it was about.
    """

    agent: ActorId
    epoch: Epoch
    version: int
    command: CommandId
    operation: OperationId
    begun_ms: int | None = None
    about: bytes = b""

    def __post_init__(self) -> None:
        check_id("agent id", self.agent)
        check_id("operation id", self.operation)
        born_ms(self.command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """What a turn leaves: the new state, or None for an unchanged one, messages and timers."""

    state: bytes | None = None
    schema: int = 0
    """Of the state; not used where the state is unchanged."""
    outgoing: tuple[Outgoing, ...] = ()
    timers: tuple[SetTimer | CancelTimer, ...] = ()
    delete: bool = False
    """Leaves a tombstone instead of the state; the id is never used again."""

    def __post_init__(self) -> None:
        if self.delete and self.state is not None:
            raise InvalidEntry("a turn that deletes its agent leaves no state; give either `state` or `delete`")
        for change in self.timers:
            check_id("timer id", change.timer)
        if len({change.timer for change in self.timers}) < len(self.timers):
            raise InvalidEntry("two changes of one timer in one turn; keep the last")
        for message in self.outgoing:
            check_id("agent id", message.target)
            born_ms(message.command)


NOTHING = Writes()
"""Of a turn that changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The end of a turn. Only COMMITTED may write; QUARANTINED has a contract of its own."""

    hand: Hand
    outcome: Outcome
    result: bytes
    writes: Writes = NOTHING

    def __post_init__(self) -> None:
        if self.outcome is Outcome.QUARANTINED:
            raise InvalidEntry("a commit quarantines nothing; call quarantine")
        if self.outcome is not Outcome.COMMITTED and self.writes != NOTHING:
            raise InvalidEntry(f"a message that was {self.outcome} changes nothing; leave `writes` out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Ends a turn that waits: it writes, and its message is set aside with the state it began with."""

    hand: Hand
    wait: StepKey
    begun: bytes
    deadline_ms: int | None
    writes: Writes = NOTHING

    def __post_init__(self) -> None:
        check_id("step name", self.wait.name)
        if self.writes.delete:
            raise InvalidEntry("a turn that waits can not delete its agent; delete it when the wait is over")
