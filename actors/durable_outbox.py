"""Sends what committed turns have left, until each receiver's process has it: in order for each, and none for another.

What is to be done next is decided by `relay_order`; here it is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

import structlog

from regrow.actors.durable_body import envelope_of
from regrow.actors.relay_order import Confirm, ReadPage, RelayOrder, Rest
from regrow.runtime.durability import AGAIN_MAX_S
from regrow.runtime.errors import Bug
from regrow.runtime.journal_answers import TurnVerdict
from regrow.runtime.journal_entries import born_ms, partition_of
from regrow.runtime.journal_errors import JournalRefused
from regrow.runtime.outcome import Outcome
from regrow.runtime.tells import Settling

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId, Incarnation
    from regrow.runtime.cell import Cell
    from regrow.runtime.durability import Durability
    from regrow.runtime.envelope import Envelope
    from regrow.runtime.journal_answers import OutboxRow, TurnEnded
    from regrow.runtime.journal_entries import OutboxId

T = TypeVar("T")

log = structlog.get_logger("regrow.durable")

EMPTIED_WITHIN_S = 2.0
"""How long an agent that ends itself waits for its last messages to leave; those of stuck receivers stay stored."""
ROOM_FIRST_S = 0.01
ROOM_MAX_S = 1.0
ROOM_WITHIN_S = 600.0
"""Between two tries to end a turn for whose messages the outbox has no room, and how long it is tried."""


class Sent(Settling):
    """A row on its way. What became of it is told at once, so that nothing is sent behind a row that stays."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, envelope: Envelope, then: Callable[[Sent, Outcome], None]
    ) -> None:
        super().__init__(loop, envelope)
        self._then = then
        self.is_free = envelope.behind is None
        """It left behind no other row, so it comes back from nobody who is there."""

    def __call__(self, outcome: Outcome) -> None:
        """The envelope is settled."""
        super().__call__(outcome)
        self._then(self, outcome)


