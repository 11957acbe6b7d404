"""The bounded mailbox of one actor (SEMANTICS 5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.runtime.address import ActorId
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.lifecycle import Down, Exited, Normal
from regrow.runtime.mailbox import DEFAULT_CAPACITY, Mailbox, MailboxSettings, Overflow, Waiting
from regrow.runtime.outcome import Outcome
from tests.runtime.scripted import notes, tell


class Dropped:
    """What a mailbox threw away, and why."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.reasons: list[str] = []

    def __call__(self, envelope: Envelope, reason: str) -> None:
        self.envelopes.append(envelope)
        self.reasons.append(reason)


class Peer:
    """A waiter elsewhere, for whom waking is worth while only when a part of the mailbox is free."""

    def __init__(self, share: float = 0.5, enough: int = 32) -> None:
        self.share = share
        self.enough = enough
        self.offers: list[int] = []

    def offer_room(self, room: int) -> None:
        self.offers.append(room)


def mailbox(capacity: int = 2, overflow: Overflow = Overflow.BLOCK, dropped: Dropped | None = None) -> Mailbox:
    return Mailbox(MailboxSettings(capacity, overflow), dropped if dropped is not None else Dropped())


def full(capacity: int) -> Mailbox:
    box = mailbox(capacity)
    for n in range(capacity):
        box.offer(tell(n))
    return box


def by_link(n: int) -> Envelope:
    """A tell that came from another process."""
    envelope = tell(n)
    envelope.mark = lambda: None
    return envelope


def down(monitor: int) -> Envelope:
    message = Down(monitor=monitor, actor="desk/other", incarnation=1, reason=Normal())
    return Envelope(Kind.NOTICE, ActorId("desk/clerk"), message, Origin())


def waiting(box: Mailbox, n: int, served: list[int]) -> Envelope:
    """A sender that waits with Note n."""
    envelope = tell(n)
    box.wait_room(Waiting(envelope, box.put, lambda: served.append(n)))
    return envelope


def taken(box: Mailbox) -> list[int]:
    """Which Notes come out until it is empty."""
    return notes(list(iter(box.take, None)))


def test_a_mailbox_has_room_for_a_thousand_messages_unless_told_otherwise() -> None:
    assert MailboxSettings().capacity == DEFAULT_CAPACITY == 1_000


def test_the_bound_counts_the_messages_of_all_senders_together() -> None:
    box = mailbox(capacity=2)
    senders = [Origin(principal="ann"), Origin(principal="bob"), Origin(principal="eve")]

    outcomes = [box.offer(tell(n, origin=origin)) for n, origin in enumerate(senders)]

    assert outcomes == [Outcome.TAKEN, Outcome.TAKEN, Outcome.FULL]
    assert taken(box) == [0, 1]


def test_downs_and_ticks_take_no_room_from_messages() -> None:
    box = mailbox(capacity=2)
    for monitor in range(3):
        box.put(down(monitor))

    outcomes = [box.offer(tell(n)) for n in range(3)]
    box.remove_news(0)
    box.take()

    assert outcomes == [Outcome.TAKEN, Outcome.TAKEN, Outcome.FULL]
    assert box.offer(tell(3)) is Outcome.FULL
    assert taken(box) == [0, 1]
    assert [box.offer(tell(n)) for n in range(3)] == [Outcome.TAKEN, Outcome.TAKEN, Outcome.FULL]


@pytest.mark.parametrize(
    ("overflow", "outcome", "kept", "dropped", "reasons"),
    [
        (Overflow.BLOCK, Outcome.FULL, [1, 2], [], []),
        (Overflow.REJECT, Outcome.REJECTED, [1, 2], [], []),
        (Overflow.DROP_OLDEST, Outcome.TAKEN, [2, 3], [1], ["dropped_oldest"]),
        (Overflow.DROP_NEWEST, Outcome.TAKEN, [1, 2], [3], ["dropped_newest"]),
    ],
    ids=lambda value: value.value if isinstance(value, Overflow) else None,
)
def test_a_full_mailbox_does_as_its_policy_says(
    overflow: Overflow, outcome: Outcome, kept: list[int], dropped: list[int], reasons: list[str]
) -> None:
    thrown = Dropped()
    box = mailbox(2, overflow, thrown)
    for n in (1, 2):
        box.offer(tell(n))

    assert box.offer(tell(3)) is outcome

    assert (taken(box), notes(thrown.envelopes), thrown.reasons) == (kept, dropped, reasons)


