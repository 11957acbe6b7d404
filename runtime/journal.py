"""The port of durable state: what the runtime asks of a store so that no accepted message is lost or doubled.

Each method is one contract: it happens whole or not at all, and what it indexes changes in the same moment.
A method that was cut off (JournalUnknown) is called again with the same ids; the second time it changes
nothing and answers the same. Two implementations keep the contracts, and one suite of tests compares them:
`MemoryJournal` (the verified twin, for tests and the inline engine) and `RedisJournal` in the cluster room.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import (
    Answered,
    Assume,
    Claim,
    Due,
    Enqueued,
    Fired,
    OutboxRow,
    PastTurn,
    Quarantined,
    QuarantineRow,
    Revocation,
    SettleVerdict,
    StepAnswer,
    Taken,
    TurnEnded,
    Waiting,
)
from regrow.runtime.journal_entries import (
    CommandId,
    Commit,
    Epoch,
    Hand,
    HostEpoch,
    Incoming,
    JournalLimits,
    OperationId,
    OutboxId,
    Owner,
    Park,
    Partition,
    Row,
    StepKey,
    StepRecord,
)


class Journal(Protocol):
    """Durable agents of one app. Any method may raise JournalUnknown or a JournalRefused.

    Calls that are made while others are under way travel together, so that many commits cost one fsync.
    Calls of one caller about one agent keep their order.
    """

    @property
    def limits(self) -> JournalLimits:
        """The bounds that this journal keeps."""
        ...

    # Hosts

    async def new_host_epoch(self) -> HostEpoch:
        """A number for one life of a host, higher than all before it."""
        ...

    async def renew(self, host: HostEpoch, *, ttl_ms: int) -> bool:
        """Takes or prolongs the host's lease by the store's clock; False for ever once it is revoked."""
        ...

    async def revoke(self, host: HostEpoch, *, reaped: bool = False) -> Revocation:
        """Leaves a permanent tombstone, only when the lease is gone or the process was `reaped`."""
        ...

    async def revoked(self, host: HostEpoch) -> bool:
        """Whether the host has its tombstone."""
        ...

    # Ownership

    async def claim(self, agent: ActorId, host: HostEpoch, *, previous: Owner, operation: OperationId) -> Claim:
        """Makes `host` the holder under the next epoch, if the agent's owner is still `previous`, and may be followed.

        It may when it is nobody, is `host` itself, or has its tombstone. Epochs only grow, also while nobody holds the
        agent; so a copy of a claim that comes late, when that was answered, changes nothing.
        """
        ...

    async def release(self, agent: ActorId, epoch: Epoch) -> bool:
        """Gives the agent back, so that anybody may claim it; False for a stale epoch. Repeating it is harmless."""
        ...

    async def read(self, agent: ActorId) -> Row:
        """State, version, epoch and holder as they are in one moment."""
        ...

    # Mailbox and turns

    async def enqueue(self, messages: Sequence[Incoming], *, capacity: int | None = None) -> tuple[Enqueued, ...]:
        """Puts messages of one agent into its mailbox, in their order and in one step; a verdict for each.

        What is refused or cut has stored all of them or none, so whoever sends them again changes no order.
        `capacity` bounds the mailbox, at most `limits.mailbox`; the first ones take what room there is. All are
        enqueued under one epoch. Raises InvalidEntry for more than `limits.batch_messages` or `batch_bytes`.
        """
        ...

    async def depth(self, agent: ActorId) -> int:
        """How many messages its mailbox has; whoever asks need not hold the agent."""
        ...

    async def take(self, agent: ActorId, epoch: Epoch, *, after: int = 0, limit: int | None = None) -> Taken:
        """Messages with a place beyond `after`, in order; they stay in the mailbox until their outcome is recorded."""
        ...

    async def count_attempt(
        self, agent: ActorId, command: CommandId, *, epoch: Epoch, note: bytes, holder: Epoch | None = None
    ) -> int | None:
        """Counts that incarnation `epoch` failed on the message, once, with a note; how many there are now.

        The one that holds the agent counts, for itself or, as `holder`, for one that is dead. None where another holds
        it, and where the message is not in the mailbox. A note over its limit is cut.
        """
        ...

    async def commit(self, commit: Commit, *, after: int = 0, limit: int | None = None) -> TurnEnded:
        """Ends a turn in one step: input acknowledged, outcome and result by command id, state, messages, timers.

        The answer brings up to `limit` messages beyond `after`, none by default.
        """
        ...

    async def park(self, park: Park, *, after: int = 0, limit: int | None = None) -> TurnEnded:
        """Ends a turn that waits: as a commit, but its message is set aside until `answer`."""
        ...

    async def answer(
        self,
        agent: ActorId,
        command: CommandId,
        wait: StepKey,
        *,
        body: bytes | None,
        operation: OperationId,
        epoch: Epoch | None = None,
    ) -> Answered:
        """Puts a message that waits back into the mailbox, with `body` as the record of its wait.

        None says that the time of the wait has passed, which the store checks.
        """
        ...

    # Steps

    async def start_step(self, hand: Hand, step: StepKey) -> StepAnswer:
        """Records that a call of this turn begins."""
        ...

    async def finish_step(self, hand: Hand, step: StepKey, result: bytes) -> StepAnswer:
        """Records the result of a call that was started; the first one stays.

        One above `limits.step_bytes` is kept as a blob: in the same moment as its record, in the same place, and
        until the outcome of its message.
        """
        ...

    async def steps(self, agent: ActorId, command: CommandId) -> tuple[StepRecord, ...]:
        """All records of a message, by name and occurrence; of large results what stands for them."""
        ...

    async def blob(self, agent: ActorId, command: CommandId, digest: str) -> bytes | None:
        """A large result of a message, which its reader compares with the digest; None where it is not there."""
        ...

    # Quarantine

    async def quarantine(self, hand: Hand, reason: bytes, *, after: int = 0, limit: int | None = None) -> TurnEnded:
        """Ends a turn by setting its message aside with all its notes and records, until a person decides."""
        ...

    async def quarantined(self, partition: Partition, *, offset: int = 0) -> tuple[QuarantineRow, ...]:
        """A page of the messages in quarantine, longest there first."""
        ...

    async def show_quarantined(self, agent: ActorId, command: CommandId) -> Quarantined | None:
        """One message in quarantine with its history; None where it is not there."""
        ...

    async def requeue(
        self, agent: ActorId, command: CommandId, *, operation: OperationId, assume: Assume | None = None, by: str = ""
    ) -> SettleVerdict:
        """Puts a message back into the mailbox, its attempts forgotten, its open steps settled as `assume` says.

        `by` is who has decided so, for the history; empty where that is not known.
        A step that was assumed to be done may still be finished with a result, by whoever may make it again. The
        message has no deadline any more, since a person wants it run, whoever asked.
        """
        ...

    async def drop(self, agent: ActorId, command: CommandId, *, operation: OperationId, by: str = "") -> SettleVerdict:
        """Forgets a message in quarantine; its outcome stays known as long as any result. `by` as for `requeue`."""
        ...

    # History

    async def history(self, agent: ActorId, *, limit: int | None = None) -> tuple[PastTurn, ...]:
        """The newest turns that have ended, newest last: up to `limit`, as many as are kept by default.

        Written with each end of a turn, and with what people decide; kept as long as `limits` say, and read by
        nobody who recovers.
        """
        ...

    # What the owner of a partition recovers and serves

    async def mailboxes(self, partition: Partition, *, after: ActorId | None = None) -> tuple[ActorId, ...]:
        """A page of the agents with a message in their mailbox, by id."""
        ...

    async def waiting(self, partition: Partition, *, offset: int = 0) -> tuple[Waiting, ...]:
        """A page of the messages that wait for an answer, earliest deadline first."""
        ...

    async def due(self, partition: Partition) -> Due:
        """Timers and waits whose time has come by the store's clock: a page of each."""
        ...

    async def fire(
        self,
        timer: str,
        message: Incoming,
        *,
        due_ms: int,
        next_due_ms: int | None = None,
    ) -> Fired:
        """Puts a due timer's message into its agent's mailbox, and sets the timer to `next_due_ms` or ends it.

        Once for each due time: a repetition with the same message changes nothing and answers the same.
        """
        ...

    async def outbox(self, partition: Partition, *, after: OutboxId | None = None) -> tuple[OutboxRow, ...]:
        """A page of the messages that were committed and not relayed, each agent's in their order."""
        ...

    async def relayed(self, agent: ActorId, ids: Sequence[OutboxId]) -> int:
        """Takes relayed messages of one agent out of the outbox; how many were still there."""
        ...

    async def aclose(self) -> None:
        """Lets go of the store; harmless the second time."""
        ...
