"""Begins and ends the recorded calls of one turn in the journal, and reads what an earlier run has left of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from regrow.actors.durable_body import packed, unpacked, whose
from regrow.actors.durable_errors import FencedOut, ResultLost, ResultTooLarge, StateNotStorable, TurnDiverged
from regrow.actors.durable_wait import NO_ARGUMENTS
from regrow.actors.turn_history import Answered
from regrow.runtime.errors import Refused
from regrow.runtime.journal_answers import StepAnswer, StepVerdict
from regrow.runtime.journal_entries import CommandId, born_ms
from regrow.runtime.signals import Failure, failure_of

if TYPE_CHECKING:
    from regrow.actors.durable_turn import Turn
    from regrow.runtime.durability import Durability
    from regrow.runtime.journal_entries import StepKey, StepRecord


class RecordedSteps:
    """The steps of one turn. What breaks the turn for good is remembered by it, whatever its handler catches."""

    def __init__(self, durability: Durability, turn: Turn) -> None:
        self._durability = durability
        self._journal = durability.journal
        self._turn = turn

    async def begin(self, key: StepKey) -> None:
        """Records that a call begins. Raises TurnDiverged, FencedOut, StateNotStorable; Misuse when its turn has ended.

        In a turn that is being stopped no call begins: there it raises CancelledError.
        """
        await self._turn.wait_stored()
        await self._turn.running.wait_refused(key)
        hand = self._turn.hand(self._durability.operation())

        def send() -> Awaitable[StepAnswer]:
            self._turn.running.begins(key)
            return self._journal.start_step(hand, key)

        answer = await self._durability.surely(send)
        self._check(key, answer, b"")

    async def end(self, key: StepKey, value: object) -> None:
        """Records what a call has given. Raises InvalidMessage, ResultTooLarge, TurnDiverged, FencedOut."""
        content = packed(self._durability.codec, value)
        hand = self._turn.hand(self._durability.operation())
        answer = await self._durability.surely(lambda: self._journal.finish_step(hand, key, content))
        self._check(key, answer, content)
        if isinstance(value, Failure):
            self._turn.failed(key)

    async def taken(self, key: StepKey, call: Callable[[], Awaitable[object]]) -> object:
        """Makes a call and records it. Raises what it raises, which is not recorded; else as `begin` and `end`."""
        await self.begin(key)
        result = await call()
        await self.end(key, result)
        return result

    async def concluded(self, key: StepKey, call: Callable[[], Awaitable[object]]) -> object:
        """The same, where a refusal is an outcome like any other: it is recorded, and raised."""
        await self.begin(key)
        try:
            value = await call()
        except Refused as refusal:
            await self.end(key, failure_of(refusal))
            raise
        await self.end(key, value)
        return value

    async def outcome(self, record: StepRecord) -> object:
        """What `concluded` has recorded. Raises the refusal."""
        value = await self.value(record)
        if isinstance(value, Failure):
            raise value.exception(self._turn.agent)
        return value

    async def made(self, key: StepKey, value: object) -> None:
        """Records a call that has been made already, with what it gave."""
        await self.begin(key)
        await self.end(key, value)

    async def value(self, record: StepRecord) -> object:
        """What a record holds; None where a person has said that it was done. Raises ResultLost, CodeNotImportable."""
        content = record.result if record.blob is None else await self._blob(record)
        return unpacked(self._durability.codec, content) if content else None

    async def answer(self, record: StepRecord) -> object:
        """The answer that the record of a wait holds; the turn keeps for its history who gave it. Raises as `value`."""
        answer = await self.value(record)
        if record.result:
            self._turn.answered(record.key, Answered(by=whose(self._durability.codec, record.result), answer=answer))
        return answer

    async def recorded(self, key: StepKey) -> tuple[object] | None:
        """What an earlier run has recorded at this place, in a tuple; None where it did not come to an end."""
        record = self._turn.ended_record(key)
        if record is None:
            return None
        value = await self.value(record)
        if isinstance(value, Failure):
            self._turn.failed(key)
        return (value,)

    async def birth_ms(self, command: CommandId, ask: StepKey) -> int:
        """When the id of an ask is to say that it was made: with this turn's message, or today where that is old.

        A turn that has waited, or was set aside, may be run days after its message was sent, and its asks would be
        too old for those who are asked. The same in each run.
        """
        turn, name = self._turn, f"made:{command}"
        born, now = born_ms(turn.command), self._durability.now_ms()
        is_old = now - born > self._journal.limits.result_ttl_ms // 2
        if not turn.has_begun(name) and (not is_old or turn.has_begun(ask.name, ask.occurrence)):
            return born
        key, record = turn.next_step(name, NO_ARGUMENTS, idempotent=True)
        if record is None:
            await self.made(key, now)
            return now
        made = await self.value(record)
        assert isinstance(made, int)
        return made

    async def _blob(self, record: StepRecord) -> bytes:
        turn, blob = self._turn, record.blob
        assert blob is not None
        content = await self._durability.surely(lambda: self._journal.blob(turn.agent, turn.command, blob.digest))
        if content is not None and blob.fits(content):
            return content
        found = "is gone" if content is None else f"has {len(content):,} bytes that do not match its digest"
        raise turn.broke(
            ResultLost(
                f"the result of step {record.key.name!r} (number {record.key.occurrence + 1}) of {turn.agent}, of "
                f"{blob.size_bytes:,} bytes under {blob.digest}, {found}; the step is not run again by itself. Bring "
                "the store's data back and requeue the message, or drop it and send a new one"
            )
        )

    def _check(self, key: StepKey, answer: StepAnswer, content: bytes) -> None:
        turn, limits = self._turn, self._journal.limits
        named = f"step {key.name!r} (number {key.occurrence + 1}) of {turn.agent}"
        match answer.verdict:
            case StepVerdict.RECORDED | StepVerdict.KNOWN:
                turn.recorded(answer.record)
            case StepVerdict.DIVERGED | StepVerdict.NOT_STARTED:
                raise turn.broke(TurnDiverged(f"{named} has another record than this turn knows"))
            case StepVerdict.NOT_PENDING if turn.running.is_over:
                raise turn.running.too_late(key)
            case StepVerdict.STALE_EPOCH | StepVerdict.NOT_PENDING:
                raise FencedOut(f"another life of {turn.agent} has taken over while {key.name!r} ran")
            case StepVerdict.FULL:
                raise StateNotStorable(
                    f"{named} would be one record more than the {limits.steps:,} of a message; split the work into "
                    "messages"
                )
            case StepVerdict.TOO_LARGE:
                raise turn.broke(
                    ResultTooLarge(
                        f"{named} gave {len(content):,} bytes, and the limit for one result is {limits.blob_bytes:,} "
                        "(blob_bytes); keep it elsewhere and give back where it is. The step was done: requeue its "
                        "message with --assume done, or undone once it gives less"
                    )
                )
            case StepVerdict.BLOBS_FULL:
                raise turn.broke(
                    ResultTooLarge(
                        f"{named} gave {len(content):,} bytes, which with the large results before it pass the limit "
                        f"of {limits.blobs_bytes:,} for one message (blobs_bytes); keep them elsewhere and give back "
                        "where they are, or split the work into messages. The step was done: requeue its message with "
                        "--assume done, or undone once it gives less"
                    )
                )
