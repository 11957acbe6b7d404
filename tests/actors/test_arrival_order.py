"""What an outbox elsewhere has sent is taken only behind what was sent in front of it."""

from __future__ import annotations

from regrow.actors.arrival_order import MAX_SENDERS, ArrivalOrder
from regrow.runtime.address import ActorId, Address
from regrow.runtime.envelope import Envelope, Kind, Origin
from tests.runtime.scripted import Note


def row(command: str, behind: str | None = None, *, sender: str = "desk/clerk") -> Envelope:
    origin = Origin(sender=Address(ActorId(sender)))
    return Envelope(Kind.TELL, ActorId("desk/other"), Note(), origin, command_id=command, behind=behind)


def test_a_row_is_taken_when_the_one_in_front_of_it_was_seen_and_not_before() -> None:
    order = ArrivalOrder()

    assert not order.takes(row("b", behind="a"))
    assert order.takes(row("a"))
    assert not order.takes(row("c", behind="b"))
    assert order.takes(row("b", behind="a"))
    assert order.takes(row("c", behind="b"))


def test_a_row_that_found_no_room_is_taken_when_it_is_offered_again() -> None:
    order = ArrivalOrder()
    order.takes(row("a"))
    order.takes(row("b", behind="a"))

    assert order.takes(row("b", behind="a"))


def test_senders_know_nothing_of_each_other_and_one_that_was_forgotten_begins_with_a_row_alone() -> None:
    order = ArrivalOrder()
    for number in range(MAX_SENDERS + 1):
        assert order.takes(row("a", sender=f"desk/{number}"))

    assert order.takes(row("b", behind="a", sender="desk/1"))
    assert not order.takes(row("b", behind="a", sender="desk/0"))
    assert order.takes(row("b", sender="desk/0"))
