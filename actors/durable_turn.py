"""What one turn of a durable agent has done so far: which steps it took, and what leaves with its commit.

Pure: it decides what a recorded step means, and the context does it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from regrow.actors.durable_errors import ResultLost, ResultTooLarge, StateOutdated, TurnDiverged, UnknownOutcome
from regrow.actors.durable_wait import WAIT_MARK, Parking, scoped
from regrow.actors.turn_history import Answered, Occasion, PastStep, packed_about, past_steps
from regrow.runtime.address import ActorId
from regrow.runtime.command_ids import uuid7
from regrow.runtime.journal_answers import Enqueued
from regrow.runtime.journal_entries import (
    CancelTimer,
    CommandId,
    Epoch,
    Hand,
    OperationId,
    Outgoing,
    SetTimer,
    StepKey,
    StepRecord,
    StepState,
    born_ms,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from regrow.actors.running_steps import RunningSteps

Broken: TypeAlias = TurnDiverged | UnknownOutcome | ResultTooLarge | ResultLost
"""What makes that a turn can not be finished; its message goes into quarantine."""


CHILD_NUMBER_BYTES = 6
"""For the number of a child without a name; no two of one agent are ever likely to have the same."""


class Turn:
    """One run of a handler for one message. `records` are those of earlier runs."""

    def __init__(
        self,
        agent: ActorId,
        command: CommandId,
        epoch: Epoch,
        version: int,
        records: Iterable[StepRecord] = (),
        *,
        occasion: Occasion,
    ) -> None:
        self.agent = agent
        self.command = command
        self.epoch = epoch
        self.version = version
        self.occasion = occasion
        self.broken: Broken | None = None
        """Why this message goes into quarantine, whatever the handler makes of it."""
        self.outgoing: list[Outgoing] = []
        self.timers: dict[str, SetTimer | CancelTimer] = {}
        """The last change of each reminder."""
        self.stored: asyncio.Future[Enqueued] | None = None
        """Of a turn that runs ahead: the journal's word on its message, behind which its commit will come."""
        self.parking: Parking | None = None
        """Where this turn has come to a wait that is not over."""
        self.running: RunningSteps
        """Set by the life that runs this turn."""
        self._records = {(record.key.name, record.key.occurrence): record for record in records}
        self._taken: dict[tuple[str, int], StepRecord] = {}
        """The steps that this run has come to, in their order."""
        self._failed: set[tuple[str, int]] = set()
        self._answers: dict[tuple[str, int], Answered] = {}
        self._waits_ahead = sum(name.startswith(WAIT_MARK) for name, _ in self._records)
        self.has_waited = self._waits_ahead > 0
        """Whether it is run again after a wait."""
        self._occurrences: Counter[str] = Counter()
        self._left_states: list[tuple[BaseModel, str]] = []

    def hand(self, operation: OperationId) -> Hand:
        """The message in this incarnation's hand, for one call of the journal."""
        return Hand(agent=self.agent, epoch=self.epoch, version=self.version, command=self.command, operation=operation)

    def ending(self, operation: OperationId) -> Hand:
        """The same for the call that ends this turn, with what its history says."""
        steps: list[PastStep] = []
        if self._records or self._taken:
            left = {place: record for place, record in self._records.items() if place not in self._taken}
            steps = past_steps({**self._taken, **left}, self._failed, self._answers)
        return Hand(
            agent=self.agent,
            epoch=self.epoch,
            version=self.version,
            command=self.command,
            operation=operation,
            begun_ms=self.occasion.begun_ms,
            about=packed_about(self.occasion, steps),
        )

    async def wait_stored(self) -> None:
        """Waits until its message is stored: before that nothing is done that can not be taken back."""
        if self.stored is not None:
            await asyncio.shield(self.stored)

    def recorded(self, record: StepRecord | None) -> None:
        """What the journal has of a step, now that it was begun or finished."""
        assert record is not None, "the journal gives the record of a step that it has"
        self._taken[record.key.name, record.key.occurrence] = record

    @property
    def records_at_least(self) -> int:
        """How many records its message has by now, of this run and of earlier ones."""
        return len(self._records.keys() | self._taken.keys())

    def record(self, name: str, occurrence: int) -> StepRecord | None:
        """What an earlier run has recorded at this place."""
        return self._records.get((name, occurrence))

    def recorded_as(self, key: StepKey, state: StepState) -> None:
        """This run knows how a step stands, which the history tells; the journal is not asked to keep it."""
        known = self._taken.get((key.name, key.occurrence)) or self._records[key.name, key.occurrence]
        self.recorded(replace(known, state=state))

    def failed(self, key: StepKey) -> None:
        """The record of this attempt is that of a failure."""
        self._failed.add((key.name, key.occurrence))

    def answered(self, key: StepKey, answered: Answered) -> None:
        """What has answered this wait."""
        self._answers[key.name, key.occurrence] = answered

    def next_step(self, name: str, digest: str, *, idempotent: bool) -> tuple[StepKey, StepRecord | None]:
        """The place of the next step of that name, and its record where it need not run.

        Raises TurnDiverged and UnknownOutcome, and remembers them.
        """
        name = scoped(name)
        key = StepKey(name=name, occurrence=self._occurrences[name], digest=digest)
        self._occurrences[name] += 1
        record = self._records.get((key.name, key.occurrence))
        if record is None:
            return key, None
        self.recorded(record)
        if record.key.digest != digest:
            raise self.broke(
                TurnDiverged(
                    f"{self.agent} took step {name!r} (number {key.occurrence + 1} of that name) with other arguments "
                    "than the first time; what decides them must come from the message, the state or another step"
                )
            )
        if record.state is StepState.ASSUMED and idempotent:
            return key, None  # the word of a person was on another call, which must not be made twice as this one may
        if record.state is not StepState.STARTED:
            return key, record
        if not idempotent:
            raise self.broke(
                UnknownOutcome(
                    f"step {name!r} of {self.agent} was begun by an earlier life, and whether it was done is not "
                    "known; look, and then requeue its message with --assume done or undone"
                )
            )
        return key, None

    def passes_wait(self, state: BaseModel) -> None:
        """A wait is over. What was sent and set before it left when it began, and the `state` of before is no more."""
        self._waits_ahead -= 1
        self._left_states.append((state, state.model_dump_json()))
        self.outgoing.clear()
        self.timers.clear()

    def check_left_states(self) -> None:
        """Raises StateOutdated where the handler has changed a state of before a wait: that would be lost unseen."""
        if any(state.model_dump_json() != left for state, left in self._left_states):
            raise StateOutdated(
                f"{self.agent} changed a state that it had read before its wait, as `self.state.n += await "
                "ctx.wait_for(…)` does; take the answer first, and then use `self.state`, which is another one by then"
            )

    def check_waits(self) -> None:
        """Raises TurnDiverged, and remembers it, where the handler has ended before a wait that it came to before."""
        if self._waits_ahead:
            raise self.broke(
                TurnDiverged(
                    f"{self.agent} has waited in this turn before, and now ended without coming to that wait; what "
                    "decides whether it waits must come from the message, the state or a step"
                )
            )

    def ended_record(self, key: StepKey) -> StepRecord | None:
        """What an earlier run has recorded at this place, where it came to an end."""
        record = self._records.get((key.name, key.occurrence))
        if record is None:
            return None
        self.recorded(record)
        return None if record.state in (StepState.STARTED, StepState.ASSUMED) else record

    def broke(self, error: Broken) -> Broken:
        """This turn can not be finished; the first reason stays."""
        if self.broken is None:
            self.broken = error
        return self.broken

    def tell(self, target: ActorId, command: CommandId, body: bytes) -> None:
        """A message that leaves with the commit."""
        self.outgoing.append(Outgoing(target=target, command=command, body=body))

    def derived(self, what: str, *, made_ms: int | None = None) -> CommandId:
        """The id of a command that this turn causes: the same each time that the turn is run.

        It says that it was made with this turn's message, or at `made_ms`.
        """
        what = scoped(what)
        number = self._next(what)
        noise = hashlib.blake2b(f"{self.command}\0{what}\0{number}".encode(), digest_size=10).digest()
        return uuid7(born_ms(self.command) if made_ms is None else made_ms, int.from_bytes(noise))

    def has_begun(self, name: str, occurrence: int = 0) -> bool:
        """Whether an earlier run of this turn has begun that step."""
        return (scoped(name), occurrence) in self._records

    def random(self) -> random.Random:
        """A source of chance that gives the same each time that the turn is run."""
        what = scoped("random")
        return random.Random(f"{self.command}\0{what.removesuffix('random')}{self._next(what)}")

    def next_spawn(self, name: str | None) -> int:
        """How many children of that name this run of the turn has spawned before; None are those without a name."""
        return self._next(f"spawn:{name}" if name is not None else "spawn")

    def child_number(self, number: int) -> str:
        """The name of a child that is given none: the same each time that the turn is run, as a step may have it."""
        noise = hashlib.blake2b(f"{self.command}\0spawn\0{number}".encode(), digest_size=CHILD_NUMBER_BYTES).digest()
        return str(int.from_bytes(noise))

    def _next(self, what: str) -> int:
        number = self._occurrences[f"\0{what}"]
        self._occurrences[f"\0{what}"] += 1
        return number
