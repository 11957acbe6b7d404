"""Decides which rows of an agent's outbox may be sent now: each receiver's in their order, and none for the other.

Pure: it is told what the journal has and what became of what was sent, and says what is to be done next. One doer
asks it, `DurableOutbox`, and does one thing after the other: so a page is never older than the last confirmation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId
    from regrow.runtime.journal_answers import OutboxRow
    from regrow.runtime.journal_entries import OutboxId

SENT_ROWS = 500
"""How many rows of one agent may be on their receiver, beside one for each receiver."""
RECEIVER_ROWS = 100
"""How many of them to one receiver; what waits behind them is read again when half of them have arrived."""
AGAIN_FIRST_S = 1.0
AGAIN_MAX_S = 60.0
"""Between two tries to reach a durable agent that is not there or can not be started: what is for it waits."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """These rows have arrived, or can not arrive any more: they leave the outbox."""

    ids: tuple[OutboxId, ...]


@dataclass(frozen=True, slots=True)
class ReadPage:
    """There may be rows to send behind this one, or from the first row on."""

    after: OutboxId | None


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing is to be done until something is heard, or until then."""

    until_s: float | None


Next: TypeAlias = Confirm | ReadPage | Rest


@dataclass(slots=True)
class Receiver:
    """Where one receiver stands. Rows that it has left behind are sent before any that come later."""

    on_way: dict[OutboxId, OutboxId | None] = field(default_factory=dict["OutboxId", "OutboxId | None"])
    """The rows on their way, each with the one that was sent in front of it and had not arrived yet."""
    leaves: bool = False
    """Rows for it are in the outbox that were read and not sent."""
    is_tried: bool = False
    """The last row that is known of has stayed: now one row goes alone, so that none can overtake it."""
    is_away: bool = False
    """Somebody has heard that it is not there, or takes nothing more."""
    pause_s: float = 0.0
    paused_until_s: float = -math.inf

    @property
    def sent(self) -> int:
        """How many rows are on their way."""
        return len(self.on_way)