def test_drop_oldest_never_throws_away_a_down() -> None:
    thrown = Dropped()
    box = mailbox(1, Overflow.DROP_OLDEST, thrown)
    box.put(down(1))
    box.offer(tell(1))

    box.offer(tell(2))

    assert notes(thrown.envelopes) == [1]
    assert isinstance(box.user[0].message, Down)


def test_drop_oldest_drops_the_new_message_where_nothing_else_may_go() -> None:
    thrown = Dropped()
    box = mailbox(0, Overflow.DROP_OLDEST, thrown)
    for monitor in (1, 2):
        box.put(down(monitor))

    assert box.offer(tell(3)) is Outcome.TAKEN

    assert (notes(thrown.envelopes), thrown.reasons, len(box)) == ([3], ["dropped_newest"], 2)


def test_a_down_takes_its_place_in_a_full_mailbox() -> None:
    box = mailbox(capacity=1)
    box.offer(tell(1))

    box.put(down(7))

    assert [type(envelope.message).__name__ for envelope in iter(box.take, None)] == ["Note", "Down"]


def test_the_system_lane_overtakes() -> None:
    box = mailbox()
    box.offer(tell(1))
    exited = Exited(actor="desk/clerk/1", incarnation=1, reason=Normal())
    box.put_system(Envelope(Kind.NOTICE, ActorId("desk/clerk"), exited, Origin()))

    first, second = box.take(), box.take()

    assert first is not None and first.message is exited
    assert second is not None and notes([second]) == [1]


def test_waiting_senders_are_served_in_the_order_in_which_they_came() -> None:
    box, served = mailbox(capacity=1), list[int]()
    box.offer(tell(1))
    for n in (2, 3):
        waiting(box, n, served)

    assert taken(box) == [1, 2, 3]
    assert served == [2, 3]


def test_nobody_overtakes_those_who_wait() -> None:
    box, served = mailbox(capacity=2), list[int]()
    for n in (1, 2):
        box.offer(tell(n))
    waiting(box, 3, served)
    box.user.popleft()  # room, before the waiter has been served

    assert box.offer(tell(4)) is Outcome.FULL


def test_a_sender_that_gives_up_is_served_no_more() -> None:
    box, served = mailbox(capacity=1), list[int]()
    box.offer(tell(1))
    second, _ = waiting(box, 2, served), waiting(box, 3, served)

    assert box.withdraw(second)
    assert not box.withdraw(second)

    assert taken(box) == [1, 3]
    assert served == [3]


def test_a_message_that_is_in_the_mailbox_can_not_be_taken_back() -> None:
    box = mailbox()
    envelope = tell(1)
    box.offer(envelope)

    assert not box.withdraw(envelope)
    assert taken(box) == [1]


class Looked(Waiting):
    """A sender that waits, and counts how often anybody looks what with."""

    __slots__ = ()
    looks = 0

    def __getattribute__(self, name: str) -> object:
        Looked.looks += name == "envelope"
        return super().__getattribute__(name)


def test_taking_back_one_of_many_that_wait_looks_at_no_other() -> None:
    box = mailbox(capacity=1)
    envelopes = [tell(n) for n in range(101)]
    box.offer(envelopes[0])
    for envelope in envelopes[1:]:
        box.wait_room(Looked(envelope, box.put, lambda: None))
    Looked.looks = 0

    assert box.withdraw(envelopes[-1])
    assert Looked.looks == 0


def test_a_peer_is_woken_only_when_its_share_is_free() -> None:
    box, peer = mailbox(capacity=4), Peer(share=0.5)
    for n in range(4):
        box.offer(tell(n))
    box.wait_room(peer)

    box.take()
    offers_after_one = list(peer.offers)
    box.take()

    assert (offers_after_one, peer.offers) == ([], [2])


def test_room_for_32_is_worth_waking_a_peer_for_however_large_the_mailbox_is() -> None:
    box, peer = full(1_000), Peer()
    box.wait_room(peer)

    for _ in range(31):
        box.take()
    assert peer.offers == []
    box.take()

    assert peer.offers == [32]


