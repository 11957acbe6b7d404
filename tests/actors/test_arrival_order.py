"""What an outbox elsewhere has sent is taken only behind what was sent in front of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regrow.actors.arrival_order import MAX_SENDERS, MAX_TURNED_AWAY, ArrivalOrder
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


def test_a_row_that_is_rejected_for_want_of_room_is_seen_by_none_that_was_sent_behind_it() -> None:
    order = ArrivalOrder()
    for copy in (row("a"), row("b", behind="a")):
        assert order.takes(copy)

    assert not order.takes(row("b", behind="a"), has_room=False)
    assert not order.takes(row("c", behind="b"))
    assert order.takes(row("b"))
    assert order.takes(row("c", behind="b"))


def test_a_row_that_is_offered_once_more_is_not_taken_behind_one_that_was_turned_away_just_before() -> None:
    order = ArrivalOrder()
    for number, behind in (("a", None), ("b", "a"), ("c", "b"), ("d", "c")):
        assert order.takes(row(number, behind))

    assert [order.takes(row(*again)) for again in (("b", "a"), ("c", "b"), ("d", "c"))] == [False, False, False]


@given(st.lists(st.integers(0, 8), max_size=8), st.lists(st.sampled_from("xyz"), max_size=60))
def test_no_row_is_taken_behind_one_that_was_turned_away_whatever_copies_come_between(
    begins: list[int], offers: list[str]
) -> None:
    """Three processes send copies of the same nine rows, each in order from where it begins, again and again."""
    order, first = ArrivalOrder(), iter(begins)
    next_row = dict.fromkeys("xyz", 0)
    begun_with = dict.fromkeys("xyz", 0)
    turned_away: dict[str, set[int]] = {process: set() for process in "xyz"}
    for process in offers:
        number = next_row[process]
        if number > 8:
            turned_away[process].clear()
            number = begun_with[process] = next(first, 0)
        behind = None if number == begun_with[process] else str(number - 1)
        next_row[process] = number + 1

        if order.takes(row(str(number), behind)):
            for missed in turned_away.values():
                # One that is behind none says that all in front of it have arrived.
                missed -= {number} if behind is not None else set(range(number + 1))
            assert not [missed for missed in turned_away[process] if missed < number]
        else:
            turned_away[process].add(number)


def test_a_sender_of_whom_too_much_was_turned_away_begins_with_a_row_alone() -> None:
    order = ArrivalOrder()
    order.takes(row("last"))
    for number in range(MAX_TURNED_AWAY + 1):
        assert not order.takes(row(str(number), behind=str(number - 1)))

    assert not order.takes(row("next", behind="last"))
    assert order.takes(row("0"))
    assert order.takes(row("1", behind="0"))


def test_senders_know_nothing_of_each_other_and_one_that_was_forgotten_begins_with_a_row_alone() -> None:
    order = ArrivalOrder()
    for number in range(MAX_SENDERS + 1):
        assert order.takes(row("a", sender=f"desk/{number}"))

    assert order.takes(row("b", behind="a", sender="desk/1"))
    assert not order.takes(row("b", behind="a", sender="desk/0"))
    assert order.takes(row("b", sender="desk/0"))