class RelayOrder:
    """The rows of one agent, as its process knows them. `page` is how many of all agents the journal gives at once."""

    def __init__(self, *, page: int, sent_rows: int = SENT_ROWS, receiver_rows: int = RECEIVER_ROWS) -> None:
        self._page = page
        self._sent_rows = sent_rows
        self._receiver_rows = receiver_rows
        self._receivers: dict[ActorId, Receiver] = {}
        self._sent: dict[OutboxId, ActorId] = {}
        self._arrived: dict[OutboxId, None] = {}
        self._after: OutboxId | None = None
        self._has_more = False
        self._is_told = False
        self._from_first = False
        """A pass that began with the first row has not come to the last one that there was; no other begins before."""
        self._has_confirmed = False

    def more(self) -> None:
        """A turn has left rows, or a life begins."""
        self._has_more = self._is_told = True

    def retry(self, now_s: float) -> None:
        """Receivers that were not there are tried at once."""
        for receiver in self._receivers.values():
            receiver.paused_until_s = min(receiver.paused_until_s, now_s)

    def begin_life(self, now_s: float) -> None:
        """The next life begins: it looks at all rows, and what the one before has sent is not sent again meanwhile."""
        self._from_first = False
        self._begin_again(now_s)
        self._after, self._from_first = None, True
        self.more()

    def next(self, now_s: float, *, lives: bool = True) -> Next | None:
        """What is to be done; None where nothing is, until `more` is called. One that does not `lives` sends nothing.

        Reading and confirming take turns, so that neither keeps the other from being done.
        """
        if not lives:
            self._has_more = False
        elif not self._from_first:
            self._begin_again(now_s)
        if self._arrived and not (self._has_more and self._has_confirmed):
            self._has_confirmed = True
            return Confirm(tuple(self._arrived))
        self._has_confirmed = False
        if self._has_more:
            self._is_told = False
            return ReadPage(self._after)
        pauses = [
            receiver.paused_until_s
            for receiver in self._receivers.values()
            if lives and receiver.leaves and not receiver.sent
        ]
        if not pauses and not self._sent:
            return None
        return Rest(min((until_s for until_s in pauses if until_s > now_s), default=None))

    def read(self, page: Sequence[OutboxRow]) -> None:
        """All rows of a page were looked at, those of other agents as well."""
        if len(page) < self._page:
            self._from_first = False
        if page:
            self._after = page[-1].id
            return
        self._has_more = self._is_told
        self._receivers = {
            target: receiver for target, receiver in self._receivers.items() if receiver.sent or receiver.leaves
        }

    def takes(self, id: OutboxId, target: ActorId) -> bool:
        """Whether this row is to be sent now, and then it is; ask for the agent's rows in their order."""
        if id in self._sent or id in self._arrived:
            return False
        receiver = self._receivers.setdefault(target, Receiver())
        if receiver.leaves or not self._has_room(receiver):
            receiver.leaves = True
            return False
        self._sent[id] = target
        receiver.on_way[id] = next(reversed(receiver.on_way), None)
        return True

    def behind(self, id: OutboxId) -> OutboxId | None:
        """The row that this one must not overtake: the receiver is not to take it where it has not seen that one."""
        return self._receivers[self._sent[id]].on_way[id]

    def has_arrived(self, id: OutboxId) -> OutboxId | None:
        """The receiver's process has taken the row, or nobody ever will.

        Gives the row that was behind it: that is now behind what this one was behind, or free.
        """
        receiver = self._receivers[self._sent.pop(id)]
        self._arrived[id] = None
        ahead = receiver.on_way.pop(id)
        follower = next((each for each, before in receiver.on_way.items() if before == id), None)
        if follower is not None:
            receiver.on_way[follower] = ahead
        if not receiver.on_way:  # else what follows may be behind a row that has stayed, and comes back
            receiver.is_tried = receiver.is_away = False
            receiver.pause_s, receiver.paused_until_s = 0.0, -math.inf
        return follower

    def stays(self, id: OutboxId, now_s: float, *, is_away: bool = True) -> bool:
        """The row was not taken, and is sent again before all that are behind it.

        True where it is new that the receiver `is_away`: that is not known of one that was sent behind another, which
        comes back also from who has not seen that one.
        """
        receiver = self._receivers[self._sent.pop(id)]
        del receiver.on_way[id]  # and what is behind it stays behind it
        if not receiver.is_tried or now_s >= receiver.paused_until_s:
            receiver.pause_s = min(max(2 * receiver.pause_s, AGAIN_FIRST_S), AGAIN_MAX_S)
            receiver.paused_until_s = now_s + receiver.pause_s
        receiver.leaves = receiver.is_tried = True
        is_new = is_away and not receiver.is_away
        receiver.is_away |= is_away
        return is_new

    def confirmed(self, ids: Sequence[OutboxId]) -> None:
        """The journal has let go of these rows."""
        for id in ids:
            del self._arrived[id]

    def _has_room(self, receiver: Receiver) -> bool:
        if receiver.is_tried or len(self._sent) >= self._sent_rows:
            return not receiver.sent  # one goes always, so that receivers that take nothing hold up no other
        return receiver.sent < self._receiver_rows

    def _begin_again(self, now_s: float) -> None:
        """Begins with the first row where a receiver that has left rows behind may have them now."""
        ready = [
            receiver for receiver in self._receivers.values() if receiver.leaves and self._is_ready(receiver, now_s)
        ]
        for receiver in ready:
            receiver.leaves = False
        if ready:
            self._after, self._has_more, self._from_first = None, True, True

    def _is_ready(self, receiver: Receiver, now_s: float) -> bool:
        if receiver.paused_until_s > now_s:
            return False
        return not receiver.sent or (
            not receiver.is_tried
            and receiver.sent <= self._receiver_rows // 2
            and len(self._sent) <= self._sent_rows // 2
        )