def test_a_mailbox_with_room_is_not_full_for_senders_here_because_a_peer_waits_for_more_of_it() -> None:
    box, peer, served = full(1_000), Peer(), list[int]()
    box.wait_room(peer)
    waiting(box, 1_000, served)

    box.take()
    assert (served, peer.offers) == ([1_000], [])
    box.take()
    box.take()

    assert box.offer(tell(1_001)) is Outcome.TAKEN


def test_senders_here_do_not_keep_a_peer_waiting_for_ever_nor_take_the_room_it_was_told_of() -> None:
    box, peer = full(1_000), Peer()
    box.wait_room(peer)
    for n in range(2_000):
        waiting(box, n, [])

    for _ in range(64):
        box.take()
    assert peer.offers == [32]
    came = [box.offer(by_link(n)) for n in range(33)]

    assert came == [Outcome.TAKEN] * 32 + [Outcome.FULL]
    assert len(box) == 1_000


def test_room_that_a_peer_was_told_of_and_never_uses_goes_to_others_in_the_end() -> None:
    box, served = full(4), list[int]()
    box.wait_room(Peer())
    box.take()
    box.take()  # the peer is told of two places
    for n in range(6):
        waiting(box, n, served)
    assert served == []

    for _ in range(4):
        box.take()

    assert len(box) == 4


def test_room_that_a_peer_was_told_of_is_everybodys_once_the_mailbox_is_empty() -> None:
    box = full(4)
    box.wait_room(Peer())
    taken(box)

    assert [box.offer(tell(n)) for n in range(4)] == [Outcome.TAKEN] * 4


def test_a_peer_that_asks_a_mailbox_with_room_is_served_at_once() -> None:
    box, peer = mailbox(capacity=4), Peer()

    box.wait_room(peer)

    assert peer.offers == [4]


def test_a_down_that_is_queued_is_removed_when_its_monitor_is_taken_back() -> None:
    box = mailbox()
    for monitor in (1, 2):
        box.put(down(monitor))

    box.remove_news(1)
    box.remove_news(9)

    assert [envelope.message.monitor for envelope in box.drain() if isinstance(envelope.message, Down)] == [2]


def test_when_no_room_will_come_senders_get_their_envelopes_back_and_peers_are_called() -> None:
    box, peer = mailbox(capacity=1), Peer()
    box.offer(tell(1))
    waiting(box, 2, [])
    box.wait_room(peer)

    left = box.give_up_waiters()

    assert notes(left) == [2]
    assert peer.offers == [1]
    assert box.give_up_waiters() == []


def test_a_drained_mailbox_gives_the_system_lane_first_and_is_empty() -> None:
    box = mailbox()
    box.offer(tell(1))
    box.put_system(tell(2))

    assert notes(box.drain()) == [2, 1]
    assert box.take() is None


@pytest.mark.slow
@given(
    capacity=st.integers(1, 4),
    overflow=st.sampled_from(Overflow),
    steps=st.lists(st.sampled_from(["offer", "take", "wait", "withdraw"]), max_size=60),
)
def test_nothing_is_lost_doubled_or_overtaken(capacity: int, overflow: Overflow, steps: list[str]) -> None:
    thrown, served = Dropped(), list[int]()
    box = mailbox(capacity, overflow, thrown)
    refused, withdrawn, came = list[int](), list[int](), list[int]()
    waits: dict[int, Envelope] = {}

    for n, step in enumerate(steps):
        if step == "offer":
            if box.offer(tell(n)) in (Outcome.FULL, Outcome.REJECTED):
                refused.append(n)
        elif step == "wait":
            if overflow is Overflow.BLOCK:
                waits[n] = waiting(box, n, served)
        elif step == "withdraw":
            withdrawn += [m for m, envelope in list(waits.items())[-1:] if box.withdraw(envelope)]
        else:
            came += notes([envelope] if (envelope := box.take()) is not None else [])
        assert len(box) <= capacity

    came += taken(box)
    sent = {n for n, step in enumerate(steps) if step == "offer"} | set(waits)
    assert came == sorted(came)
    assert sorted([*came, *refused, *withdrawn, *notes(thrown.envelopes)]) == sorted(sent)
