"""Stores what a durable agent has accepted, in its order: one batch is on its way, and what arrives meanwhile is next.

A sender is told that its message is taken when the journal has it. What the journal refuses for good goes back to who
waits for an answer; what a sender keeps, as in an outbox, keeps its place here and is tried again.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from regrow.actors.durable_body import body_of
from regrow.actors.durable_errors import NotStored
from regrow.actors.durable_outbox import Sent
from regrow.runtime.durability import AGAIN_FIRST_S, AGAIN_MAX_S
from regrow.runtime.envelope import Kind, mark_handled
from regrow.runtime.errors import Bug
from regrow.runtime.intake import Kept
from regrow.runtime.journal_answers import EnqueueVerdict
from regrow.runtime.journal_entries import Incoming
from regrow.runtime.journal_errors import JournalRefused
from regrow.runtime.journal_fit import batch_length, message_fits
from regrow.runtime.lifecycle import Fenced
from regrow.runtime.outcome import Outcome
from regrow.runtime.signals import failure_of
from regrow.runtime.tells import Settling

if TYPE_CHECKING:
    from regrow.actors.durable_entry import Entry
    from regrow.runtime.address import Incarnation
    from regrow.runtime.cell import Cell
    from regrow.runtime.durability import Durability
    from regrow.runtime.envelope import Envelope
    from regrow.runtime.errors import WorldBroke
    from regrow.runtime.journal_answers import Enqueued
    from regrow.runtime.journal_entries import Epoch

log = structlog.get_logger("regrow.durable")


class _NothingLeft(Exception):
    """Of a batch that could not be stored all have been let go."""


class Storing:
    """Brings the messages of one cell into the journal. `entries` are those that the cell knows."""

    def __init__(self, cell: Cell, durability: Durability, entries: dict[Envelope, Entry]) -> None:
        self._cell = cell
        self._durability = durability
        self._entries = entries
        self._batch: list[Entry] = []
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._has_left = False
        self._said = ""
        """The refusal that was logged since something was stored."""
        self.epoch: Epoch | None = None
        """The claim under which this process may store; None until there is one."""
        self.serving: Incarnation | None = None
        """The last life that has claimed the agent."""

    @property
    def is_busy(self) -> bool:
        """Whether a message is not stored yet."""
        return self._task is not None or bool(self._batch)

    def add(self, entry: Entry) -> None:
        """The next message."""
        self._batch.append(entry)
        self._arrived.set()
        self.go_on()

    def go_on(self) -> None:
        """Stores what waits, where there is a claim."""
        if self._task is None and self._batch and self.epoch is not None:
            self._task = self._cell.runtime.spawn_task(self._store_all())

    def dropped(self, entry: Entry) -> Kept:
        """No life of this process comes to the message; says what the journal has of it.

        Behind what is under way it waits for the end of that, so that all go back in their order.
        """
        if self._task is None and entry in self._batch:
            self._batch.remove(entry)
            if not entry.was_stored:
                return Kept.UNKNOWN if entry.unsure else Kept.NOT
        return Kept.STORED if entry.was_stored or entry.stored.done() else Kept.UNDER_WAY

    def leave(self) -> None:
        """The agent leaves this process. What is under way is heard of still."""
        self.epoch, self._has_left = None, True

    async def enqueue(self, batch: list[Entry], epoch: Epoch | None) -> tuple[Enqueued, ...]:
        """Sends messages to the journal once, the first ones, as many as it stores in one step; an answer for each.

        Raises JournalRefused, where none of them is stored, and JournalUnknown.
        """
        codec, journal = self._durability.codec, self._durability.journal
        messages = [
            Incoming(
                agent=self._cell.actor,
                command=entry.command,
                body=entry.body or body_of(codec, entry.envelope),
                expires_ms=self._durability.expires_ms(entry.envelope.deadline),
                epoch=epoch,
            )
            for entry in batch[: journal.limits.batch_messages]
        ]
        messages = messages[: batch_length(messages, journal.limits)]
        for entry, message in zip(batch, messages, strict=False):
            entry.sent = message_fits(message, journal.limits)
        return await journal.enqueue(messages)

    async def _store_all(self) -> None:
        try:
            while self._batch and self.epoch is not None:
                batch, self._batch = self._batch, []
                await self._store_batch(batch, self.epoch)
        finally:
            self._task = None
            if self._has_left:
                batch, self._batch = self._batch, []
                self._waits(batch)

    async def _store_batch(self, batch: list[Entry], epoch: Epoch) -> None:
        try:
            enqueued = await self._durability.surely(
                lambda: self.enqueue(batch, epoch), pause=partial(self._pause, batch)
            )
        except _NothingLeft:
            return
        except (JournalRefused, Bug) as refusal:
            await self._refused_for_good(batch, refusal)
            return
        self._said = ""
        again: list[Entry] = []
        for entry, answer in zip(batch, enqueued, strict=False):
            if answer.verdict in (EnqueueVerdict.FULL, EnqueueVerdict.STALE_EPOCH):
                again.append(entry)  # it is not stored, and its sender waits, as for any full mailbox
            else:
                self._stored(entry, answer)
        if waiting := [*again, *batch[len(enqueued) :]]:
            self._waits(waiting)
        if any(answer.verdict is EnqueueVerdict.STALE_EPOCH for answer in enqueued):
            self._fenced(epoch)
        elif again and not self._has_left:
            await asyncio.sleep(AGAIN_FIRST_S)

    async def _refused_for_good(self, batch: list[Entry], refusal: JournalRefused | Bug) -> None:
        """What somebody keeps as long as it is not taken stays in its place, or what comes later would overtake it.

        So does what may be stored: it may be done yet, and only the store can say.
        """
        kept = [entry for entry in batch if entry.may_be_stored or self._is_kept_by_its_sender(entry)]
        if str(refusal) != self._said:
            self._said = str(refusal)
            log.error(
                "messages are not accepted",
                agent=self._cell.actor,
                incarnation=self._cell.incarnation,
                messages=len(batch),
                reason=self._said,
            )
        for entry in batch:
            if entry not in kept:
                self._not_stored(entry, refusal)
        if kept:
            self._waits(kept)
            if not self._has_left:
                await asyncio.sleep(AGAIN_MAX_S)

    def _is_kept_by_its_sender(self, entry: Entry) -> bool:
        """An outbox here, what this process sends on, or a process elsewhere that was told that the message is held.

        All of them count on what follows.
        """
        envelope = entry.envelope
        if envelope.kind != Kind.TELL:
            return False
        is_sent_on = self._cell.runtime.custody.keeps(envelope)
        return is_sent_on or envelope.mark is not None or isinstance(envelope.on_settled, Sent)

    def _waits(self, entries: list[Entry]) -> None:
        """These are tried again, ahead of all that came later; where the agent has left, who sent them keeps them."""
        if not self._has_left:
            self._batch[:0] = entries
            return
        for entry in entries:
            # Who asked was answered when the agent left, and of what was stored nobody need hear.
            if entry.envelope.kind == Kind.TELL and not entry.was_stored:
                self._cell.runtime.custody.give_back(entry.envelope)

    async def _pause(self, batch: list[Entry], error: WorldBroke, pause_s: float) -> None:
        """Between two tries to store messages: what arrives joins them, and who asks hears why before the deadline.

        Nobody's message is tried by itself: it would overtake what waits ahead of it.
        """
        loop = self._cell.runtime.loop
        until = loop.time() + pause_s
        if not isinstance(error, JournalRefused):
            for entry in batch:
                entry.unsure |= entry.sent
            await asyncio.sleep(pause_s)
            return
        for entry in [each for each in batch if each.is_due(until)]:
            self._not_stored(entry, error)
            batch.remove(entry)
        while batch:
            self._arrived.clear()
            batch += self._batch
            self._batch = []
            if any(entry.is_due(until) for entry in batch):
                return  # it is tried once more for who has come now, and hears of that try
            try:
                async with asyncio.timeout_at(until):
                    await self._arrived.wait()
            except TimeoutError:
                return
        raise _NothingLeft

    def _fenced(self, epoch: Epoch) -> None:
        """Another has claimed the agent: what was not stored waits for a next life here, or for the end of the host."""
        if self.epoch == epoch:
            self.epoch = None
            if self.serving == self._cell.incarnation:  # else it is the next life here that claims it
                self._cell.end(Fenced())

    def _stored(self, entry: Entry, answer: Enqueued) -> None:
        entry.body, entry.was_stored = b"", True
        if not entry.stored.done():
            entry.stored.set_result(answer)
        mark_handled(entry.envelope)  # the journal has it: whoever sent it need not keep it
        self._cell.runtime.delivery.settle(entry.envelope, Outcome.TAKEN)

    def _not_stored(self, entry: Entry, refusal: WorldBroke | Bug) -> None:
        """The store has said no, so the message was not taken, and who waits is told why."""
        if self._has_left:
            self._waits([entry])
            return
        runtime, envelope = self._cell.runtime, entry.envelope
        told = NotStored(f"{self._cell.actor} has not taken {type(envelope.message).__name__}: {refusal}")
        self._entries.pop(envelope, None)
        if not self._cell.mailbox.discard(envelope):  # its turn has begun, and learns it where it waits for the store
            entry.stored.set_exception(told)
            entry.stored.exception()  # looked at, whether or not it comes to that
        if envelope.kind == Kind.ASK:
            mark_handled(envelope)
            runtime.fail(envelope, failure_of(told))
            return
        if isinstance(envelope.on_settled, Settling):
            envelope.on_settled.refusal = told
        runtime.delivery.settle_final(envelope, Outcome.REJECTED)
