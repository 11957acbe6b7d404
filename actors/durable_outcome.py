"""What a recorded outcome means for who asks, and what is said of one that could not be recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regrow.actors.durable_body import unpacked
from regrow.actors.durable_errors import InQuarantine, NotRunAgain
from regrow.runtime.errors import CodeNotImportable, Refused
from regrow.runtime.journal_answers import Enqueued, TurnVerdict
from regrow.runtime.journal_entries import JournalLimits, Outcome, StoredResult, Writes
from regrow.runtime.message import Message, Request
from regrow.runtime.signals import Failure

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId
    from regrow.runtime.codec import FrameCodec


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ends, and what its asker gets."""

    outcome: Outcome
    result: bytes
    writes: Writes
    reply: object = None
    refusal: Refused | None = None


class NotStored(Exception):
    """A turn ran ahead of its message, and the journal has another outcome of it."""

    def __init__(self, answer: Enqueued) -> None:
        super().__init__(answer.verdict)
        self.answer = answer


def stored_reply(codec: FrameCodec, actor: ActorId, message: Message, stored: StoredResult) -> object:
    """The reply that is stored for a message. Raises the refusal that is stored, or CodeNotImportable."""
    match stored.outcome:
        case Outcome.COMMITTED:
            value = unpacked(codec, stored.result)
            if not isinstance(message, Request):
                return value
            try:
                return message.reply().read(value)
            except ValueError as error:
                raise CodeNotImportable(f"the stored reply is no {message.reply()} any more ({error})") from error
        case Outcome.REFUSED:
            failure = unpacked(codec, stored.result)
            assert isinstance(failure, Failure)
            raise failure.exception(actor)
        case Outcome.EXPIRED:
            raise NotRunAgain(f"{type(message).__name__} had expired before {actor} came to it")
        case Outcome.QUARANTINED:
            raise InQuarantine(f"{type(message).__name__} was set aside by {actor} for a person to decide")


def too_large(actor: ActorId, limits: JournalLimits, verdict: TurnVerdict, writes: Writes, result: bytes) -> str:
    """What a turn has left that the journal does not take, and what it would."""
    if verdict is not TurnVerdict.TOO_LARGE:
        return (
            f"{actor}: {verdict.value} ({limits.outbox} messages may wait to be relayed, {limits.timers} reminders be "
            f"set and {limits.waits} turns wait); let some of them be over first, or split the work among agents"
        )
    return (
        f"{actor} left a state of {len(writes.state or b'')} bytes, a reply of {len(result)} and "
        f"messages of up to {max((len(each.body) for each in writes.outgoing), default=0)}; the journal takes "
        f"{limits.state_bytes}, {limits.result_bytes} and {limits.message_bytes}"
    )
