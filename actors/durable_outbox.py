"""Sends what committed turns have left, in order, until each receiver's process has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
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
        self._ways: dict[ActorId, asyncio.Task[None]] = {}
        """What is on its way, by receiver; one that does not take it waits there alone."""
        self._pauses_s: dict[ActorId, float] = {}
        self._wanted = asyncio.Event()

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way, or waits for its receiver."""
        return self._relaying is not None

    def relay(self) -> None:
        """There may be something to send."""
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
                log.warning("a turn waits for room in its outbox, since receivers take nothing", agent=self._agent)
            self.relay()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, ROOM_MAX_S)
        return ended

    async def _relay_all(self) -> None:
        """Each receiver has a way of its own, so that one which takes nothing holds up nobody else."""
        try:
            while self._lives:
                self._wanted.clear()
                for receiver, rows in (await self._rows()).items():
                    self._ways[receiver] = self._runtime.spawn_task(self._relay(receiver, rows))
                if not self._ways and not self._wanted.is_set():
                    return
                await self._wanted.wait()
        finally:
            self._relaying = None

    @property
    def _lives(self) -> bool:
        return not self._cell.is_over and self._cell.incarnation == self._life

    async def _rows(self) -> dict[ActorId, list[OutboxRow]]:
        """The oldest rows of this agent for each receiver to which none is on its way, as many as one page holds."""
        journal, partition = self._durability.journal, partition_of(self._agent)
        found: dict[ActorId, list[OutboxRow]] = {}
        after: OutboxId | None = None
        while not found:
            page = await self._durability.surely(partial(journal.outbox, partition, after=after))
            if not page:
                break
            for row in page:  # its partition may hold those of others too
                if row.agent == self._agent and row.target not in self._ways:
                    found.setdefault(row.target, []).append(row)
            after = page[-1].id
        return found

    async def _relay(self, receiver: ActorId, rows: list[OutboxRow]) -> None:
        try:
            stays = await self._sent(rows)
            if stays:
                log.warning("messages to a durable agent wait in the outbox", agent=self._agent, reason=stays)
                pause_s = self._pauses_s.get(receiver, AGAIN_FIRST_S)
                self._pauses_s[receiver] = min(2 * pause_s, AGAIN_MAX_S)
                await asyncio.sleep(pause_s)
            else:
                self._pauses_s.pop(receiver, None)
        finally:
            del self._ways[receiver]
            self._wanted.set()

    async def _sent(self, rows: list[OutboxRow]) -> str:
        """Sends messages to one receiver, and takes those that have arrived out of the outbox; why others stay."""
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
        return stays
