"""The bounded queue of one actor: a system lane that overtakes, and a user lane with a limit.

The bound counts tells and asks of all senders together (SEMANTICS 5), those that their actor has set
aside included. Replies, Downs and trapped exits take their place in the user lane without needing
room, since what they answer was bounded.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from regrow.runtime.address import HostId, Incarnation
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import StashFull
from regrow.runtime.lifecycle import Down, Reachable, Unreachable
from regrow.runtime.outcome import Outcome

DEFAULT_CAPACITY = 1_000

STASH_SHARE = 0.5
"""The part of a mailbox that its stash may fill; the rest stays open for the message that ends the waiting."""


class Overflow(enum.Enum):
    """What happens to a message that finds the mailbox full."""

    BLOCK = "block"
    REJECT = "reject"
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"


@dataclass(frozen=True, slots=True)
class MailboxSettings:
    """The bound of a mailbox in messages, and what happens at it."""

    capacity: int = DEFAULT_CAPACITY
    overflow: Overflow = Overflow.BLOCK


class RoomWaiter(Protocol):
    """Somebody who waits for room. Waiters are served in the order in which they came."""

    share: float
    """The part of the mailbox that must be free before it is worth waking this waiter."""

    def offer_room(self, room: int) -> None:
        """Told that `room` messages fit now."""
        ...


class Waiting:
    """A local sender that waits with one envelope; the mailbox itself puts it in, so order holds."""

    __slots__ = ("_done", "_put", "envelope")

    share = 0.0

    def __init__(self, envelope: Envelope, put: Callable[[Envelope], None], done: Callable[[], None]) -> None:
        self.envelope = envelope
        self._put = put
        self._done = done

    def offer_room(self, room: int) -> None:
        """Puts the envelope in and wakes the sender."""
        self._put(self.envelope)
        self._done()


class Mailbox:
    """Two lanes of envelopes. `dropped` is told what the overflow policy threw away."""

    __slots__ = ("_bound", "_dropped", "_waiters", "capacity", "overflow", "stashed", "system", "taken", "user")

    def __init__(self, settings: MailboxSettings, dropped: Callable[[Envelope, str], None]) -> None:
        self.capacity = settings.capacity
        self.overflow = settings.overflow
        self.system: deque[Envelope] = deque()
        self.user: deque[Envelope] = deque()
        self.stashed: deque[Envelope] = deque()
        self.taken = 0
        self._bound = settings.capacity  # of the user lane: what is stashed takes from it
        self._waiters: deque[RoomWaiter] = deque()
        self._dropped = dropped

    def __len__(self) -> int:
        return len(self.user) + len(self.stashed)

    def offer(self, envelope: Envelope) -> Outcome:
        """Puts a tell or ask at the end of the user lane, or says why not."""
        if len(self.user) < self._bound and not self._waiters:
            self.user.append(envelope)
            return Outcome.TAKEN
        if self.overflow is Overflow.BLOCK:
            return Outcome.FULL
        if self.overflow is Overflow.REJECT:
            return Outcome.REJECTED
        if self.overflow is Overflow.DROP_NEWEST:
            self._dropped(envelope, "dropped_newest")
            return Outcome.TAKEN
        for index, oldest in enumerate(self.user):
            if oldest.kind <= Kind.ASK:  # a Down or a tick has no second sender who could notice its loss
                del self.user[index]
                self._dropped(oldest, "dropped_oldest")
                self.user.append(envelope)
                return Outcome.TAKEN
        self._dropped(envelope, "dropped_newest")
        return Outcome.TAKEN

    def put(self, envelope: Envelope) -> None:
        """Puts at the end of the user lane what needs no room."""
        self.user.append(envelope)

    def put_in_turn(self, envelope: Envelope, put: Callable[[Envelope], None]) -> None:
        """Puts what needs no room and must not overtake: behind those who wait for room, where some do."""
        if self._waiters:
            self._waiters.append(Waiting(envelope, put, _nobody_waits))
        else:
            self.user.append(envelope)

    def put_system(self, envelope: Envelope) -> None:
        """Puts into the lane that overtakes."""
        self.system.append(envelope)

    def take(self) -> Envelope | None:
        """The next envelope, system lane first; None when both lanes are empty."""
        if self.system:
            return self.system.popleft()
        if not self.user:
            return None
        envelope = self.user.popleft()
        self.taken += 1
        if self._waiters:
            self.serve_waiters()
        return envelope

    def wait_room(self, waiter: RoomWaiter) -> None:
        """Queues somebody who will be offered room; served at once if there is some."""
        self._waiters.append(waiter)
        self.serve_waiters()

    def withdraw(self, envelope: Envelope) -> bool:
        """Takes a sender that waits with this envelope out of the queue; False when it was served."""
        for waiter in self._waiters:
            if isinstance(waiter, Waiting) and waiter.envelope is envelope:
                self._waiters.remove(waiter)
                self.serve_waiters()
                return True
        return False

    def serve_waiters(self) -> None:
        """Offers room to the waiters in their order, as far as it goes."""
        while self._waiters:
            room = self._bound - len(self.user)
            if room <= 0 or room < self._waiters[0].share * self.capacity:
                return
            self._waiters.popleft().offer_room(room)

    def remove_news(self, monitor: int) -> None:
        """Takes out what is queued of a monitor that was taken back."""
        waiting = [waiter.envelope for waiter in self._waiters if isinstance(waiter, Waiting)]
        for envelope in (*self.user, *waiting, *self.stashed):
            if isinstance(envelope.message, Down | Unreachable | Reachable) and envelope.message.monitor == monitor:
                if not self.withdraw(envelope):
                    self._remove(envelope)

    def take_out(self, life: Incarnation) -> tuple[list[Envelope], list[Envelope]]:
        """Takes out the tells and asks that are meant for this life of the actor alone.

        Those that are queued or set aside, and those of local senders that wait for room.
        """

        def is_meant(envelope: Envelope) -> bool:
            return envelope.incarnation == life and envelope.kind <= Kind.ASK

        queued = [envelope for envelope in (*self.stashed, *self.user) if is_meant(envelope)]
        waiters = [waiter for waiter in self._waiters if isinstance(waiter, Waiting) and is_meant(waiter.envelope)]
        for envelope in queued:
            self._remove(envelope)
        for waiter in waiters:
            self._waiters.remove(waiter)
        if queued or waiters:
            self.serve_waiters()
        return queued, [waiter.envelope for waiter in waiters]

    def holds(self, host: HostId, ask_id: int) -> bool:
        """True when this ask of that host is queued here, set aside, or may be among those that wait for room."""
        return self._find(host, ask_id) is not None or any(
            not isinstance(waiter, Waiting) or waiter.envelope.is_ask_of(host, ask_id) for waiter in self._waiters
        )

    def take_back(self, host: HostId, ask_id: int) -> Envelope | None:
        """Takes out an ask that has not begun, since nobody waits for its reply any more; None if it is not here."""
        envelope = self._find(host, ask_id)
        if envelope is not None:
            self._remove(envelope)
            self.serve_waiters()
        return envelope

    def _find(self, host: HostId, ask_id: int) -> Envelope | None:
        return next((each for each in (*self.user, *self.stashed) if each.is_ask_of(host, ask_id)), None)

    def _remove(self, envelope: Envelope) -> None:
        if envelope in self.stashed:
            self.stashed.remove(envelope)
            self._bound += 1
        else:
            self.user.remove(envelope)

    # ---- the stash -----------------------------------------------------------------------------

    @property
    def stash_limit(self) -> int:
        """How many messages may be set aside at once."""
        return int(self.capacity * STASH_SHARE)

    def check_stash(self, envelope: Envelope) -> None:
        """Raises StashFull when no more may be set aside."""
        if len(self.stashed) >= self.stash_limit:
            raise StashFull(envelope.receiver, self.stash_limit)

    def stash(self, envelope: Envelope) -> None:
        """Sets aside a message that was taken. It counts as queued. Raises StashFull."""
        self.check_stash(envelope)
        self.stashed.append(envelope)
        self.taken -= 1
        self._bound -= 1

    def unstash_all(self) -> int:
        """Puts what was set aside in front again, in the order in which it was; returns how many these are."""
        count = len(self.stashed)
        self.user.extendleft(reversed(self.stashed))
        self.stashed.clear()
        self._bound = self.capacity
        return count

    def take_expired(self, now: float) -> list[Envelope]:
        """Takes out what was set aside and whose deadline is past."""
        over = [each for each in self.stashed if each.deadline is not None and each.deadline <= now]
        for envelope in over:
            self._remove(envelope)
        if over:
            self.serve_waiters()
        return over

    def give_up_waiters(self) -> list[Envelope]:
        """The envelopes of local senders that waited for room, when no room will come.

        Peers are offered room, so that what waits there comes and is turned away.
        """
        waiters, self._waiters = self._waiters, deque()
        left: list[Envelope] = []
        for waiter in waiters:
            if isinstance(waiter, Waiting):
                left.append(waiter.envelope)
            else:
                waiter.offer_room(self.capacity)
        return left

    def drain(self) -> list[Envelope]:
        """Everything that is queued, system lane first; the mailbox is empty afterwards."""
        self.unstash_all()
        left = [*self.system, *self.user]
        self.system.clear()
        self.user.clear()
        return left


def _nobody_waits() -> None:
    pass
