"""When a durable agent that starts on demand has had nothing to do for long enough to end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from regrow.actors.durable_home import durability_of
from regrow.runtime.passivation import Idle, tell_supervisor

if TYPE_CHECKING:
    from regrow.actors.durable_intake import DurableIntake
    from regrow.actors.durable_outbox import DurableOutbox
    from regrow.actors.durable_timers import DurableTimers
    from regrow.runtime.cell import Cell

LOOKS = 4
"""So often in its idle time a life looks whether it has been used since; it ends later by one of them at most."""

YOUNG_S = 1.0
"""How long a life is not ended to make room for another, so that what has started it finds it."""


class Idleness:
    """Tells the supervisor of one life when it may end. Costs its messages nothing: it counts which were taken."""

    def __init__(self, cell: Cell, intake: DurableIntake, outbox: DurableOutbox, timers: DurableTimers) -> None:
        self._cell = cell
        self._intake = intake
        self._outbox = outbox
        self._timers = timers
        self._durability = durability_of(cell)
        self._idle_s = cell.request.idle_s
        self._taken = cell.mailbox.taken
        self._looks = 0
        self._began_s = cell.runtime.loop.time()
        self._handle: asyncio.TimerHandle | None = None
        if self._idle_s is not None:
            self._look_in(self._idle_s / LOOKS)

    def may_end(self, *, early: bool) -> bool:
        """Whether nothing is under way, here or in the journal, and nothing waits for this life or is awaited by it.

        Not while the journal does not serve: it could not be given back there within the time for its end.

        `early`: where its place is wanted, one whose messages are still to be relayed ends as well, or those for whom
        they are might never find room; one that has just begun does not.
        """
        cell = self._cell
        has_mail = len(cell.mailbox) or cell.mailbox.system or cell.in_turn or self._intake.is_busy
        # What ends with a life unseen, other than reminders: ticks of `ctx.after`, monitors, what it has spawned.
        awaits = cell.bonds.watching or cell.timers - {self._handle, self._timers.handle} or cell.children
        if has_mail or awaits or len(cell.open_slots) or self._timers.is_busy or not self._durability.is_served:
            return False
        return cell.runtime.loop.time() >= self._began_s + YOUNG_S if early else not self._outbox.is_busy

    def _look_in(self, delay_s: float) -> None:
        self._handle = self._cell.runtime.loop.call_later(delay_s, self._look, delay_s)
        self._cell.timers.add(self._handle)  # which ends with this life

    def _look(self, delay_s: float) -> None:
        cell = self._cell
        if self._handle is not None:
            cell.timers.discard(self._handle)
        if cell.mailbox.taken != self._taken:
            self._taken, self._looks = cell.mailbox.taken, 0
        elif self.may_end(early=False):  # else neither counted nor begun anew: it may just look at its reminders
            self._looks += 1
        if self._looks >= LOOKS:
            self._looks = 0  # should it come to nothing, it is told again after the same time
            tell_supervisor(cell, Idle(actor=cell.actor, incarnation=cell.incarnation))
        self._look_in(delay_s)
