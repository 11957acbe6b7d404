"""Sends what committed turns have left, in order, until each receiver's process has it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from regrow.actors.durable_body import envelope_of
from regrow.runtime.journal_entries import OutboxId, partition_of
from regrow.runtime.tells import Settling

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId
    from regrow.runtime.durability import Durability
    from regrow.runtime.journal_answers import OutboxRow
    from regrow.runtime.runtime import Runtime

LOOK_S = 60.0
"""How long one message may be on its way before that is looked at again."""


class DurableOutbox:
    """The messages of one agent that are committed and have not arrived."""

    def __init__(self, runtime: Runtime, durability: Durability, agent: ActorId) -> None:
        self._runtime = runtime
        self._durability = durability
        self._agent = agent
        self._relaying: asyncio.Task[None] | None = None
        self._again = False

    def relay(self) -> None:
        """There may be something to send."""
        self._again = True
        if self._relaying is None:
            self._relaying = self._runtime.spawn_task(self._relay_all())

    async def _relay_all(self) -> None:
        try:
            while self._again:
                self._again = False
                while rows := await self._rows():
                    await self._relay(rows)
        finally:
            self._relaying = None

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
        sent: list[tuple[OutboxId, Settling]] = []
        for row in rows:
            envelope = envelope_of(self._durability.codec, row.body)
            envelope.command_id = row.command
            settling = Settling(self._runtime.loop, envelope)
            self._runtime.delivery.send(envelope)
            sent.append((row.id, settling))
        for _, settling in sent:
            while await settling.within(LOOK_S) is None:
                pass
        ids = [id for id, _ in sent]
        await self._durability.surely(lambda: self._durability.journal.relayed(self._agent, ids))
