"""What a message does that answers a wait: it chooses one, says so in the journal, and then answers that one alone.

The choice is a record of the answering turn, made before the answer: a life that ends between the answer and its
own commit leaves a message that is handled again, also hours later, and then must not answer another wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from regrow.actors.durable_body import packed
from regrow.actors.durable_errors import FencedOut, UnknownOutcome
from regrow.actors.durable_wait import answered_by
from regrow.actors.recorded_steps import RecordedSteps
from regrow.runtime.journal_answers import AnswerVerdict
from regrow.runtime.journal_entries import CommandId, OperationId, StepKey, StepState, partition_of

if TYPE_CHECKING:
    from regrow.actors.durable_turn import Turn
    from regrow.runtime.durability import Durability
    from regrow.runtime.envelope import Envelope, Origin
    from regrow.runtime.journal_answers import Waiting

ANSWER_STEP = "~answer"
"""The name of the record; no step of an author has a `~`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One wait of the answering message's agent, and which try of the turn to answer any it is."""

    command: CommandId
    wait: StepKey
    number: int

    @property
    def key(self) -> StepKey:
        """The record of it. It holds the choice in place of a digest, since nothing else of it would be kept."""
        kept = f"{self.command} {self.wait.occurrence} {self.wait.digest}"
        return StepKey(name=ANSWER_STEP, occurrence=self.number, digest=kept)

    @classmethod
    def read(cls, key: StepKey, name: str) -> Choice:
        """What `key` has kept, of a wait of that name."""
        command, occurrence, digest = key.digest.split(" ", 2)
        wait = StepKey(name=name, occurrence=int(occurrence), digest=digest)
        return cls(CommandId(command), wait, key.occurrence)


def has_chosen(turn: Turn) -> bool:
    """Whether an earlier run of this turn was about to answer a wait; then it goes on with that."""
    return turn.has_begun(ANSWER_STEP)


def sent_by(origin: Origin) -> str:
    """Who answers with a message of this origin: the agent that has sent it, else on whose behalf it comes."""
    return origin.sender.actor if origin.sender is not None else origin.principal


async def answers_wait(durability: Durability, turn: Turn, envelope: Envelope) -> bool:
    """Gives this message to the oldest of its agent's waits for its class; False where there is none.

    However often the turn is run again, it answers one wait at most. It is broken (UnknownOutcome) where the message
    of the wait that was chosen has ended, and with whose answer can not be seen. Raises FencedOut.
    """
    message: Any = envelope.message
    name, body = answered_by(message), packed(durability.codec, message, by=sent_by(envelope.origin))
    number = 0
    while True:
        record = turn.record(ANSWER_STEP, number)
        if record is not None:
            choice = Choice.read(record.key, name)
        else:
            oldest = await _oldest_wait(durability, turn, name)
            if oldest is None:
                return False
            choice = Choice(oldest.command, oldest.wait, number)
            await RecordedSteps(durability, turn).begin(choice.key)
        is_assumed = record is not None and record.state is StepState.ASSUMED
        if is_assumed or await _has_answered(durability, turn, choice, body):
            turn.recorded_as(choice.key, StepState.DONE)
            return True
        if turn.broken is not None:
            return False
        number += 1  # somebody else was first, so this message has done nothing yet


async def _has_answered(durability: Durability, turn: Turn, choice: Choice, body: bytes) -> bool:
    """Whether the chosen wait has this answer; False where it certainly has another."""
    answer = partial(
        durability.journal.answer,
        turn.agent,
        choice.command,
        choice.wait,
        body=body,
        # One for all choices of this message: a repetition is told what became of the one that was done.
        operation=OperationId(turn.command),
        epoch=turn.epoch,
    )
    verdict = (await durability.surely(answer)).verdict
    if verdict is AnswerVerdict.RESUMED:
        return True
    if verdict is AnswerVerdict.STALE_EPOCH:
        raise FencedOut(f"another life of {turn.agent} has taken over")
    # The journal forgets operations after some minutes, so what it has of the wait itself tells.
    records = await durability.surely(lambda: durability.journal.steps(turn.agent, choice.command))
    place = choice.wait.name, choice.wait.occurrence
    record = next((each for each in records if (each.key.name, each.key.occurrence) == place), None)
    if record is None:
        turn.broke(
            UnknownOutcome(
                f"an earlier life was about to answer {turn.agent}@{choice.command} with this message, which has ended "
                "since, and whether with this answer is not known; look (`regrow history`), and then requeue with "
                "--assume done, or undone to answer the oldest wait that there is"
            )
        )
        return False
    return record.state is StepState.DONE and record.result == body


async def _oldest_wait(durability: Durability, turn: Turn, name: str) -> Waiting | None:
    """The open wait of the agent under this name whose message is the oldest."""
    found: list[Waiting] = []
    offset, partition = 0, partition_of(turn.agent)
    while page := await durability.surely(partial(durability.journal.waiting, partition, offset=offset)):
        found += [wait for wait in page if wait.agent == turn.agent and wait.wait.name == name]
        offset += len(page)
    return min(found, key=lambda each: each.command, default=None)
