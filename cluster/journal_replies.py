"""Reads what the journal's scripts answer: lists of msgpack, text as bytes, `false` for none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regrow.runtime.address import ActorId
from regrow.runtime.blobs import BlobRef
from regrow.runtime.journal_answers import (
    Answered,
    AnswerVerdict,
    Due,
    DueTimer,
    Ending,
    Enqueued,
    EnqueueVerdict,
    Fired,
    FireVerdict,
    Note,
    OutboxRow,
    PastTurn,
    Quarantined,
    StepAnswer,
    StepVerdict,
    TurnEnded,
    TurnVerdict,
    Waiting,
)
from regrow.runtime.journal_entries import (
    CommandId,
    Epoch,
    HostEpoch,
    OutboxId,
    Outcome,
    Pending,
    Row,
    StepKey,
    StepRecord,
    StepState,
    StoredResult,
)


def row_of(fields: Sequence[Any]) -> Row:
    """An agent's row."""
    epoch, version, schema, state, host, deleted = fields
    return Row(
        epoch=Epoch(epoch),
        version=version,
        schema=schema,
        state=_given(state),
        host=None if host is False else HostEpoch(host),
        deleted=deleted,
    )


def enqueued(reply: Sequence[Any]) -> Enqueued:
    """The answer of `enqueue`."""
    verdict, seq, stored = reply
    return Enqueued(verdict=EnqueueVerdict(verdict.decode()), seq=_given(seq), stored=_stored(stored))


def pending(fields: Sequence[Any]) -> Pending:
    """A message in the mailbox."""
    seq, command, body, expires_ms, attempts, begun, failed_in = fields
    return Pending(
        seq=seq,
        command=CommandId(command.decode()),
        body=body,
        expires_ms=_given(expires_ms),
        attempts=attempts,
        begun=_given(begun),
        failed_in=_given(failed_in),
    )


def turn_ended(reply: Sequence[Any]) -> TurnEnded:
    """The answer of `commit`, `park` and `quarantine`."""
    verdict, version, following, stored = reply
    return TurnEnded(
        verdict=TurnVerdict(verdict.decode()),
        version=version,
        following=tuple(map(pending, following)),
        stored=_stored(stored),
    )


def step_answer(reply: Sequence[Any]) -> StepAnswer:
    """The answer of `start_step` and `finish_step`."""
    verdict, record = reply
    return StepAnswer(verdict=StepVerdict(verdict.decode()), record=None if record is False else _record(record))


def step_records(found: Sequence[Any]) -> tuple[StepRecord, ...]:
    """Records by name and occurrence."""
    return tuple(sorted(map(_record, found), key=lambda record: (record.key.name, record.key.occurrence)))


def answered(reply: Sequence[Any]) -> Answered:
    """The answer of `answer`."""
    verdict, seq = reply
    return Answered(verdict=AnswerVerdict(verdict.decode()), seq=_given(seq))


def fired(reply: Sequence[Any]) -> Fired:
    """The answer of `fire`."""
    verdict, seq = reply
    return Fired(verdict=FireVerdict(verdict.decode()), seq=_given(seq))


def index_entry(member: bytes) -> list[str]:
    """The parts of an entry in an index of a partition."""
    return member.decode().split("\0")


def waiting_row(fields: Sequence[Any]) -> Waiting:
    """A message that waits."""
    member, deadline_ms = fields
    agent, command, name, occurrence, digest = index_entry(member)
    return Waiting(
        agent=ActorId(agent),
        command=CommandId(command),
        wait=StepKey(name=name, occurrence=int(occurrence), digest=digest),
        deadline_ms=_given(deadline_ms),
    )


def due_rows(reply: Sequence[Any]) -> Due:
    """The answer of `due`."""
    now_ms, timers, waits, next_ms = reply
    found: list[DueTimer] = []
    for member, due_ms, schedule in timers:
        agent, timer = index_entry(member)
        found.append(DueTimer(agent=ActorId(agent), timer=timer, due_ms=due_ms, schedule=schedule))
    return Due(now_ms=now_ms, timers=tuple(found), waits=tuple(map(waiting_row, waits)), next_ms=_given(next_ms))


def outbox_row(fields: Sequence[Any]) -> OutboxRow:
    """A message that is not relayed."""
    id, agent, target, command, body = fields
    return OutboxRow(
        id=OutboxId(id.decode()),
        agent=ActorId(agent.decode()),
        target=ActorId(target.decode()),
        command=CommandId(command.decode()),
        body=body,
    )


def quarantined_message(agent: ActorId, command: CommandId, fields: Sequence[Any]) -> Quarantined:
    """A message in quarantine."""
    body, reason, at_ms, attempts, notes, records = fields
    return Quarantined(
        agent=agent,
        command=command,
        body=body,
        reason=reason,
        at_ms=at_ms,
        attempts=attempts,
        notes=tuple(Note(epoch=Epoch(epoch), text=text) for epoch, text in notes),
        steps=step_records(records),
    )


def past_turn(fields: Sequence[Any]) -> PastTurn:
    """An entry of an agent's history."""
    ended_ms, command, ending, epoch, failed, begun_ms, about, *by = fields  # the last is of people's decisions alone
    return PastTurn(
        command=CommandId(command.decode()),
        ending=Ending(ending.decode()),
        epoch=None if epoch is False else Epoch(epoch),
        failed=failed,
        begun_ms=_given(begun_ms),
        ended_ms=ended_ms,
        about=about or b"",
        by=by[0].decode() if by else "",
    )


def _given(value: Any) -> Any:
    return None if value is False else value


def _stored(fields: Any) -> StoredResult | None:
    if fields is False:
        return None
    outcome, version, result = fields
    return StoredResult(outcome=Outcome(outcome.decode()), version=version, result=result)


def _record(fields: Sequence[Any]) -> StepRecord:
    place, digest, epoch, state, _operation, result, attempts, _last_epoch, *blob = fields
    name, occurrence = place.decode().split("\0")
    return StepRecord(
        key=StepKey(name=name, occurrence=int(occurrence), digest=digest.decode()),
        epoch=Epoch(epoch),
        state=StepState(state.decode()),
        result=result,
        attempts=attempts,
        blob=_blob(*blob[0]) if blob else None,
    )


def _blob(digest: bytes, size_bytes: int) -> BlobRef:
    return BlobRef(digest=digest.decode(), size_bytes=size_bytes)
