"""One message of a durable agent, in the hands of its process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from regrow.actors.reminder import Tick
from regrow.runtime.envelope import Envelope
from regrow.runtime.journal_answers import Enqueued
from regrow.runtime.journal_entries import CommandId, Epoch

if TYPE_CHECKING:
    from regrow.actors.durable_context import DurableContext

NAMED_BEFORE_S = 0.25
"""So long before its deadline an ask that could not be stored is answered with the reason, so that this arrives."""


class Entry:
    """One message in the hands of this process. `begun` says that a turn of it may have run before."""

    __slots__ = (
        "attempts",
        "begun",
        "body",
        "command",
        "ctx",
        "envelope",
        "is_new",
        "reader",
        "sent",
        "stored",
        "tick",
        "tried_by",
        "tries",
        "unsure",
        "was_stored",
    )

    def __init__(
        self, envelope: Envelope, command: CommandId, stored: asyncio.Future[Enqueued], *, is_new: bool = False
    ) -> None:
        self.envelope = envelope
        self.command = command
        self.stored = stored
        self.begun = False
        self.is_new = is_new
        """Its id was made here, so nobody can have handled it before."""
        self.sent = False
        """It is on its way to the journal, and what this process sends there now comes behind it."""
        self.unsure = False
        """A try to store it was cut, so it may be stored whatever is said of the next one."""
        self.was_stored = False
        """The journal has said that it has it, and whoever sent it was told."""
        self.body = b""
        """As it is stored, until it is."""
        self.attempts = 0
        """How many have failed, as far as this process knows."""
        self.tick: Tick | None = None
        self.reader: asyncio.Future[None] | None = None
        """Done when somebody is here again who reads the answer; None unless a process died that somebody read from."""
        self.ctx: DurableContext | None = None
        """The last turn that has begun for it."""
        self.tried_by: Epoch | None = None
        """The life that has begun its last turn, as far as this process knows."""
        self.tries = 0

    @property
    def may_run_ahead(self) -> bool:
        """Whether its turn need not wait until it is stored: the commit comes behind it, and does nothing without."""
        return self.is_new and self.sent and not self.begun and not self.stored.done()

    @property
    def may_be_stored(self) -> bool:
        """Whether the journal may have it, whatever is said of the next try: nobody hears that it was not taken."""
        return self.unsure or (self.begun and not self.is_new)

    def is_due(self, until: float) -> bool:
        """Whether who asked must hear by that time of the loop that nothing is stored, and that is certain."""
        deadline = self.envelope.deadline
        return deadline is not None and deadline - NAMED_BEFORE_S <= until and not self.may_be_stored
