"""The verified twin of the journal: all contracts in memory, for tests and for apps that say `journal="memory"`.

Nothing outlives the process. One suite of tests holds it to what the journal in Redis does.
Reading order: `memory_rows` (what is held), `memory_turns` (messages and turns), this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import (
    Answered,
    AnswerVerdict,
    Assume,
    Claim,
    ClaimVerdict,
    Due,
    DueTimer,
    Ending,
    Fired,
    FireVerdict,
    OutboxRow,
    PastTurn,
    Quarantined,
    QuarantineRow,
    Revocation,
    SettleVerdict,
    Waiting,
)
from regrow.runtime.journal_entries import (
    CommandId,
    Epoch,
    HostEpoch,
    Incoming,
    JournalLimits,
    OperationId,
    OutboxId,
    Outcome,
    Owner,
    Partition,
    Row,
    StepKey,
    StepRecord,
    StepState,
    check_id,
    partition_of,
)
from regrow.runtime.journal_fit import bounded, checked_step, message_fits
from regrow.runtime.memory_rows import AgentRow, Kind, Noted, Step
from regrow.runtime.memory_turns import MemoryTurns


class MemoryJournal(MemoryTurns):
    """A Journal in this process. See the port for its contracts."""

    def __init__(self, *, now_ms: Callable[[], int], limits: JournalLimits | None = None) -> None:
        super().__init__(now_ms=now_ms, limits=limits)
        self._hosts = 0
        self._leases: dict[HostEpoch, int] = {}
        self._revoked: set[HostEpoch] = set()

    async def new_host_epoch(self) -> HostEpoch:
        """See Journal."""
        self._hosts += 1
        return HostEpoch(self._hosts)

    async def renew(self, host: HostEpoch, *, ttl_ms: int) -> bool:
        """See Journal."""
        if host in self._revoked:
            return False
        self._leases[host] = self._now_ms() + ttl_ms
        return True

    async def revoke(self, host: HostEpoch, *, reaped: bool = False) -> Revocation:
        """See Journal."""
        if host not in self._revoked and not reaped and self._leases.get(host, 0) > self._now_ms():
            return Revocation.LEASE_HELD
        self._revoked.add(host)
        self._leases.pop(host, None)
        return Revocation.REVOKED

    async def revoked(self, host: HostEpoch) -> bool:
        """See Journal."""
        return host in self._revoked

    async def claim(self, agent: ActorId, host: HostEpoch, *, previous: Owner, operation: OperationId) -> Claim:
        """See Journal."""
        check_id("operation id", operation)
        row = self._agent(agent)
        if previous.host not in (None, host) and previous.host not in self._revoked:
            held = row.row.owner != previous
            return Claim(verdict=ClaimVerdict.HELD if held else ClaimVerdict.NOT_REVOKED, row=row.row)
        if row.host == host and row.claimed_by == operation:
            return Claim(verdict=ClaimVerdict.CLAIMED, row=row.row)
        if row.row.owner != previous:
            return Claim(verdict=ClaimVerdict.HELD, row=row.row)
        row.epoch, row.host, row.claimed_by = row.epoch + 1, host, operation
        return Claim(verdict=ClaimVerdict.CLAIMED, row=row.row)

    async def release(self, agent: ActorId, epoch: Epoch) -> bool:
        """See Journal."""
        row = self._agent(agent)
        if row.epoch != epoch:
            return False
        row.host, row.claimed_by = None, ""
        return True

    async def read(self, agent: ActorId) -> Row:
        """See Journal."""
        return self._agent(agent).row

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
        """See Journal."""
        checked_step(wait)
        if len(body or b"") > self.limits.message_bytes:
            return Answered(verdict=AnswerVerdict.TOO_LARGE)
        operation_id = _of_kind("answer", operation)
        given = self._before(agent, operation_id, Answered)
        if given is not None:
            return given
        row = self._agent(agent)
        if epoch is not None and not row.holds(epoch):
            return Answered(verdict=AnswerVerdict.STALE_EPOCH)
        mark = self._mark(row, command)
        if mark is None or mark.kind is not Kind.WAITING or (command, wait) not in row.waits:
            return Answered(verdict=AnswerVerdict.NO_WAIT)
        deadline_ms = row.waits[command, wait]
        if body is None and (deadline_ms is None or deadline_ms > self._now_ms()):
            return Answered(verdict=AnswerVerdict.TOO_EARLY)
        record = StepRecord(
            key=wait,
            epoch=Epoch(row.epoch),
            state=StepState.TIMED_OUT if body is None else StepState.DONE,
            result=body or b"",
        )
        row.steps.setdefault(command, {})[wait.name, wait.occurrence] = Step(record, operation)
        del row.waits[command, wait]
        seq = row.push(_set_aside(row, command, row.noted[command]), mark)
        return self._once(agent, operation_id, Answered(verdict=AnswerVerdict.RESUMED, seq=seq))

    async def quarantined(self, partition: Partition, *, offset: int = 0) -> tuple[QuarantineRow, ...]:
        """See Journal."""
        found = [
            QuarantineRow(agent=row.id, command=command, at_ms=row.noted[command].at_ms)
            for row in self._rows(partition).values()
            for command, mark in row.marks.items()
            if mark.kind is Kind.QUARANTINED
        ]
        found.sort(key=lambda entry: (entry.at_ms, f"{entry.agent}\0{entry.command}".encode()))
        return tuple(found[offset : offset + self.limits.page])

    async def show_quarantined(self, agent: ActorId, command: CommandId) -> Quarantined | None:
        """See Journal."""
        row = self._agent(agent)
        mark = self._mark(row, command)
        if mark is None or mark.kind is not Kind.QUARANTINED:
            return None
        noted = row.noted[command]
        return Quarantined(
            agent=agent,
            command=command,
            body=noted.body,
            reason=mark.result,
            at_ms=noted.at_ms,
            attempts=noted.attempts,
            notes=tuple(noted.notes),
            steps=self._records(row, command),
        )

    async def requeue(
        self, agent: ActorId, command: CommandId, *, operation: OperationId, assume: Assume | None = None, by: str = ""
    ) -> SettleVerdict:
        """See Journal."""
        operation_id = _of_kind("requeue", operation)
        given = self._before(agent, operation_id, SettleVerdict)
        if given is not None:
            return given
        row = self._agent(agent)
        mark = self._mark(row, command)
        if mark is None or mark.kind is not Kind.QUARANTINED:
            return SettleVerdict.NOT_QUARANTINED
        noted = row.noted[command]
        self._remember(row, command, Ending.REQUEUED, about=noted.about, by=by)
        row.push(replace(_set_aside(row, command, noted), expires_ms=None), mark)
        steps = row.steps.get(command, {})
        for place, step in list(steps.items()) if assume is not None else ():
            if step.record.state is StepState.STARTED and assume is Assume.UNDONE:
                del steps[place]
            elif step.record.state is StepState.STARTED:
                record = step.record
                steps[place] = Step(replace(record, state=StepState.ASSUMED, result=b""), step.operation)
        noted.attempts, noted.about = 0, b""  # the notes stay as history; the count begins anew
        return self._once(agent, operation_id, SettleVerdict.SETTLED)

    async def drop(self, agent: ActorId, command: CommandId, *, operation: OperationId, by: str = "") -> SettleVerdict:
        """See Journal."""
        operation_id = _of_kind("drop", operation)
        given = self._before(agent, operation_id, SettleVerdict)
        if given is not None:
            return given
        row = self._agent(agent)
        mark = self._mark(row, command)
        if mark is None or mark.kind is not Kind.QUARANTINED:
            return SettleVerdict.NOT_QUARANTINED
        self._remember(row, command, Ending.DROPPED, about=row.noted[command].about, by=by)
        self._done(
            row,
            command,
            operation=operation,
            version=mark.version,
            outcome=Outcome.QUARANTINED,
            result=mark.result,
        )
        return self._once(agent, operation_id, SettleVerdict.SETTLED)

    async def history(self, agent: ActorId, *, limit: int | None = None) -> tuple[PastTurn, ...]:
        """See Journal."""
        count = bounded(limit, self.limits.history_turns)
        return tuple(self._kept(self._agent(agent))[-count:] if count else ())

    async def mailboxes(self, partition: Partition, *, after: ActorId | None = None) -> tuple[ActorId, ...]:
        """See Journal."""
        found = sorted((row.id for row in self._rows(partition).values() if row.mail), key=str.encode)
        return tuple([id for id in found if after is None or id.encode() > after.encode()][: self.limits.page])

    async def waiting(self, partition: Partition, *, offset: int = 0) -> tuple[Waiting, ...]:
        """See Journal."""
        return tuple(list(self._waiting(partition))[offset : offset + self.limits.page])

    async def due(self, partition: Partition) -> Due:
        """See Journal."""
        now_ms, page = self._now_ms(), self.limits.page
        timers = [
            DueTimer(agent=row.id, timer=timer, due_ms=due_ms, schedule=schedule)
            for row in self._rows(partition).values()
            for timer, (due_ms, schedule) in row.timers.items()
        ]
        timers.sort(key=lambda timer: (timer.due_ms, f"{timer.agent}\0{timer.timer}".encode()))
        waits = [wait for wait in self._waiting(partition) if wait.deadline_ms is not None]
        ticks = [timer for timer in timers if timer.due_ms <= now_ms][:page]
        ends = [wait for wait in waits if (wait.deadline_ms or 0) <= now_ms][:page]
        later = [timer.due_ms for timer in timers[len(ticks) :]]
        later += [wait.deadline_ms for wait in waits[len(ends) :] if wait.deadline_ms is not None]
        return Due(now_ms=now_ms, timers=tuple(ticks), waits=tuple(ends), next_ms=min(later, default=None))

    async def fire(self, timer: str, message: Incoming, *, due_ms: int, next_due_ms: int | None = None) -> Fired:
        """See Journal."""
        if not message_fits(message, self.limits):
            return Fired(verdict=FireVerdict.TOO_LARGE)
        operation = _of_kind("fire", message.command)
        given = self._before(message.agent, operation, Fired)
        if given is not None:
            return given
        row = self._agent(message.agent)
        if message.epoch is not None and not row.holds(message.epoch):
            return Fired(verdict=FireVerdict.STALE_EPOCH)
        known = row.timers.get(timer)
        if known is None or known[0] != due_ms or due_ms > self._now_ms():
            return Fired(verdict=FireVerdict.NOT_DUE)
        mark = self._mark(row, message.command)
        if not row.deleted and mark is None and len(row.mail) >= self.limits.mailbox:
            return Fired(verdict=FireVerdict.FULL)
        seq = None
        if not row.deleted:
            # A command that is known came in by another way, and is not run again.
            seq = row.push(message) if mark is None else mark.seq or None
        if next_due_ms is not None and not row.deleted:
            row.timers[timer] = (next_due_ms, known[1])
        else:
            del row.timers[timer]
        verdict = FireVerdict.DELETED if row.deleted else FireVerdict.FIRED
        return self._once(message.agent, operation, Fired(verdict=verdict, seq=seq))

    async def outbox(self, partition: Partition, *, after: OutboxId | None = None) -> tuple[OutboxRow, ...]:
        """See Journal."""
        last = 0 if after is None else int(after)
        found = [row for place, row in self._outbox(partition).items() if place > last]
        return tuple(found[: self.limits.page])

    async def relayed(self, agent: ActorId, ids: Sequence[OutboxId]) -> int:
        """See Journal."""
        outbox = self._outbox(partition_of(agent))
        gone = sum(outbox.pop(int(id), None) is not None for id in ids)
        self._agent(agent).unrelayed -= gone
        return gone

    async def aclose(self) -> None:
        """See Journal."""

    def _waiting(self, partition: Partition) -> Iterator[Waiting]:
        found = [
            Waiting(agent=row.id, command=command, wait=wait, deadline_ms=deadline_ms)
            for row in self._rows(partition).values()
            for (command, wait), deadline_ms in row.waits.items()
        ]
        found.sort(key=_by_deadline)
        return iter(found)


def _by_deadline(waiting: Waiting) -> tuple[float, bytes]:
    wait = waiting.wait
    member = f"{waiting.agent}\0{waiting.command}\0{wait.name}\0{wait.occurrence}\0{wait.digest}"
    return math.inf if waiting.deadline_ms is None else waiting.deadline_ms, member.encode()


def _of_kind(kind: str, operation: str) -> OperationId:
    """The operation as one of that contract: an id that two contracts share must not give one the other's answer."""
    check_id("operation id", operation)
    return OperationId(f"{kind}:{operation}")


def _set_aside(row: AgentRow, command: CommandId, noted: Noted) -> Incoming:
    """What was set aside of a message, as one for the mailbox; it is set aside no longer."""
    message = Incoming(agent=row.id, command=command, body=noted.body, expires_ms=noted.expires_ms)
    noted.body, noted.expires_ms = b"", None
    return message
