"""What a durable agent has accepted, in this process: each message stored before its sender is told, then in order.

The journal's mailbox is the truth. The cell's mailbox holds the same messages in the same order, with who waits for
their replies, so that a turn need not read them. `durable_storing` brings them there.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from regrow.actors.arrival_order import ArrivalOrder
from regrow.actors.durable_attempts import Blame
from regrow.actors.durable_body import body_of, with_beside
from regrow.actors.durable_entry import Entry
from regrow.actors.durable_outbox import outbox_of
from regrow.actors.durable_storing import Storing
from regrow.actors.late_readers import takes_over
from regrow.actors.reminder import Tick
from regrow.runtime.durability import AGAIN_MAX_S
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import Bug
from regrow.runtime.intake import Kept
from regrow.runtime.journal_answers import Enqueued, EnqueueVerdict
from regrow.runtime.journal_entries import CommandId, Epoch, Owner, Pending
from regrow.runtime.journal_errors import JournalRefused
from regrow.runtime.message_spans import Attempt, attempt_span_id
from regrow.runtime.outcome import Outcome

if TYPE_CHECKING:
    from regrow.actors.durable_context import DurableContext
    from regrow.runtime.cell import Cell
    from regrow.runtime.durability import Durability

log = structlog.get_logger("regrow.durable")


class DurableIntake:
    """The Intake of a durable agent's cell."""

    def __init__(self, cell: Cell, durability: Durability, *, reads_only: Callable[[object], bool]) -> None:
        self._cell = cell
        self._reads_only = reads_only
        """Says of which messages nothing is stored."""
        self._durability = durability
        self._entries: dict[Envelope, Entry] = {}
        self._in_order = ArrivalOrder()
        self._measured: tuple[Envelope, bytes] | None = None
        """The last message that was found to fit."""
        self._storing = Storing(cell, durability, self._entries)
        self._parked: dict[CommandId, list[Envelope]] = {}
        """Who asked what waits in the journal, as long as their processes wait for it."""
        self.blame = Blame()
        self.outbox = outbox_of(cell, durability)
        self._served: Epoch | None = None
        self._releasing: asyncio.Task[None] | None = None
        self.is_loaded = False
        self.claiming: asyncio.Task[Any] | None = None
        """What waits until it has claimed the agent."""
        self._has_more = False
        self._looking: asyncio.Task[None] | None = None

    # ---- Intake --------------------------------------------------------------------------------

    def turned_away(self, envelope: Envelope) -> Outcome | None:
        """See Intake."""
        if envelope.kind == Kind.TELL and envelope.command_id:
            rejects = self._cell.mailbox.rejects
            if not self._in_order.takes(envelope, has_room=not rejects):
                # Its sender tries again, and by then there may be room, or the one in front of it may have come.
                return Outcome.REJECTED if rejects else Outcome.NOT_HERE
        body = body_of(self._durability.codec, envelope)
        self._measured = envelope, body
        return None if len(body) <= self._durability.journal.limits.message_bytes else Outcome.TOO_LARGE

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
            if envelope.window is not None and (first := self._first_of(command)) is not None:
                takes_over(self._cell, first, entry)
            self._entries[envelope] = entry
            self._storing.add(entry)
            runtime = self._cell.runtime
            if envelope.reply_host == runtime.host and (ask := runtime.asks.get(envelope.ask_id)) is not None:
                ask.has_left = True  # may be stored from now on, wherever it is looked for later
        return True

    def _first_of(self, command: CommandId) -> Entry | None:
        """The message under that id which runs, or will run first."""
        return next((entry for entry in self._entries.values() if entry.command == command), None)

    def keeps(self, envelope: Envelope) -> bool:
        """See Intake."""
        return not self._reads_only(envelope.message)

    def holds(self, envelope: Envelope) -> bool:
        """See Intake."""
        return envelope in self._entries

    def attempt(self, envelope: Envelope) -> Attempt:
        """See Intake. The ids are those of the life and the command, so that the next life knows them, anywhere."""
        entry = self._entries.get(envelope)
        if entry is None or self._served is None:
            return Attempt()
        before, entry.tried_by = entry.tried_by, self._served
        is_again = before is not None and (entry.tries or before != self._served)
        earlier = attempt_span_id(entry.command, before) if before is not None and is_again else 0
        entry.tries += 1
        return Attempt(
            # In one life again, as after a wait, it is another span all the same.
            span_id=0 if before == self._served else attempt_span_id(entry.command, self._served),
            earlier=earlier,
            number=max(entry.tries, entry.attempts + 1, 2 if earlier else 1),
        )

    def dropped(self, envelope: Envelope) -> Kept:
        """See Intake."""
        entry = self._entries.pop(envelope, None)
        return Kept.NOT if entry is None else self._storing.dropped(entry)

    def look(self) -> None:
        """See Intake. What is found there takes its place behind all that is here."""
        self._has_more = True
        self._keep_looking()

    def cut_claim(self) -> None:
        """See Intake."""
        if self.claiming is not None:
            self.claiming.cancel()

    def left(self) -> None:
        """See Intake. Where the whole process ends, whoever ends it makes its agents free."""
        waiting, self._parked = self._waiting(), {}
        for envelope in waiting if not self._cell.runtime.closed else ():
            self._cell.runtime.delivery.send_again(envelope)  # whoever has the agent now answers
        epoch = self._storing.epoch
        self._storing.leave()
        self.outbox.leave()
        if epoch is not None and not self._cell.runtime.closed:
            self._releasing = self._cell.runtime.spawn_task(self.release(epoch))

    async def give_back(self) -> None:
        """Makes the agent free for any process; from here on nothing is stored by this one."""
        epoch, self._storing.epoch = self._storing.epoch, None
        if epoch is not None:
            self._releasing = self._cell.runtime.spawn_task(self.release(epoch))
            await asyncio.shield(self._releasing)  # a kill ends this life's wait, and not what it waits for

    @property
    def is_busy(self) -> bool:
        """Whether a message is here that has no outcome, or the journal may have one, or somebody waits for a reply."""
        under_way = self._storing.is_busy or self._looking is not None
        return bool(self._entries) or under_way or self._has_more or bool(self._waiting())

    def _waiting(self) -> list[Envelope]:
        """Who asked what waits in the journal, and is still there."""
        return self._still_there(itertools.chain(*self._parked.values()))

    def _still_there(self, asks: Iterable[Envelope]) -> list[Envelope]:
        return [ask for ask in asks if ask.deadline is None or ask.deadline > self._cell.runtime.loop.time()]

    async def release(self, epoch: Epoch) -> None:
        """Gives the agent back, if that claim holds it; it has no other effect, so the next claim needs not wait."""
        journal, agent = self._durability.journal, self._cell.actor
        try:
            await self._durability.surely(lambda: journal.release(agent, epoch))
        except JournalRefused as refusal:
            log.warning("an agent was not given back; it is free when its host ends", agent=agent, reason=str(refusal))

    # ---- for the life that serves --------------------------------------------------------------

    def begins(self, ctx: DurableContext) -> Entry:
        """A turn begins; gives what is known of its message."""
        assert ctx.envelope is not None
        entry = self._entries[ctx.envelope]
        entry.ctx, ctx.late_reader = ctx, entry.reader
        return entry

    @property
    def seen_epoch(self) -> Epoch | None:
        """The last claim of the agent in this process; the store can have no lower one."""
        return self._served

    def serves(self, epoch: Epoch) -> None:
        """A life has claimed the agent: what waits is stored, and what an earlier life had begun is looked at again."""
        if self._served is None or epoch != self._served + 1:
            self.is_loaded = False  # another process has had the agent meanwhile, and may have left messages
        self._storing.epoch, self._storing.serving, self._served = epoch, self._cell.incarnation, epoch
        for entry in self._entries.values():
            if entry.begun and entry.stored.done():
                entry.stored, entry.unsure = self._cell.runtime.loop.create_future(), True
                self._storing.add(entry)
        self._storing.go_on()
        self._keep_looking()

    def load(self, pending: list[Pending], *, dead: Owner | None) -> None:
        """Puts what the journal had before in front of what has arrived since.

        `dead` is the claim of a process that died: it was at the first message, if at any.
        """
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
        if dead is not None and pending:
            for entry in self._entries.values():
                # Put back from quarantine, it may never have been in that process' hands; its last attempt is known.
                is_put_back = pending[0].failed_in is not None and not entry.attempts
                if entry.command == pending[0].command and not entry.tries and not is_put_back:
                    entry.tried_by, entry.tries = dead.epoch, 1
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
        enqueued = await self._durability.surely(lambda: self._storing.enqueue([entry], self._storing.epoch))
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
        if self._looking is None and self._has_more and self.is_loaded and self._storing.epoch is not None:
            self._looking = self._cell.runtime.spawn_task(self._look())

    async def _look(self) -> None:
        said = ""
        try:
            while self._has_more and self.is_loaded and (epoch := self._storing.epoch) is not None:
                self._has_more = False
                try:
                    pending = await self.pending(epoch)
                except (JournalRefused, Bug) as refusal:
                    self._has_more = True
                    if str(refusal) != said:
                        said = str(refusal)
                        log.error(
                            "an agent can not look into its mailbox",
                            agent=self._cell.actor,
                            incarnation=self._cell.incarnation,
                            reason=said,
                        )
                    await asyncio.sleep(AGAIN_MAX_S)  # nobody else looks, and one day the store is mended
                    continue
                if pending is None:
                    self._has_more = True
                    return
                self._add(pending)
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
            self._storing.add(entry)  # asked once more: its turn may have ended here since the journal was looked at
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
        if envelope.window is not None and not parked:  # who read then is on its way here, and opens another one
            envelope.window = None
            entry.reader = self._cell.runtime.loop.create_future() if message.begun is None else None
        if message.begun is None:  # else it has waited, and its asker's deadline is not its own any more
            envelope.deadline = self._durability.deadline(message.expires_ms)
        entry.begun = entry.was_stored = True
        entry.attempts = message.attempts
        entry.tried_by = self._served if message.begun is not None else message.failed_in
        entry.tick = beside if isinstance(beside, Tick) else None
        return entry
