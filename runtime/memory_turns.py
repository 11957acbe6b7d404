"""Mailboxes, recorded steps and the ends of turns, in the journal's twin in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from regrow.runtime.address import ActorId
from regrow.runtime.blobs import BlobRef
from regrow.runtime.journal_answers import (
    Ending,
    Enqueued,
    EnqueueVerdict,
    Note,
    OutboxRow,
    StepAnswer,
    StepVerdict,
    Taken,
    TurnEnded,
    TurnVerdict,
)
from regrow.runtime.journal_entries import (
    CommandId,
    Commit,
    Epoch,
    Hand,
    Incoming,
    OutboxId,
    Outcome,
    Park,
    SetTimer,
    StepKey,
    StepRecord,
    StepState,
    Writes,
    born_ms,
    partition_of,
)
from regrow.runtime.journal_fit import (
    bounded,
    check_batch,
    check_not_behind,
    checked_step,
    commit_fits,
    kept_about,
    kept_apart,
    message_fits,
    park_fits,
)
from regrow.runtime.memory_rows import AgentRow, Kind, Mark, MemoryRows, Noted, Step


class MemoryTurns(MemoryRows):
    """The contracts of a journal about messages and turns."""

    async def enqueue(self, messages: Sequence[Incoming], *, capacity: int | None = None) -> tuple[Enqueued, ...]:
        """See Journal."""
        check_batch(messages, self.limits)
        return tuple([self._enqueue(message, bounded(capacity, self.limits.mailbox)) for message in messages])

    async def depth(self, agent: ActorId) -> int:
        """See Journal."""
        return len(self._agent(agent).mail)

    async def take(self, agent: ActorId, epoch: Epoch, *, after: int = 0, limit: int | None = None) -> Taken:
        """See Journal."""
        row = self._agent(agent)
        count = bounded(limit, self.limits.take_messages)
        found = row.pending(after, count, self.limits.take_bytes) if row.holds(epoch) else None
        return Taken(now_ms=self._now_ms(), messages=found)

    async def count_attempt(
        self, agent: ActorId, command: CommandId, *, epoch: Epoch, note: bytes, holder: Epoch | None = None
    ) -> int | None:
        """See Journal."""
        row = self._agent(agent)
        mark = self._mark(row, command)
        if not row.holds(epoch if holder is None else holder) or mark is None or mark.kind is not Kind.PENDING:
            return None
        noted = row.noted.get(command) or Noted()
        # An incarnation fails on a message once; epochs only grow, so the last one tells a repetition.
        if epoch > noted.last_epoch:
            noted.last_epoch, noted.attempts = epoch, noted.attempts + 1
            noted.notes.append(Note(epoch=epoch, text=note[: self.limits.note_bytes]))
            del noted.notes[: -self.limits.notes]
            row.noted[command] = noted
        return noted.attempts

    async def start_step(self, hand: Hand, step: StepKey) -> StepAnswer:
        """See Journal."""
        refused = self._not_in_hand(hand, step)
        if refused is not None:
            return refused
        steps = self._agent(hand.agent).steps.setdefault(hand.command, {})
        known = steps.get((step.name, step.occurrence))
        if known is not None:
            _begin_again(known, hand, step)
            return _known_step(known, hand, step)
        if len(steps) >= self.limits.steps:
            return StepAnswer(verdict=StepVerdict.FULL)
        record = StepRecord(key=step, epoch=hand.epoch, state=StepState.STARTED, result=b"")
        steps[step.name, step.occurrence] = Step(record, hand.operation, last_epoch=hand.epoch)
        return StepAnswer(verdict=StepVerdict.RECORDED, record=record)

    async def finish_step(self, hand: Hand, step: StepKey, result: bytes) -> StepAnswer:
        """See Journal."""
        if len(result) > self.limits.blob_bytes:
            return StepAnswer(verdict=StepVerdict.TOO_LARGE)
        refused = self._not_in_hand(hand, step)
        if refused is not None:
            return refused
        steps = self._agent(hand.agent).steps.get(hand.command, {})
        known = steps.get((step.name, step.occurrence))
        if known is None:
            return StepAnswer(verdict=StepVerdict.NOT_STARTED)
        if known.record.key != step or known.record.state not in (StepState.STARTED, StepState.ASSUMED):
            return _known_step(known, hand, step)
        blob = kept_apart(result, self.limits)
        if blob is not None and not self._keep_blob(hand, blob, result):
            return StepAnswer(verdict=StepVerdict.BLOBS_FULL)
        record = replace(known.record, state=StepState.DONE, result=b"" if blob is not None else result, blob=blob)
        steps[step.name, step.occurrence] = Step(record, hand.operation)
        return StepAnswer(verdict=StepVerdict.RECORDED, record=record)

    async def steps(self, agent: ActorId, command: CommandId) -> tuple[StepRecord, ...]:
        """See Journal."""
        return self._records(self._agent(agent), command)

    async def blob(self, agent: ActorId, command: CommandId, digest: str) -> bytes | None:
        """See Journal."""
        return self._agent(agent).blobs.get(command, {}).get(digest)

    async def commit(self, commit: Commit, *, after: int = 0, limit: int | None = None) -> TurnEnded:
        """See Journal."""
        hand, changes = commit.hand, commit.outcome is Outcome.COMMITTED
        if not commit_fits(commit, self.limits):
            return TurnEnded(verdict=TurnVerdict.TOO_LARGE, version=hand.version)
        row = self._agent(hand.agent)
        verdict, version, mark = self._judged(row, hand, changes=changes)
        verdict = verdict or self._unfit(row, commit.writes)
        if verdict is None and mark is not None:
            version += changes
            self._remember_end(row, hand, Ending(commit.outcome.value))
            self._done(
                row,
                hand.command,
                operation=hand.operation,
                version=version,
                outcome=commit.outcome,
                result=commit.result,
            )
            if changes:
                self._write(row, version, commit.writes)
            del row.mail[mark.seq]
        return self._ended(row, verdict, version, mark, after=after, limit=limit)

    async def park(self, park: Park, *, after: int = 0, limit: int | None = None) -> TurnEnded:
        """See Journal."""
        hand, wait = park.hand, checked_step(park.wait)
        if not park_fits(park, self.limits):
            return TurnEnded(verdict=TurnVerdict.TOO_LARGE, version=hand.version)
        row = self._agent(hand.agent)
        verdict, version, mark = self._judged(row, hand, changes=True)
        verdict = verdict or self._unfit(row, park.writes)
        if verdict is None and len(row.waits) >= self.limits.waits:
            verdict = TurnVerdict.WAITS_FULL
        if verdict is None and mark is not None:
            version += 1
            self._remember_end(row, hand, Ending.PARKED)
            noted = self._set_aside(row, mark)
            noted.begun = park.begun
            row.marks[hand.command] = Mark(kind=Kind.WAITING, operation=hand.operation, version=version)
            row.waits[hand.command, wait] = park.deadline_ms
            self._write(row, version, park.writes)
        return self._ended(row, verdict, version, mark, after=after, limit=limit)

    async def quarantine(self, hand: Hand, reason: bytes, *, after: int = 0, limit: int | None = None) -> TurnEnded:
        """See Journal."""
        row = self._agent(hand.agent)
        verdict, version, mark = self._judged(row, hand, changes=False)
        held = sum(mark.kind is Kind.QUARANTINED for mark in row.marks.values())
        if verdict is None and held >= self.limits.quarantined:
            verdict = TurnVerdict.QUARANTINE_FULL
        if verdict is None and mark is not None:
            self._remember_end(row, hand, Ending.QUARANTINED)
            noted = self._set_aside(row, mark)
            noted.at_ms, noted.about = self._now_ms(), kept_about(hand, self.limits)
            row.marks[hand.command] = Mark(
                kind=Kind.QUARANTINED,
                operation=hand.operation,
                version=version,
                result=reason[: self.limits.note_bytes],
            )
        return self._ended(row, verdict, version, mark, after=after, limit=limit)

    def _enqueue(self, message: Incoming, capacity: int) -> Enqueued:
        if not message_fits(message, self.limits):
            return Enqueued(verdict=EnqueueVerdict.TOO_LARGE)
        row = self._agent(message.agent)
        if message.epoch is not None and not row.holds(message.epoch):
            return Enqueued(verdict=EnqueueVerdict.STALE_EPOCH)
        mark = self._mark(row, message.command)
        if mark is not None and mark.stored is not None:
            return Enqueued(verdict=EnqueueVerdict.DUPLICATE, stored=mark.stored)
        if mark is not None:
            return Enqueued(verdict=EnqueueVerdict.PENDING, seq=mark.seq or None)
        if row.deleted:
            return Enqueued(verdict=EnqueueVerdict.DELETED)
        now_ms, born = self._now_ms(), born_ms(message.command)
        if born + self.limits.result_ttl_ms <= now_ms:
            return Enqueued(verdict=EnqueueVerdict.TOO_OLD)
        if born > now_ms + self.limits.ahead_ms:
            return Enqueued(verdict=EnqueueVerdict.AHEAD)
        if len(row.mail) >= capacity:
            return Enqueued(verdict=EnqueueVerdict.FULL)
        return Enqueued(verdict=EnqueueVerdict.ACCEPTED, seq=row.push(message))

    def _not_in_hand(self, hand: Hand, step: StepKey) -> StepAnswer | None:
        checked_step(step)
        row = self._agent(hand.agent)
        if not row.holds(hand.epoch):
            return StepAnswer(verdict=StepVerdict.STALE_EPOCH)
        mark = self._mark(row, hand.command)
        if mark is None or mark.kind is not Kind.PENDING:
            return StepAnswer(verdict=StepVerdict.NOT_PENDING)
        return None

    def _keep_blob(self, hand: Hand, blob: BlobRef, content: bytes) -> bool:
        """Whether there was room for it, or it was there."""
        blobs = self._agent(hand.agent).blobs.setdefault(hand.command, {})
        if blob.digest in blobs:
            return True
        if sum(map(len, blobs.values())) + blob.size_bytes > self.limits.blobs_bytes:
            return False
        blobs[blob.digest] = content
        return True

    def _records(self, row: AgentRow, command: CommandId) -> tuple[StepRecord, ...]:
        return tuple(step.record for _, step in sorted(row.steps.get(command, {}).items()))

    def _judged(self, row: AgentRow, hand: Hand, *, changes: bool) -> tuple[TurnVerdict | None, int, Mark | None]:
        """A verdict where nothing may be written, the version, and the mark of the command."""
        mark = self._mark(row, hand.command)
        if mark is not None and mark.operation == hand.operation:
            return TurnVerdict.DONE, mark.version, mark
        check_not_behind(hand, row.version)
        if not row.holds(hand.epoch):
            return TurnVerdict.STALE_EPOCH, row.version, None
        if mark is not None and mark.kind is Kind.DONE:
            return TurnVerdict.DUPLICATE, row.version, mark
        if row.version != hand.version:
            return TurnVerdict.VERSION_CONFLICT, row.version, None
        if mark is None or mark.kind is not Kind.PENDING:
            return TurnVerdict.NOT_PENDING, row.version, None
        if row.deleted and changes:
            return TurnVerdict.DELETED, row.version, None
        return None, row.version, mark

    def _unfit(self, row: AgentRow, writes: Writes) -> TurnVerdict | None:
        """A verdict where the writes would pass a bound."""
        if writes.outgoing and row.unrelayed + len(writes.outgoing) > self.limits.outbox:
            return TurnVerdict.OUTBOX_FULL
        timers = set(row.timers)
        for change in writes.timers:
            if isinstance(change, SetTimer):
                timers.add(change.timer)
            else:
                timers.discard(change.timer)
        return TurnVerdict.TIMERS_FULL if writes.timers and len(timers) > self.limits.timers else None

    def _write(self, row: AgentRow, version: int, writes: Writes) -> None:
        row.version = version
        if writes.delete:
            row.deleted, row.state = True, None
        elif writes.state is not None:
            row.state, row.schema = writes.state, writes.schema
        for sent in writes.outgoing:
            self._last_sent += 1
            row.unrelayed += 1
            self._outbox(partition_of(row.id))[self._last_sent] = OutboxRow(
                id=OutboxId(str(self._last_sent)),
                agent=row.id,
                target=sent.target,
                command=sent.command,
                body=sent.body,
            )
        for change in writes.timers:
            if isinstance(change, SetTimer):
                row.timers[change.timer] = (change.due_ms, change.schedule)
            else:
                row.timers.pop(change.timer, None)

    def _remember_end(self, row: AgentRow, hand: Hand, ending: Ending) -> None:
        noted = row.noted.get(hand.command)
        self._remember(
            row,
            hand.command,
            ending,
            epoch=hand.epoch,
            failed=noted.attempts if noted is not None else 0,
            begun_ms=hand.begun_ms,
            about=kept_about(hand, self.limits),
        )

    def _set_aside(self, row: AgentRow, mark: Mark) -> Noted:
        """Takes a message out of the mailbox, and keeps it among what is noted of it."""
        message = row.mail.pop(mark.seq)
        noted = row.noted.setdefault(message.command, Noted())
        noted.body, noted.expires_ms = message.body, message.expires_ms
        return noted

    def _ended(
        self,
        row: AgentRow,
        verdict: TurnVerdict | None,
        version: int,
        mark: Mark | None,
        *,
        after: int,
        limit: int | None,
    ) -> TurnEnded:
        verdict = verdict or TurnVerdict.DONE
        count = bounded(limit or 0, self.limits.take_messages)
        done = verdict is TurnVerdict.DONE
        return TurnEnded(
            verdict=verdict,
            version=version,
            following=row.pending(after, count, self.limits.take_bytes) if done else (),
            stored=mark.stored if mark is not None and verdict is TurnVerdict.DUPLICATE else None,
        )


def _begin_again(known: Step, hand: Hand, step: StepKey) -> None:
    """Counts that one more incarnation has begun a step; epochs only grow, so the last one tells a repetition."""
    record = known.record
    if record.key == step and record.state is StepState.STARTED and hand.epoch > known.last_epoch:
        known.record, known.last_epoch = replace(record, attempts=record.attempts + 1), hand.epoch


def _known_step(known: Step, hand: Hand, step: StepKey) -> StepAnswer:
    if known.record.key != step:
        return StepAnswer(verdict=StepVerdict.DIVERGED, record=known.record)
    repeated = known.operation == hand.operation
    return StepAnswer(verdict=StepVerdict.RECORDED if repeated else StepVerdict.KNOWN, record=known.record)