class DurableOutbox:
    """The messages of one agent that are committed and have not arrived. Use `outbox_of`.

    It stays with the cell from one life to the next, and from one cell to the next: what the one before has sent is
    still on its way, and a plain agent would have it twice if it were sent again. Between two lives nothing is sent.
    """

    def __init__(self, cell: Cell, durability: Durability) -> None:
        self._runtime = cell.runtime
        self._durability = durability
        self._agent = cell.actor
        self._cell = cell
        self._life: Incarnation | None = None
        self._order = RelayOrder(page=durability.journal.limits.page)
        self._on_way: dict[OutboxId, Envelope] = {}
        self._relaying: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self._has_left = False
        self._told_old: Incarnation | None = None
        """The life that has said that messages come too late."""

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way, or waits for its receiver."""
        return self._relaying is not None

    def moves_to(self, cell: Cell) -> None:
        """The agent is back in this process, under a new cell."""
        self._cell, self._has_left = cell, False

    def leave(self) -> None:
        """The cell is gone. What is on its way is heard of still, and then this is forgotten."""
        self._has_left = True
        if self._relaying is None:
            self._forget()

    def _forget(self) -> None:
        _here.get(self._durability, {}).pop(self._agent, None)

    def begin_life(self) -> None:
        """The life that runs now sends what is left to be sent."""
        self._life = self._cell.incarnation
        self._order.begin_life(self._runtime.loop.time())
        self._go_on()

    def relay(self) -> None:
        """There may be something to send."""
        self._order.more()
        self._go_on()

    async def emptied(self) -> None:
        """Waits a while until what was committed has left, for a life that ends by its own will."""
        if self._relaying is not None:
            await asyncio.wait((self._relaying,), timeout=EMPTIED_WITHIN_S)

    async def with_room(self, end_turn: Callable[[], Awaitable[TurnEnded]]) -> TurnEnded:
        """Ends a turn when there is room for what it sends, as a plain tell waits for room at its receiver.

        Not for ever: two agents may wait for each other. Then it ends as one for which there is no room.
        """
        until, pause_s, is_told = self._runtime.loop.time() + ROOM_WITHIN_S, ROOM_FIRST_S, False
        while (ended := await self._durability.surely(end_turn)).verdict is TurnVerdict.OUTBOX_FULL:
            if self._runtime.loop.time() > until:
                break
            if not is_told:
                is_told = True
                log.warning(
                    "a turn waits for room in its agent's outbox, since receivers take nothing",
                    agent=self._agent,
                    incarnation=self._life,
                )
            self._order.retry(self._runtime.loop.time())
            self.relay()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, ROOM_MAX_S)
        return ended

    @property
    def _lives(self) -> bool:
        return not self._cell.is_over and self._cell.incarnation == self._life

    def _go_on(self) -> None:
        self._heard.set()
        if self._relaying is None and not self._runtime.closed:
            self._relaying = self._runtime.spawn_task(self._relay())

    async def _relay(self) -> None:
        try:
            while (step := self._order.next(self._runtime.loop.time(), lives=self._lives)) is not None:
                match step:
                    case Confirm(ids):
                        await self._confirm(ids)
                    case ReadPage(after):
                        await self._send_page(after)
                    case Rest(until_s):
                        await self._rest(until_s)
        finally:
            self._relaying = None
            if self._has_left:
                self._forget()

    async def _confirm(self, ids: tuple[OutboxId, ...]) -> None:
        await self._served(lambda: self._durability.journal.relayed(self._agent, ids))
        self._order.confirmed(ids)

    async def _send_page(self, after: OutboxId | None) -> None:
        journal, partition, life = self._durability.journal, partition_of(self._agent), self._life
        page = await self._served(lambda: journal.outbox(partition, after=after))
        if not self._lives or self._life != life:
            return  # the next life begins with the first row
        self._tell_old(page)
        for row in page:  # its partition may hold rows of others too
            if row.agent == self._agent and self._order.takes(row.id, row.target):
                self._send(row)
        self._order.read(page)

    async def _served(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Does an operation of the journal, also one that is refused for good: nobody else sends what is left."""
        said = ""
        while True:
            try:
                return await self._durability.surely(operation)
            except (JournalRefused, Bug) as refusal:
                if str(refusal) != said:
                    said = str(refusal)
                    log.error(
                        "what an agent has sent waits in its outbox",
                        agent=self._agent,
                        incarnation=self._life,
                        reason=said,
                    )
            await asyncio.sleep(AGAIN_MAX_S)

    def _tell_old(self, page: Sequence[OutboxRow]) -> None:
        """Says once in a life that messages come too late; each of them is a dead letter where it arrives."""
        oldest = next((row for row in page if row.agent == self._agent), None)  # a page is in order
        if oldest is None or self._told_old == self._life:
            return
        waited_ms = self._durability.now_ms() - born_ms(oldest.command)
        if waited_ms > self._durability.journal.limits.result_ttl_ms:
            self._told_old = self._life
            log.warning(
                "messages have waited in the outbox for longer than ids are kept; durable agents refuse them as too "
                "old, since they may have run: see what they were to do, and send it anew",
                agent=self._agent,
                incarnation=self._life,
                receiver=oldest.target,
                waited_s=waited_ms // 1000,
            )

    async def _rest(self, until_s: float | None) -> None:
        self._heard.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until_s):
                await self._heard.wait()

    def _send(self, row: OutboxRow) -> None:
        envelope = envelope_of(self._durability.codec, row.body)
        envelope.command_id = row.command
        self._on_way[row.id] = envelope
        if self._runtime.delivery.keeps(envelope):  # a plain agent takes what comes, and keeps nothing waiting
            self._follows(row.id)
        Sent(self._runtime.loop, envelope, partial(self._settled, row.id, envelope))
        self._runtime.delivery.send(envelope)

    def _follows(self, id: OutboxId) -> None:
        """Says what a row must not overtake; one that is sent once more is told by then whether that has arrived."""
        ahead = self._order.behind(id)
        self._on_way[id].behind = None if ahead is None else self._on_way[ahead].command_id

    def _settled(self, id: OutboxId, envelope: Envelope, sent: Sent, outcome: Outcome) -> None:
        if self._runtime.closed:
            return  # what is given up now is still in the outbox, and the next life sends it
        del self._on_way[id]
        if outcome in (Outcome.NOT_HERE, Outcome.REJECTED) and self._runtime.delivery.keeps(envelope):
            rejects = outcome is Outcome.REJECTED  # the turn is over, and nobody hears of it who could do otherwise
            is_away = rejects or sent.is_free or sent.refusal is not None
            if self._order.stays(id, self._runtime.loop.time(), is_away=is_away):
                why = "its mailbox rejects it" if rejects else sent.refusal or "nobody has such an id"
                reason = f"{envelope.receiver} {'is full' if rejects else 'is not there'} ({why})"
                log.warning(
                    "messages to a durable agent wait in the outbox",
                    agent=self._agent,
                    incarnation=self._life,
                    reason=reason,
                )
        else:
            if outcome is not Outcome.TAKEN:
                self._runtime.delivery.dead(envelope, outcome)
            follower = self._order.has_arrived(id)
            if follower is not None:
                self._on_way[follower].behind = envelope.behind
        self._go_on()


_here: WeakKeyDictionary[Durability, dict[ActorId, DurableOutbox]] = WeakKeyDictionary()
"""The outboxes of each process, by agent: of those that have a cell, or something on its way."""


def outbox_of(cell: Cell, durability: Durability) -> DurableOutbox:
    """The outbox of an agent in this process: that of an earlier cell, where something of it is on its way."""
    outboxes = _here.setdefault(durability, {})
    outbox = outboxes.get(cell.actor)
    if outbox is None:
        outbox = outboxes[cell.actor] = DurableOutbox(cell, durability)
    else:
        outbox.moves_to(cell)
    return outbox
