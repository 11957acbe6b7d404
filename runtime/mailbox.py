"""The bounded queue of one actor: a system lane that overtakes, and a user lane with a limit.

The bound counts tells and asks of all senders together (SEMANTICS 5), those that their actor has set
aside included. Downs, trapped exits and ticks take their place in the user lane without needing room
and without taking any from others, since what they answer was bounded.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from regrow.runtime.address import HostId, Incarnation
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import StashFull
from regrow.runtime.lifecycle import Down, Reachable, Unreachable
from regrow.runtime.outcome import Outcome

DEFAULT_CAPACITY = 1_000

MESSAGES_IN_A_ROW = 32
"""So many an actor handles before others of its process have their turn: handlers that never wait would keep the loop
until the mailbox is empty, and a stop of that very actor would not be seen before."""

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
    """A peer that waits for room. Peers are served in the order in which they came."""

    share: float
    """The part of the mailbox that must be free before it is worth waking this waiter."""
    enough: int
    """Room for so many is worth it, however large the mailbox is."""

    def offer_room(self, room: int) -> None:
        """Told that `room` messages fit now."""
        ...


class Waiting:
    """A local sender that waits with one envelope; the mailbox itself puts it in, so order holds."""

    __slots__ = ("_done", "_put", "envelope")

    def __init__(self, envelope: Envelope, put: Callable[[Envelope], None], done: Callable[[], None]) -> None:
        self.envelope = envelope
        self._put = put
        self._done = done

    def put_in(self) -> None:
        """Puts the envelope in and wakes the sender."""
        self._put(self.envelope)
        self._done()


class Mailbox:
    """Two lanes of envelopes. `dropped` is told what the overflow policy threw away."""

    __slots__ = (
        "_bound",
        "_dropped",
        "_is_contended",
        "_peers",
        "_promise_ends",
        "_promised",
        "_saved",
        "_senders",
        "_unbounded",
        "capacity",
        "overflow",
        "stashed",
        "system",
        "taken",
        "user",
    )

    def __init__(self, settings: MailboxSettings, dropped: Callable[[Envelope, str], None]) -> None:
        self.capacity = settings.capacity
        self.overflow = settings.overflow
        self.system: deque[Envelope] = deque()
        self.user: deque[Envelope] = deque()
        self.stashed: deque[Envelope] = deque()
        self.taken = 0
        self._bound = settings.capacity  # of the user lane: less what is stashed, and more for what needs no room
        self._unbounded = 0  # Downs and ticks in the user lane
        self._senders: OrderedDict[int, Waiting] = (
            OrderedDict()
        )  # by the id of their envelope, in the order in which they came
        self._peers: deque[RoomWaiter] = deque()
        self._saved = 0  # room that is being kept for the first of the peers
        self._promised = 0  # room that a peer was told of and has not used yet
        self._promise_ends = 0
        self._is_contended = False  # somebody waits for room, or was promised some
        self._dropped = dropped

    def __len__(self) -> int:
        return len(self.user) + len(self.stashed)

    def offer(self, envelope: Envelope) -> Outcome:
        """Puts a tell or ask at the end of the user lane, or says why not."""
        if len(self.user) < self._bound and (not self._is_contended or self._may_pass(envelope)):
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

    @property
    def rejects(self) -> bool:
        """True where the next tell or ask is refused for want of room."""
        return self.overflow is Overflow.REJECT and len(self.user) >= self._bound

    def put(self, envelope: Envelope) -> None:
        """Puts at the end of the user lane what needs no room, or what room was found for."""
        self.user.append(envelope)
        if envelope.kind > Kind.ASK:
            self._unbounded += 1
            self._bound += 1

    def put_back(self, envelope: Envelope) -> None:
        """Puts one that was taken in front again; it needs no room, since it had some."""
        self.user.appendleft(envelope)
        self.taken -= 1
        if envelope.kind > Kind.ASK:
            self._unbounded += 1
            self._bound += 1

    def put_in_turn(self, envelope: Envelope, put: Callable[[Envelope], None]) -> None:
        """Puts what needs no room and must not overtake: behind the senders that wait for room, where some do."""
        if self._senders:
            self._senders[id(envelope)] = Waiting(envelope, put, _nobody_waits)
        else:
            self.put(envelope)

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
        if self._unbounded and envelope.kind > Kind.ASK:
            self._unbounded -= 1
            self._bound -= 1
        if self._is_contended:
            self.serve_waiters()
        return envelope

    # ---- waiting for room ------------------------------------------------------------------------

    def wait_room(self, waiter: Waiting | RoomWaiter) -> None:
        """Queues somebody who will be offered room; served at once if there is some."""
        if isinstance(waiter, Waiting):
            self._senders[id(waiter.envelope)] = waiter
        else:
            self._peers.append(waiter)
        self.serve_waiters()

    def withdraw(self, envelope: Envelope) -> bool:
        """Takes a sender that waits with this envelope out of the queue; False when it was served."""
        if self._senders.pop(id(envelope), None) is None:
            return False
        self.serve_waiters()
        return True

    def serve_waiters(self) -> None:
        """Offers room to those who wait, as far as it goes.

        A peer is told of room for many or not at all. Until there is so much, senders here get every second place, so
        that neither they nor the peer wait for room that nobody uses.
        """
        while True:
            room = self._bound - len(self.user) - self._kept_promises()
            if self._peers and room > 0 and room >= (worth := self._worth(self._peers[0])):
                self._saved = 0
                self._promised += min(room, worth)
                self._promise_ends = self.taken + self.capacity
                self._peers.popleft().offer_room(room)
            elif self._senders and room > self._saved:
                self._save()
                self._senders.popitem(last=False)[1].put_in()
            else:
                self._is_contended = bool(self._senders or self._peers or self._promised)
                return

    def _may_pass(self, envelope: Envelope) -> bool:
        """True when a message fits although others wait for room, or were promised some."""
        if envelope.mark is not None and self._promised:
            self._promised -= 1  # a peer uses what it was told of
            return True
        if self._senders or len(self.user) + self._kept_promises() + self._saved >= self._bound:
            return False
        self._save()
        return True

    def _save(self) -> None:
        """Sets a place aside for the peer that waits, for one that a sender here gets."""
        if self._peers:
            self._saved = min(self._saved + 1, self._worth(self._peers[0]))

    def _kept_promises(self) -> int:
        """How many places peers were promised. They lapse when nobody came for them until it is empty, or for long."""
        if self._promised and (not self.user or self.taken >= self._promise_ends):
            self._promised = 0
        return self._promised

    def _worth(self, peer: RoomWaiter) -> int:
        return min(math.ceil(peer.share * self.capacity), peer.enough)

    def remove_news(self, monitor: int) -> None:
        """Takes out what is queued of a monitor that was taken back."""
        if not self._unbounded and not self._senders and not self.stashed:
            return  # what nearly every demonitor finds: no news is queued at all
        waiting = (waiter.envelope for waiter in self._senders.values())
        news = [
            envelope
            for envelope in itertools.chain(self.user, waiting, self.stashed)
            if isinstance(envelope.message, Down | Unreachable | Reachable) and envelope.message.monitor == monitor
        ]
        for envelope in news:
            if not self.withdraw(envelope):
                self._remove(envelope)

    def take_out(self, life: Incarnation) -> tuple[list[Envelope], list[Envelope]]:
        """Takes out the tells and asks that are meant for this life of the actor alone.

        Those that are queued or set aside, and those of local senders that wait for room.
        """

        def is_meant(envelope: Envelope) -> bool:
            return envelope.incarnation == life and envelope.kind <= Kind.ASK

        queued = [envelope for envelope in (*self.stashed, *self.user) if is_meant(envelope)]
        waiting = [waiter.envelope for waiter in self._senders.values() if is_meant(waiter.envelope)]
        for envelope in queued:
            self._remove(envelope)
        for envelope in waiting:
            del self._senders[id(envelope)]
        if queued or waiting:
            self.serve_waiters()
        return queued, waiting

    @property
    def has_peers(self) -> bool:
        """True when another process waits for room here."""
        return bool(self._peers)

    def queued_asks(self) -> frozenset[tuple[HostId | None, int]]:
        """The asks, by host and number, that are queued, set aside, or with which senders here wait for room."""
        waiting = (waiter.envelope for waiter in self._senders.values())
        envelopes = itertools.chain(self.user, self.stashed, waiting)
        return frozenset((each.reply_host, each.ask_id) for each in envelopes if each.kind == Kind.ASK)

    def take_back(self, host: HostId, ask_id: int, *, unless: Callable[[Envelope], bool] | None) -> Envelope | None:
        """Takes out an ask that has not begun, since nobody waits for its reply any more; None if it is not here.

        `unless` says which stay, since they are stored.
        """
        envelope = self._find(host, ask_id)
        if envelope is not None and unless is not None and unless(envelope):
            return None
        if envelope is not None:
            self._remove(envelope)
            self.serve_waiters()
        return envelope

    def discard(self, envelope: Envelope) -> bool:
        """Takes out a message that has not begun, whatever it is; False where it is not here."""
        if envelope not in self.user and envelope not in self.stashed:
            return False
        self._remove(envelope)
        self.serve_waiters()
        return True

    def _find(self, host: HostId, ask_id: int) -> Envelope | None:
        return next((each for each in itertools.chain(self.user, self.stashed) if each.is_ask_of(host, ask_id)), None)

    def _remove(self, envelope: Envelope) -> None:
        is_bounded = envelope.kind <= Kind.ASK
        if envelope in self.stashed:
            self.stashed.remove(envelope)
            self._bound += is_bounded
        else:
            self.user.remove(envelope)
            if not is_bounded:
                self._unbounded -= 1
                self._bound -= 1

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
        if envelope.kind <= Kind.ASK:
            self._bound -= 1

    def unstash_all(self) -> int:
        """Puts what was set aside in front again, in the order in which it was; returns how many these are."""
        count = len(self.stashed)
        if not count:
            return 0
        self._unbounded += sum(each.kind > Kind.ASK for each in self.stashed)
        self._bound = self.capacity + self._unbounded
        self.user.extendleft(reversed(self.stashed))
        self.stashed.clear()
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
        senders, self._senders = self._senders, OrderedDict()
        peers, self._peers = self._peers, deque()
        self._is_contended = bool(self._promised)
        for peer in peers:
            peer.offer_room(self.capacity)
        return [sender.envelope for sender in senders.values()]

    def drain(self) -> list[Envelope]:
        """Everything that is queued, system lane first; the mailbox is empty afterwards."""
        self.unstash_all()
        left = [*self.system, *self.user]
        self.system.clear()
        self.user.clear()
        self._unbounded, self._bound = 0, self.capacity
        return left


def _nobody_waits() -> None:
    pass
