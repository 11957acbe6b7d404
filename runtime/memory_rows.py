"""What the journal's twin in memory holds: rows of agents by partition, and what all its contracts need.

Written to be compared with the scripts of Redis line by line: the same checks in the same order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import Ending, Note, OutboxRow, PastTurn
from regrow.runtime.journal_entries import (
    CommandId,
    Epoch,
    HostEpoch,
    Incoming,
    JournalLimits,
    OperationId,
    Outcome,
    Partition,
    Pending,
    Row,
    StepKey,
    StepRecord,
    StoredResult,
    born_ms,
    check_id,
    check_partition,
    partition_of,
)

A = TypeVar("A")


class Kind(StrEnum):
    """Where a command stands."""

    PENDING = "pending"
    WAITING = "waiting"
    QUARANTINED = "quarantined"
    DONE = "done"


@dataclass(slots=True, kw_only=True)
class Mark:
    """What is known of one command. `result` is the reason of a quarantine."""

    kind: Kind
    operation: str = ""
    version: int = 0
    seq: int = 0
    outcome: Outcome = Outcome.QUARANTINED
    result: bytes = b""
    forgotten_ms: int = 0

    @property
    def stored(self) -> StoredResult | None:
        """The outcome that a duplicate is told."""
        if self.kind in (Kind.DONE, Kind.QUARANTINED):
            return StoredResult(outcome=self.outcome, version=self.version, result=self.result)
        return None


@dataclass(slots=True, kw_only=True)
class Noted:
    """What is unusual about a message: failed attempts, the state it began with, what was set aside of it."""

    attempts: int = 0
    last_epoch: int = 0
    notes: list[Note] = field(default_factory=list[Note])
    begun: bytes | None = None
    body: bytes = b""
    expires_ms: int | None = None
    at_ms: int = 0
    about: bytes = b""


@dataclass(slots=True)
class Step:
    """A record, the operation that wrote it, and the last incarnation that has begun it."""

    record: StepRecord
    operation: str
    last_epoch: int = 0


@dataclass(slots=True, kw_only=True)
class AgentRow:
    """Everything of one agent. Mail is in order, since places only grow."""

    id: ActorId
    epoch: int = 0
    host: HostEpoch | None = None
    claimed_by: str = ""
    version: int = 0
    state: bytes | None = None
    schema: int = 0
    deleted: bool = False
    last_seq: int = 0
    mail: dict[int, Incoming] = field(default_factory=dict[int, Incoming])
    marks: dict[CommandId, Mark] = field(default_factory=dict[CommandId, Mark])
    noted: dict[CommandId, Noted] = field(default_factory=dict[CommandId, Noted])
    steps: dict[CommandId, dict[tuple[str, int], Step]] = field(
        default_factory=dict[CommandId, dict[tuple[str, int], Step]]
    )
    blobs: dict[CommandId, dict[str, bytes]] = field(default_factory=dict[CommandId, dict[str, bytes]])
    timers: dict[str, tuple[int, bytes]] = field(default_factory=dict[str, tuple[int, bytes]])
    waits: dict[tuple[CommandId, StepKey], int | None] = field(
        default_factory=dict[tuple[CommandId, StepKey], int | None]
    )
    unrelayed: int = 0
    past: list[PastTurn] = field(default_factory=list[PastTurn])

    @property
    def row(self) -> Row:
        """What `read` gives."""
        return Row(
            epoch=Epoch(self.epoch),
            version=self.version,
            schema=self.schema,
            state=self.state,
            host=self.host,
            deleted=self.deleted,
        )

    def holds(self, epoch: Epoch) -> bool:
        """Whether the incarnation may write; one that released the agent has its epoch still, and may not."""
        return self.host is not None and self.epoch == epoch

    def push(self, message: Incoming, known: Mark | None = None) -> int:
        """Puts a message at the end of the mailbox."""
        self.last_seq += 1
        self.mail[self.last_seq] = message
        self.marks[message.command] = Mark(
            kind=Kind.PENDING,
            operation=known.operation if known else "",
            version=known.version if known else 0,
            seq=self.last_seq,
        )
        return self.last_seq

    def pending(self, after: int, limit: int, limit_bytes: int) -> tuple[Pending, ...]:
        """Up to `limit` messages beyond `after`, at least one and otherwise not more than `limit_bytes`."""
        found: list[Pending] = []
        size_bytes = 0
        for seq, message in self.mail.items():
            if len(found) == limit:
                break
            if seq <= after:
                continue
            size_bytes += len(message.body)
            if size_bytes > limit_bytes and found:
                break
            noted = self.noted.get(message.command, Noted())
            found.append(
                Pending(
                    seq=seq,
                    command=message.command,
                    body=message.body,
                    expires_ms=message.expires_ms,
                    attempts=noted.attempts,
                    begun=noted.begun,
                    failed_in=Epoch(noted.last_epoch) if noted.last_epoch else None,
                )
            )
        return tuple(found)


class MemoryRows:
    """The rows of all agents, and what is remembered of operations."""

    def __init__(self, *, now_ms: Callable[[], int], limits: JournalLimits | None = None) -> None:
        """`now_ms` is the store's clock: milliseconds since 1970, never backwards."""
        self.limits = limits or JournalLimits()
        self._now_ms = now_ms
        self._partitions: dict[Partition, dict[ActorId, AgentRow]] = {}
        self._outboxes: dict[Partition, dict[int, OutboxRow]] = {}
        self._last_sent = 0
        self._answers: dict[tuple[ActorId, OperationId], tuple[int, object]] = {}
        self._forget: list[tuple[int, ActorId, CommandId]] = []

    def _rows(self, partition: Partition) -> dict[ActorId, AgentRow]:
        check_partition(partition)
        return self._partitions.setdefault(partition, {})

    def _outbox(self, partition: Partition) -> dict[int, OutboxRow]:
        check_partition(partition)
        return self._outboxes.setdefault(partition, {})

    def _agent(self, agent: ActorId) -> AgentRow:
        check_id("agent id", agent)
        rows = self._rows(partition_of(agent))
        found = rows.get(agent)
        if found is None:
            found = rows[agent] = AgentRow(id=agent)
        return found

    def _mark(self, row: AgentRow, command: CommandId) -> Mark | None:
        """What is known of the command; results whose time is over are forgotten first."""
        now_ms = self._now_ms()
        while self._forget and self._forget[0][0] <= now_ms:
            _, agent, old = heapq.heappop(self._forget)
            mark = self._agent(agent).marks.get(old)
            if mark is not None and mark.kind is Kind.DONE and mark.forgotten_ms <= now_ms:
                del self._agent(agent).marks[old]
        return row.marks.get(command)

    def _done(
        self, row: AgentRow, command: CommandId, *, operation: str, version: int, outcome: Outcome, result: bytes
    ) -> None:
        """Marks the command as done for as long as results are kept, longer where its maker's clock ran ahead."""
        now_ms = self._now_ms()
        forgotten_ms = now_ms + self.limits.result_ttl_ms + max(0, born_ms(command) - now_ms)
        row.marks[command] = Mark(
            kind=Kind.DONE,
            operation=operation,
            version=version,
            outcome=outcome,
            result=result,
            forgotten_ms=forgotten_ms,
        )
        heapq.heappush(self._forget, (forgotten_ms, row.id, command))
        row.noted.pop(command, None)
        row.steps.pop(command, None)
        row.blobs.pop(command, None)

    def _before(self, agent: ActorId, operation: OperationId, kind: type[A]) -> A | None:
        """The answer to an operation that has come before."""
        known = self._answers.get((agent, operation))
        if known is None or known[0] <= self._now_ms():
            return None
        assert isinstance(known[1], kind)
        return known[1]

    def _once(self, agent: ActorId, operation: OperationId, answer: A) -> A:
        now_ms = self._now_ms()
        # Kept in order of time, so that those that are over stand in front.
        while self._answers and next(iter(self._answers.values()))[0] <= now_ms:
            del self._answers[next(iter(self._answers))]
        self._answers[agent, operation] = (now_ms + self.limits.operation_ttl_ms, answer)
        return answer

    def _remember(
        self,
        row: AgentRow,
        command: CommandId,
        ending: Ending,
        *,
        about: bytes,
        epoch: Epoch | None = None,
        failed: int = 0,
        begun_ms: int | None = None,
        by: str = "",
    ) -> None:
        """Keeps how a turn ended for people to see; nobody else reads it."""
        if not self.limits.history_turns:
            return
        now_ms = self._now_ms()
        turn = PastTurn(
            command=command,
            ending=ending,
            epoch=epoch,
            failed=failed,
            begun_ms=None if begun_ms is None else min(begun_ms, now_ms),
            ended_ms=now_ms,
            about=about,
            by=by,
        )
        row.past = [*self._kept(row), turn][-self.limits.history_turns :]

    def _kept(self, row: AgentRow) -> list[PastTurn]:
        """The turns of the history that are not too old."""
        over_ms = self._now_ms() - self.limits.history_ttl_ms
        return [turn for turn in row.past if turn.ended_ms > over_ms]
