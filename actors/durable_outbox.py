"""Sends what committed turns have left, in order, until each receiver's process has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog

from regrow.actors.durable_body import envelope_of
from regrow.runtime.journal_answers import TurnVerdict
from regrow.runtime.journal_entries import OutboxId, partition_of
from regrow.runtime.outcome import Outcome
from regrow.runtime.tells import Settling

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId
    from regrow.runtime.durability import Durability
    from regrow.runtime.envelope import Envelope
    from regrow.runtime.journal_answers import OutboxRow, TurnEnded
    from regrow.runtime.runtime import Runtime

log = structlog.get_logger("regrow.durable")

LOOK_S = 60.0
"""How long one message may be on its way before that is looked at again."""
AGAIN_FIRST_S = 1.0
AGAIN_MAX_S = 60.0
"""Between two tries to reach a durable agent that is not there or can not be started: what is for it waits."""

ROOM_FIRST_S = 0.01
ROOM_MAX_S = 1.0
ROOM_WITHIN_S = 600.0
"""Between two tries to end a turn for whose messages the outbox has no room, and how long it is tried."""


class DurableOutbox:
    """The messages of one agent that are committed and have not arrived. It ends with the life that has made it."""

    def __init__(self, runtime: Runtime, durability: Durability, agent: ActorId) -> None:
        self._runtime = runtime
        self._durability = durability
        self._agent = agent
        self._cell = runtime.cells[agent]
        self._life = self._cell.incarnation
        self._relaying: asyncio.Task[None] | None = None
        self._again = False
        self._wanted = asyncio.Event()
        self._pause_s = AGAIN_FIRST_S

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way, or waits for its receiver."""
        return self._relaying is not None

    def relay(self) -> None:
        """There may be something to send."""
        self._again = True
        self._wanted.set()
        if self._relaying is None:
            self._relaying = self._runtime.spawn_task(self._relay_all())

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
                    "a turn waits for room in its agent's outbox, since receivers take nothing", agent=self._agent
                )
            self.relay()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, ROOM_MAX_S)
        return ended

    async def _relay_all(self) -> None:
        try:
            while self._again:
                self._again = False
                while self._lives and (rows := await self._rows()):
                    await self._relay(rows)
        finally:
            self._relaying = None

    @property
    def _lives(self) -> bool:
        return not self._cell.is_over and self._cell.incarnation == self._life

    async def _rows(self) -> list[OutboxRow]:
        """The oldest rows of this agent; its partition may hold those of others too."""
        journal = self._durability.journal
        after: OutboxId | None = None
        partition = partition_of(self._agent)
        while True:
            page = await self._durability.surely(partial(journal.outbox, partition, after=after))
            own = [row for row in page if row.agent == self._agent]
            if own or not page:
                return own
            after = page[-1].id

    async def _relay(self, rows: list[OutboxRow]) -> None:
        sent: list[tuple[OutboxId, Envelope, Settling]] = []
        for row in rows:
            envelope = envelope_of(self._durability.codec, row.body)
            envelope.command_id = row.command
            settling = Settling(self._runtime.loop, envelope)
            self._runtime.delivery.send(envelope)
            sent.append((row.id, envelope, settling))
        done: list[OutboxId] = []
        stays = ""
        for id, envelope, settling in sent:
            while (outcome := await settling.within(LOOK_S)) is None:
                pass
            if outcome is Outcome.NOT_HERE and self._runtime.delivery.keeps(envelope):
                stays = f"{envelope.receiver} is not there ({settling.refusal or 'nobody has such an id'})"
                continue
            if outcome is not Outcome.TAKEN:
                self._runtime.delivery.dead(envelope, outcome)
            done.append(id)
        if done:
            await self._durability.surely(lambda: self._durability.journal.relayed(self._agent, done))
        if stays:
            log.warning("messages to a durable agent wait in the outbox", agent=self._agent, reason=stays)
            self._wanted.clear()
            with suppress(TimeoutError):  # what comes for others meanwhile does not wait
                await asyncio.wait_for(self._wanted.wait(), self._pause_s)
        self._pause_s = min(2 * self._pause_s, AGAIN_MAX_S) if stays else AGAIN_FIRST_S
