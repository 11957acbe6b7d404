"""What a durable agent has accepted, in this process: each message stored before its sender is told, then in order.

The journal's mailbox is the truth. The cell's mailbox holds the same messages in the same order, with who waits for
their replies, so that a turn need not read them. One batch is on its way at a time: what arrives meanwhile is the next.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import structlog

from regrow.actors.durable_attempts import Blame
from regrow.actors.durable_body import body_of, with_beside
from regrow.actors.durable_entry import Entry
from regrow.actors.durable_errors import NotStored
from regrow.actors.durable_outbox import DurableOutbox
from regrow.actors.reminder import Tick
from regrow.runtime.durability import AGAIN_FIRST_S, Durability
from regrow.runtime.envelope import Envelope, Kind, mark_handled
from regrow.runtime.errors import Bug
from regrow.runtime.journal_answers import Enqueued, EnqueueVerdict
from regrow.runtime.journal_entries import CommandId, Epoch, Incoming, Pending
from regrow.runtime.journal_errors import JournalRefused, JournalUnknown
from regrow.runtime.journal_fit import message_fits
from regrow.runtime.lifecycle import Fenced
from regrow.runtime.outcome import Outcome
from regrow.runtime.signals import failure_of

if TYPE_CHECKING:
    from regrow.runtime.cell import Cell
    from regrow.runtime.errors import WorldBroke

log = structlog.get_logger("regrow.durable")


class _NothingLeft(Exception):
    """Of a batch that could not be stored all have been let go."""


class DurableIntake:
    """The Intake of a durable agent's cell."""

    def __init__(self, cell: Cell, durability: Durability, *, reads_only: Callable[[object], bool]) -> None:
        self._cell = cell
        self._reads_only = reads_only
        """Says of which messages nothing is stored."""
        self._durability = durability
        self._entries: dict[Envelope, Entry] = {}
        self._measured: tuple[Envelope, bytes] | None = None
        """The last message that was found to fit."""
        self._batch: list[Entry] = []
        self._arrived = asyncio.Event()
        self._parked: dict[CommandId, list[Envelope]] = {}
        """Who asked what waits in the journal, as long as their processes wait for it."""
        self._storing: asyncio.Task[None] | None = None
        self.blame = Blame()
        self.outbox = DurableOutbox(cell, durability)
        self.epoch: Epoch | None = None
        """The claim under which this process may store; None until there is one."""
        self._served: Epoch | None = None
        self._releasing: asyncio.Task[None] | None = None
        self._serving: int | None = None  # the last life that has claimed it
        self.is_loaded = self._has_more = False
        self._looking: asyncio.Task[None] | None = None

    # ---- Intake --------------------------------------------------------------------------------

    def fits(self, envelope: Envelope) -> bool:
        """See Intake."""
        body = body_of(self._durability.codec, envelope)
        self._measured = envelope, body
        return len(body) <= self._durability.journal.limits.message_bytes

    def entered(self, envelope: Envelope) -> bool:
        """See Intake."""
        if not self.keeps(envelope):
            return False
        if envelope not in self._entries:
            is_new = not envelope.command_id
            command = self._durability.command() if is_new else CommandId(str(envelope.command_id))
            envelope.command_id = command
            entry = Entry(envelope, command, self._cell.runtime.loop.create_future(), is_new=is_new)
            if self._measured is not None and self._measured[0] is envelope:
                entry.body = self._measured[1]
            self._measured = None
            self._entries[envelope] = entry
            self._store(entry)
        return True

    def keeps(self, envelope: Envelope) -> bool:
        """See Intake."""
        return not self._reads_only(envelope.message)

    def holds(self, envelope: Envelope) -> bool:
        """See Intake."""
        return envelope in self._entries

    def dropped(self, envelope: Envelope) -> bool:
        """See Intake."""
        entry = self._entries.pop(envelope, None)
        return entry is not None and entry.stored.done()

    def look(self) -> None:
        """See Intake. What is found there takes its place behind all that is here."""
        self._has_more = True
        self._keep_looking()

    def left(self) -> None:
        """See Intake. Where the whole process ends, whoever ends it makes its agents free."""
        waiting, self._parked = self._waiting(), {}
        for envelope in waiting if not self._cell.runtime.closed else ():
            self._cell.runtime.delivery.send_again(envelope)  # whoever has the agent now answers
        if self.epoch is not None and not self._cell.runtime.closed:
            self._releasing = self._cell.runtime.spawn_task(self._release(self.epoch))
            self.epoch = None

    async def give_back(self) -> None:
        """Makes the agent free for any process; from here on nothing is stored by this one."""
        epoch, self.epoch = self.epoch, None
        if epoch is not None:
            self._releasing = self._cell.runtime.spawn_task(self._release(epoch))
            await asyncio.shield(self._releasing)  # a kill ends this life's wait, and not what it waits for

    @property
    def is_busy(self) -> bool:
        """Whether a message is here that has no outcome, or the journal may have one, or somebody waits for a reply."""
        return any((self._entries, self._batch, self._storing, self._looking, self._has_more, self._waiting()))

    def _waiting(self) -> list[Envelope]:
        """Who asked what waits in the journal, and is still there."""
        return self._still_there(itertools.chain(*self._parked.values()))

    def _still_there(self, asks: Iterable[Envelope]) -> list[Envelope]:
        return [ask for ask in asks if ask.deadline is None or ask.deadline > self._cell.runtime.loop.time()]

    async def _release(self, epoch: Epoch) -> None:
        journal, agent = self._durability.journal, self._cell.actor
        try:
            await self._durability.surely(lambda: journal.release(agent, epoch))
        except JournalRefused as refusal:
            log.warning("an agent was not given back; it is free when its host ends", agent=agent, reason=str(refusal))

    # ---- for the life that serves --------------------------------------------------------------

    def entry(self, envelope: Envelope) -> Entry:
        """What is known of a message in the mailbox."""
        return self._entries[envelope]

    @property
    def seen_epoch(self) -> Epoch | None:
        """The last claim of the agent in this process; the store can have no lower one."""
        return self._served

    def serves(self, epoch: Epoch) -> None:
        """A life has claimed the agent: what waits is stored, and what an earlier life had begun is looked at again."""
        if self._served is None or epoch != self._served + 1:
            self.is_loaded = False  # another process has had the agent meanwhile, and may have left messages
        self.epoch, self._served, self._serving = epoch, epoch, self._cell.incarnation
        for entry in self._entries.values():
            if entry.begun and entry.stored.done():
                entry.stored, entry.unsure = self._cell.runtime.loop.create_future(), True
                self._batch.append(entry)
        self._keep_storing()
        self._keep_looking()

    def load(self, pending: list[Pending]) -> None:
        """Puts what the journal had before in front of what has arrived since."""
        known = {entry.command for entry in self._entries.values()}
        loaded: list[Envelope] = []
        others: list[Envelope] = []
        for message in pending:
            if message.command not in known:
                entry = self._found(message, others)
                entry.stored.set_result(Enqueued(verdict=EnqueueVerdict.ACCEPTED, seq=message.seq))
                loaded.append(entry.envelope)
        for envelope in reversed(loaded):
            self._cell.mailbox.put_back(envelope)
        self._enter(others)
        self.is_loaded = True
        self._keep_looking()

    def ended(self, envelope: Envelope) -> None:
        """The outcome of a message is recorded."""
        self._entries.pop(envelope, None)

    def parks(self, entry: Entry) -> None:
        """The journal has set the message aside until somebody answers what its turn waits for."""
        self._entries.pop(entry.envelope, None)
        if entry.envelope.kind == Kind.ASK:  # one that asks again and again leaves no more than its last ask
            self._parked[entry.command] = [*self._still_there(self._parked.get(entry.command, ())), entry.envelope]

    async def look_again(self, entry: Entry) -> Enqueued:
        """What the journal says of a message by now. Raises JournalRefused."""
        enqueued = await self._durability.surely(lambda: self._enqueue([entry], self.epoch))
        return enqueued[0]

    async def pending(self, epoch: Epoch) -> list[Pending] | None:
        """All that the journal's mailbox has; None where that life holds the agent no more."""
        journal, agent = self._durability.journal, self._cell.actor
        found: list[Pending] = []
        while True:
            after = found[-1].seq if found else 0
            taken = await self._durability.surely(partial(journal.take, agent, epoch, after=after))
            self._durability.heard_ms(taken.now_ms)
            if not taken.messages:
                return found if taken.messages is not None else None
            found += taken.messages

    # ---- what came by another way --------------------------------------------------------------

    def _keep_looking(self) -> None:
        # Before the first load that one will find it; without a claim the next one looks.
        if self._looking is None and self._has_more and self.is_loaded and self.epoch is not None:
            self._looking = self._cell.runtime.spawn_task(self._look())

    async def _look(self) -> None:
        try:
            while self._has_more and self.epoch is not None:
                self._has_more = False
                pending = await self.pending(self.epoch)
                if pending is None:
                    self._has_more = True
                    return
                self._add(pending)
        except JournalRefused as refusal:
            self._has_more = True
            log.error("an agent could not look into its mailbox; its next life does", reason=str(refusal))
        finally:
            self._looking = None

    def _add(self, pending: list[Pending]) -> None:
        known = {entry.command for entry in self._entries.values()}
        for message in pending:
            if message.command in known:
                continue
            others: list[Envelope] = []
            entry = self._found(message, others)
            self._cell.mailbox.put(entry.envelope)
            self._store(entry)  # asked once more: its turn may have ended here since the journal was looked at
            self._enter(others)
        self._cell.wake()

    def _enter(self, others: list[Envelope]) -> None:
        """More who asked under one id: behind the one that runs, they get its stored result."""
        for envelope in others:
            self._cell.mailbox.put(envelope)
            self.entered(envelope)

    def _found(self, message: Pending, others: list[Envelope]) -> Entry:
        """An entry for what the journal has; a turn of it may have run before. Adds who else has asked for it."""
        envelope, beside = with_beside(self._durability.codec, message.body)
        parked = self._parked.pop(message.command, [])
        if parked:
            envelope, *more = parked
            others += more
        envelope.command_id = message.command
        entry = self._entries[envelope] = Entry(envelope, message.command, self._cell.runtime.loop.create_future())
        if message.begun is None:  # else it has waited, and its asker's deadline is not its own any more
            envelope.deadline = self._durability.deadline(message.expires_ms)
        entry.begun = True
        entry.attempts = message.attempts
        entry.tick = beside if isinstance(beside, Tick) else None
        return entry

    # ---- storing -------------------------------------------------------------------------------

    def _store(self, entry: Entry) -> None:
        self._batch.append(entry)
        self._arrived.set()
        self._keep_storing()

    def _keep_storing(self) -> None:
        if self._storing is None and self._batch and self.epoch is not None:
            self._storing = self._cell.runtime.spawn_task(self._store_all())

    async def _store_all(self) -> None:
        try:
            while self._batch and self.epoch is not None:
                batch, self._batch = self._batch, []
                await self._store_batch(batch, self.epoch)
        finally:
            self._storing = None

    async def _store_batch(self, batch: list[Entry], epoch: Epoch) -> None:
        try:
            enqueued = await self._durability.surely(
                lambda: self._enqueue(batch, epoch), pause=partial(self._pause, batch, epoch)
            )
        except _NothingLeft:
            return
        except (JournalRefused, Bug) as refusal:
            for entry in batch:
                self._not_stored(entry, refusal)
            return
        again: list[Entry] = []
        for entry, answer in zip(batch, enqueued, strict=True):
            if answer.verdict in (EnqueueVerdict.FULL, EnqueueVerdict.STALE_EPOCH):
                again.append(entry)  # it is not stored, and its sender waits, as for any full mailbox
            else:
                self._stored(entry, answer)
        if again:
            self._batch[:0] = again
        if any(answer.verdict is EnqueueVerdict.STALE_EPOCH for answer in enqueued):
            self._fenced(epoch)
        elif again:
            await asyncio.sleep(AGAIN_FIRST_S)

    async def _pause(self, batch: list[Entry], epoch: Epoch, error: WorldBroke, pause_s: float) -> None:
        """Between two tries to store messages: what arrives joins them, and who asks hears why before the deadline."""
        loop = self._cell.runtime.loop
        until = loop.time() + pause_s
        if not isinstance(error, JournalRefused):
            for entry in batch:
                entry.unsure = True
            await asyncio.sleep(pause_s)
            return
        while True:
            self._arrived.clear()
            batch += self._batch
            self._batch = []
            for entry in [each for each in batch if each.is_due(until)]:
                if await self._let_go(entry, epoch):
                    batch.remove(entry)
            if not batch:
                raise _NothingLeft
            try:
                async with asyncio.timeout_at(until):
                    await self._arrived.wait()
            except TimeoutError:
                return

    async def _let_go(self, entry: Entry, epoch: Epoch) -> bool:
        """Whether nothing more is to be tried for a message: it is stored, or certainly not and its asker knows.

        It is asked for alone: a refusal of a batch does not say which of its messages it is about.
        """
        if entry.unsure or (entry.begun and not entry.is_new):
            return False
        try:
            (answer,) = await self._enqueue([entry], epoch)
        except JournalRefused as refusal:
            self._not_stored(entry, refusal)
            return True
        except JournalUnknown:
            entry.unsure = True
            return False
        if answer.verdict in (EnqueueVerdict.FULL, EnqueueVerdict.STALE_EPOCH):
            return False
        self._stored(entry, answer)
        return True

    def _fenced(self, epoch: Epoch) -> None:
        """Another has claimed the agent: what was not stored waits for a next life here, or for the end of the host."""
        if self.epoch == epoch:
            self.epoch = None
            if self._serving == self._cell.incarnation:  # else it is the next life here that claims it
                self._cell.end(Fenced())

    async def _enqueue(self, batch: list[Entry], epoch: Epoch | None) -> tuple[Enqueued, ...]:
        codec = self._durability.codec
        messages = [
            Incoming(
                agent=self._cell.actor,
                command=entry.command,
                body=entry.body or body_of(codec, entry.envelope),
                expires_ms=self._durability.expires_ms(entry.envelope.deadline),
                epoch=epoch,
            )
            for entry in batch
        ]
        for entry, message in zip(batch, messages, strict=True):
            entry.sent = message_fits(message, self._durability.journal.limits)
        return await self._durability.journal.enqueue(messages)

    def _stored(self, entry: Entry, answer: Enqueued) -> None:
        entry.body = b""
        if not entry.stored.done():
            entry.stored.set_result(answer)
        mark_handled(entry.envelope)  # the journal has it: whoever sent it need not keep it
        self._cell.runtime.delivery.settle(entry.envelope, Outcome.TAKEN)

    def _not_stored(self, entry: Entry, refusal: WorldBroke | Bug) -> None:
        """The store has said no, so the message was not taken, and who asks is told why."""
        runtime, envelope = self._cell.runtime, entry.envelope
        told = NotStored(f"{self._cell.actor} has not taken {type(envelope.message).__name__}: {refusal}")
        log.error("a message was not accepted", agent=self._cell.actor, reason=str(refusal))
        self._entries.pop(envelope, None)
        if not self._cell.mailbox.discard(envelope):  # its turn has begun, and learns it where it waits for the store
            entry.stored.set_exception(told)
            entry.stored.exception()  # looked at, whether or not it comes to that
        if envelope.kind == Kind.ASK:
            mark_handled(envelope)
            runtime.fail(envelope, failure_of(told))
        else:
            runtime.delivery.settle(envelope, Outcome.REJECTED)
