"""What a recorded outcome means for who asks, and what is said of one that could not be recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regrow.actors.durable_body import unpacked
from regrow.actors.durable_errors import InQuarantine, NotRunAgain, TurnOverruled
from regrow.runtime.errors import Bug, CodeNotImportable, Refused
from regrow.runtime.journal_answers import Enqueued, EnqueueVerdict, TurnVerdict
from regrow.runtime.journal_entries import CommandId, JournalLimits, Outcome, StoredResult, Writes
from regrow.runtime.message import Message, Request
from regrow.runtime.signals import Failure

if TYPE_CHECKING:
    from regrow.actors.durable_context import DurableContext
    from regrow.actors.durable_entry import Entry
    from regrow.runtime.address import ActorId
    from regrow.runtime.codec import FrameCodec


FENCING = frozenset({TurnVerdict.STALE_EPOCH, TurnVerdict.VERSION_CONFLICT})
"""What the journal says to a life that holds its agent no more."""


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a turn ends, and what its asker gets."""

    outcome: Outcome
    result: bytes
    writes: Writes
    reply: object = None
    refusal: Refused | None = None


class OutcomeKnown(Exception):
    """A turn ran ahead of its message, and the journal has another outcome of it."""

    def __init__(self, answer: Enqueued) -> None:
        super().__init__(answer.verdict)
        self.answer = answer


def is_over(ctx: DurableContext) -> bool:
    """Whether nobody waits for the reply any more."""
    deadline = ctx.deadline
    return deadline is not None and deadline <= 0


def overruled(actor: ActorId, command: CommandId, verdict: TurnVerdict) -> TurnOverruled:
    """What ends a life that holds its agent, and whose turn the journal does not let end."""
    match verdict:
        case TurnVerdict.DUPLICATE:
            what = "has another outcome of it already"
        case TurnVerdict.DELETED:
            what = "has the agent as deleted"
        case _:
            what = f"has it in the mailbox no more ({verdict})"
    return TurnOverruled(
        f"the turn of message {command} of {actor} is over, and the journal {what}, though no other life has the "
        "agent; nothing of this turn was committed, and the next life goes by what the journal has"
    )


def not_run(actor: ActorId, entry: Entry, verdict: EnqueueVerdict, limits: JournalLimits) -> str:
    """Why a message that the journal did not take is not run at all."""
    match verdict:
        case EnqueueVerdict.TOO_OLD | EnqueueVerdict.AHEAD:
            return f"the id {entry.command} is too old, or of another clock, so whether it ran is not known"
        case EnqueueVerdict.TOO_LARGE:
            name = type(entry.envelope.message).__name__
            return f"{name} takes more than the {limits.message_bytes} bytes that are stored"
        case EnqueueVerdict.DELETED:
            return f"{actor} was deleted"
        case _:
            raise Bug(f"a message that is {verdict} is waited for")


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


def too_many(actor: ActorId, limits: JournalLimits, verdict: TurnVerdict) -> str:
    """What a turn would leave more of than the journal holds for one agent, and what to do."""
    match verdict:
        case TurnVerdict.OUTBOX_FULL:
            what, limit, next_step = "messages that wait to be relayed", limits.outbox, "outbox"
            mend = "its receivers take nothing; see whether they run, or whether two agents wait for each other"
        case TurnVerdict.TIMERS_FULL:
            what, limit, next_step = "reminders", limits.timers, "timers"
            mend = "forget some with ctx.forget_reminder, or split the work among agents"
        case _:
            what, limit, next_step = "messages that wait for an answer", limits.waits, "waits"
            mend = "answer some (`regrow waits`), or split the work among agents"
    return f"{actor} would have more than {limit:,} {what} ({next_step}); {mend}"


def too_large(limits: JournalLimits, writes: Writes, result: bytes) -> str:
    """Which part of what a turn has left passes its limit, with its size, and what to do."""
    largest = max(writes.outgoing, key=lambda sent: len(sent.body), default=None)
    if len(writes.state or b"") > limits.state_bytes:
        return (
            f"its turn left a state of {len(writes.state or b''):,} bytes, and the limit is {limits.state_bytes:,} "
            "(state_bytes), so the one of before stays; keep less in the state, or split it among keyed agents"
        )
    if len(result) > limits.result_bytes:
        return (
            f"its reply takes {len(result):,} bytes, and the limit is {limits.result_bytes:,} (result_bytes); reply "
            "with less, or keep the rest elsewhere and reply where it is"
        )
    if largest is not None and len(largest.body) > limits.message_bytes:
        return (
            f"its message to {largest.target} takes {len(largest.body):,} bytes, and the limit is "
            f"{limits.message_bytes:,} (message_bytes); send less"
        )
    return f"its reminder takes more than the {limits.message_bytes:,} bytes of a message (message_bytes); send less"
