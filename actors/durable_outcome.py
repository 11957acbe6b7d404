"""What a recorded outcome means for who asks, and what is said of one that could not be recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regrow.actors.durable_body import unpacked
from regrow.actors.durable_errors import InQuarantine, NotRunAgain, ReplyNotReadable, TurnOverruled
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


def stored_reply(codec: FrameCodec, actor: ActorId, message: Message, stored: StoredResult) -> object:
    """The reply that is stored for a message. Raises the refusal that is stored, or ReplyNotReadable."""
    name = type(message).__name__
    match stored.outcome:
        case Outcome.COMMITTED | Outcome.REFUSED:
            try:
                value = unpacked(codec, stored.result)
                if isinstance(message, Request) and stored.outcome is Outcome.COMMITTED:
                    value = message.reply().read(value)
            except (CodeNotImportable, ValueError) as error:
                what = str(message.reply()) if isinstance(message, Request) else "outcome"
                raise ReplyNotReadable(
                    f"{name} was done once, and is not done again; the reply of {actor} that is stored is no {what} "
                    f"any more ({error}): run the code that wrote it, or send {name} under a new id"
                ) from error
            if stored.outcome is Outcome.COMMITTED:
                return value
            assert isinstance(value, Failure)
            raise value.exception(actor)
        case Outcome.EXPIRED:
            raise expired(actor, message)
        case Outcome.QUARANTINED:
            raise InQuarantine(f"{name} was set aside by {actor} for a person to decide")


def expired(actor: ActorId, message: Message) -> NotRunAgain:
    """What is said of a message whose deadline has passed."""
    return NotRunAgain(f"the deadline of {type(message).__name__} had passed before {actor} came to it")


def not_run(actor: ActorId, entry: Entry, verdict: EnqueueVerdict, limits: JournalLimits) -> NotRunAgain:
    """What is said of a message that the journal has not taken."""
    match verdict:
        case EnqueueVerdict.TOO_OLD | EnqueueVerdict.AHEAD:
            text = f"the id {entry.command} is too old, or of another clock, so whether it ran is not known"
        case EnqueueVerdict.TOO_LARGE:
            name = type(entry.envelope.message).__name__
            text = f"{name} takes more than the {limits.message_bytes} bytes that are stored"
        case EnqueueVerdict.DELETED:
            text = f"{actor} was deleted"
        case _:
            raise Bug(f"a message that is {verdict} is waited for")
    return NotRunAgain(text)


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
