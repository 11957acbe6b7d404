"""Fires the reminders of one durable agent, and ends its waits, when their time has come by the store's clock.

The journal is the truth: each life looks there when it starts, so what was due while nobody ran fires then. Between two
looks there is nothing but a timer of the event loop.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from regrow.actors.reminder import Tick, command_of, plan_of, ticked
from regrow.actors.schedule import following
from regrow.runtime.errors import Bug, CodeNotImportable, Misuse
from regrow.runtime.journal_answers import AnswerVerdict, Due, DueTimer, FireVerdict, Waiting
from regrow.runtime.journal_entries import Epoch, Incoming, partition_of
from regrow.runtime.journal_errors import JournalRefused

if TYPE_CHECKING:
    from regrow.actors.durable_intake import DurableIntake
    from regrow.runtime.cell import Cell
    from regrow.runtime.durability import Durability

log = structlog.get_logger("regrow.durable")

LOOK_AGAIN_S = 60.0
"""How long is waited at most where something is to come: this machine's clock or the store's may be set meanwhile."""
NO_ROOM_S = 1.0
"""How long is waited where the mailbox was full, or the page that was read holds others' alone."""
REFUSED_S = 5.0
"""How long is waited where the journal refuses."""


class DurableTimers:
    """The reminders of one life of an agent, and the limits of its waits."""

    def __init__(self, cell: Cell, durability: Durability, intake: DurableIntake, epoch: Epoch) -> None:
        self._cell = cell
        self._durability = durability
        self._intake = intake
        self._epoch = epoch
        self._life = cell.incarnation
        self._again = False
        self._looking: asyncio.Task[None] | None = None
        self.handle: asyncio.TimerHandle | None = None
        """The timer of the next look."""

    def look(self) -> None:
        """Something may be due."""
        self._again = True
        if self._looking is None and self._lives:
            self._looking = self._cell.runtime.spawn_task(self._look_all())

    def is_set(self, due_ms: int) -> None:
        """A turn has left something that is due then."""
        self._look_in((due_ms - self._durability.now_ms()) / 1000)

    @property
    def is_busy(self) -> bool:
        """Whether it looks for what is due, or brings it."""
        return self._looking is not None

    @property
    def _lives(self) -> bool:
        return not self._cell.is_over and self._cell.incarnation == self._life

    def _look_in(self, delay_s: float) -> None:
        """Looks then at the latest. The cell takes its timers along when its life ends."""
        if not self._lives:
            return
        loop, delay_s = self._cell.runtime.loop, max(0.0, min(delay_s, LOOK_AGAIN_S))
        if self.handle is not None:
            if self.handle.when() <= loop.time() + delay_s:
                return
            self.handle.cancel()
            self._cell.timers.discard(self.handle)
        self.handle = loop.call_later(delay_s, self._rung)
        self._cell.timers.add(self.handle)

    def _rung(self) -> None:
        if self.handle is not None:
            self._cell.timers.discard(self.handle)
            self.handle = None
        self.look()

    async def _look_all(self) -> None:
        try:
            while self._again and self._lives:
                self._again = False
                await self._look()
        except (JournalRefused, Bug) as refusal:
            log.error(
                "reminders wait, since the journal refuses",
                agent=self._cell.actor,
                incarnation=self._life,
                reason=str(refusal),
            )
            self._look_in(REFUSED_S)
        finally:
            self._looking = None

    async def _look(self) -> None:
        journal, agent = self._durability.journal, self._cell.actor
        due = await self._durability.surely(partial(journal.due, partition_of(agent)))
        self._durability.heard_ms(due.now_ms)
        fired = [await self._fire(timer, due.now_ms) for timer in due.timers if timer.agent == agent]
        over = [await self._end_wait(wait) for wait in due.waits if wait.agent == agent]
        if FireVerdict.FIRED in fired or AnswerVerdict.RESUMED in over:
            self._intake.look()
        if FireVerdict.FULL in fired or self._is_crowded(due):
            self._look_in(NO_ROOM_S)
        elif due.next_ms is not None:
            self._look_in((due.next_ms - due.now_ms) / 1000)

    def _is_crowded(self, due: Due) -> bool:
        return max(len(due.timers), len(due.waits)) >= self._durability.journal.limits.page

    async def _end_wait(self, wait: Waiting) -> AnswerVerdict:
        """Nobody has answered in time."""
        answered = await self._durability.surely(
            partial(
                self._durability.journal.answer,
                wait.agent,
                wait.command,
                wait.wait,
                body=None,
                operation=self._durability.operation(),
                epoch=self._epoch,
            )
        )
        return answered.verdict

    async def _fire(self, timer: DueTimer, now_ms: int) -> FireVerdict | None:
        """Puts the message of one time into the mailbox, and sets the next time."""
        durable, agent = self._durability, self._cell.actor
        try:
            plan = plan_of(timer.schedule)
            next_ms, missed = following(plan.schedule, timer.due_ms, now_ms)
        except (CodeNotImportable, Misuse) as error:
            log.error(
                "a reminder can not be read here",
                agent=agent,
                incarnation=self._life,
                reminder=timer.timer,
                reason=str(error),
            )
            return None
        tick = Tick(name=timer.timer, due_ms=timer.due_ms, missed=missed)
        message = Incoming(
            agent=agent,
            command=command_of(agent, tick, plan.set_by),
            body=ticked(durable.codec, plan, tick),
            epoch=self._epoch,
        )
        fired = await durable.surely(
            partial(durable.journal.fire, timer.timer, message, due_ms=timer.due_ms, next_due_ms=next_ms)
        )
        if fired.verdict is FireVerdict.TOO_LARGE:
            log.error(
                "a reminder's message passes the limit of the journal",
                agent=agent,
                incarnation=self._life,
                reminder=timer.timer,
            )
        if next_ms is not None:
            self.is_set(next_ms)
        return fired.verdict
