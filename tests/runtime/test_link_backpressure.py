"""A full receiver makes its own rows wait, in order, and nobody else's."""

from __future__ import annotations

from regrow.runtime.link import LinkSettings, RowState
from regrow.runtime.outcome import Outcome
from tests.runtime.link_pair import Pair, TableRow, states


def blocked(*waiting: str, settings: LinkSettings | None = None) -> Pair:
    """A pair whose receiver `desk` is full and has refused these rows."""
    pair = Pair(settings)
    pair.b.full.add("desk")
    pair.a.send(*waiting)
    pair.settle(0.0)
    return pair


def test_a_refused_row_and_later_ones_for_its_receiver_wait_while_others_pass() -> None:
    pair = blocked("1")

    pair.a.send("2")
    pair.a.send("other", receiver="shop")
    pair.settle(1.0)

    assert pair.b.got == ["other"]
    assert states(pair.a.link.close()) == {"1": RowState.WAITING, "2": RowState.WAITING, "other": RowState.TAKEN}


def test_both_sides_are_silent_while_rows_wait() -> None:
    pair = blocked("1", "2")

    assert (pair.a.link.poll(99.0), pair.b.link.poll(99.0)) == (None, None)
    assert (pair.a.link.next_due(), pair.b.link.next_due()) == (None, None)


def test_rows_that_need_no_room_pass_a_full_receiver_at_any_time() -> None:
    pair = blocked("1")

    pair.a.send("stop", needs_room=False)
    pair.settle(1.0)

    assert pair.b.got == ["stop"]


def test_rows_behind_a_refused_one_are_refused_though_there_is_room_again() -> None:
    pair = Pair(LinkSettings(max_frame_rows=1))
    pair.a.send("1", "2")
    first, second = pair.a.polled(0.0), pair.a.polled(0.0)

    pair.b.full.add("desk")
    pair.b.link.receive(0.0, first.packet)
    pair.b.full.clear()
    pair.b.link.receive(0.0, second.packet)

    assert pair.b.got == []


def test_the_receiver_learns_once_that_rows_wait_for_it() -> None:
    pair = blocked("1", "2", "3")

    assert pair.b.wanted == ["desk"]


def test_room_lets_all_waiting_rows_come_in_order() -> None:
    pair = blocked("1", "2")
    pair.a.send("3")

    pair.b.full.clear()
    pair.b.link.room("desk", 10)
    pair.a.send("4")
    pair.settle(1.0)

    assert pair.b.got == ["1", "2", "3", "4"]


def test_room_for_some_lets_as_many_come_and_the_receiver_is_asked_again() -> None:
    pair = blocked("1", "2", "3")

    pair.b.full.clear()
    pair.b.link.room("desk", 2)
    pair.settle(1.0)

    assert pair.b.got == ["1", "2"]
    assert pair.b.wanted == ["desk", "desk"]
    assert states(pair.a.link.close())["3"] is RowState.WAITING


def test_rows_refused_a_second_time_keep_their_place() -> None:
    pair = blocked("1", "2", "3")

    pair.b.link.room("desk", 2)
    pair.settle(1.0)
    pair.b.full.clear()
    pair.b.link.room("desk", 10)
    pair.settle(2.0)

    assert pair.b.got == ["1", "2", "3"]
    assert pair.b.wanted == ["desk", "desk"]


def test_no_row_leaves_while_an_older_one_may_come_back_refused() -> None:
    pair = Pair(LinkSettings(max_frame_rows=1, max_calls_in_flight=3))
    pair.b.full.add("desk")
    pair.a.send("1", "2")
    first, second = pair.a.polled(0.0), pair.a.polled(0.0)
    pair.carry(0.0, first)
    pair.b.full.clear()
    pair.b.link.room("desk", 10)
    pair.carry(0.0, pair.b.polled(0.0), caller=pair.b)

    assert pair.a.link.poll(0.0) is None
    pair.carry(0.0, second)
    pair.settle(0.0)

    assert pair.b.got == ["1", "2"]


def test_unsent_rows_for_a_receiver_that_turns_out_full_wait_behind_the_refused() -> None:
    pair = Pair()
    pair.b.full.add("desk")
    pair.a.send("1")
    call = pair.a.polled(0.0)
    pair.a.send("2")
    pair.carry(0.0, call)

    pair.b.full.clear()
    pair.b.link.room("desk", 1)
    pair.settle(0.0)

    assert pair.b.got == ["1"]
    assert states(pair.a.link.close())["2"] is RowState.WAITING


def test_room_offered_to_a_receiver_nobody_waits_for_is_not_reported() -> None:
    pair = Pair()

    pair.b.link.room("desk", 10)

    assert pair.b.wakes == 0
    assert pair.b.link.poll(0.0) is None


def test_waiting_rows_for_a_receiver_that_ended_come_and_are_turned_away() -> None:
    pair = blocked("1", "2")

    pair.b.full.clear()
    pair.b.outcomes["desk"] = Outcome.NOT_HERE
    pair.b.link.room("desk", 1_000_000)
    pair.settle(1.0)

    assert pair.a.told == [("1", Outcome.NOT_HERE), ("2", Outcome.NOT_HERE)]


# ---- taking rows back ------------------------------------------------------------------------------------------------


def test_a_waiting_row_can_be_withdrawn_and_never_arrives() -> None:
    pair = Pair()
    pair.b.full.add("desk")
    first, second = pair.a.send("1", "2")
    pair.settle(0.0)

    withdrawn = pair.a.link.withdraw(first)
    pair.b.full.clear()
    pair.b.link.room("desk", 10)
    pair.settle(1.0)

    assert withdrawn
    assert not pair.a.link.withdraw(second)
    assert pair.b.got == ["2"]


def test_an_unsent_row_can_be_withdrawn_and_one_in_flight_can_not() -> None:
    pair = Pair()
    (flying,) = pair.a.send("flying")
    call = pair.a.polled(0.0)
    (unsent,) = pair.a.send("unsent")

    withdrawn = [pair.a.link.withdraw(unsent), pair.a.link.withdraw(flying)]
    pair.carry(0.0, call)
    pair.settle(0.0)

    assert withdrawn == [True, False]
    assert pair.b.got == ["flying"]


def test_a_receiver_whose_waiting_rows_were_all_withdrawn_is_open_again_after_room() -> None:
    pair = Pair()
    pair.b.full.add("desk")
    (row,) = pair.a.send("1")
    pair.settle(0.0)
    pair.a.link.withdraw(row)

    pair.b.full.clear()
    pair.b.link.room("desk", 10)
    pair.settle(1.0)
    pair.a.send("2", "3")
    pair.carry(2.0, pair.a.polled(2.0))

    assert pair.b.got == ["2", "3"]


# ---- the sender's own limits -----------------------------------------------------------------------------------------


def test_only_so_many_rows_may_be_unsettled_and_the_sender_hears_when_there_is_room() -> None:
    pair = Pair(LinkSettings(max_unsettled_rows=2))
    pair.a.send("1", "2")

    assert not pair.a.link.has_room
    assert not pair.a.link.send(TableRow("3"))
    pair.carry(0.0, pair.a.polled(0.0))

    assert pair.a.relieved == [None]
    assert pair.a.link.has_room


def test_rows_that_need_no_room_are_taken_beyond_the_limit() -> None:
    pair = Pair(LinkSettings(max_unsettled_rows=1))
    pair.a.send("1")

    assert pair.a.link.send(TableRow("stop", needs_room=False))


def test_waiting_rows_do_not_use_up_what_all_receivers_share() -> None:
    pair = blocked("1", "2", settings=LinkSettings(max_unsettled_rows=2))

    assert pair.a.link.has_room
    assert pair.a.link.send(TableRow("other", "shop"))


def test_only_so_many_rows_may_wait_for_one_receiver_and_the_sender_hears_when_one_has_left() -> None:
    pair = blocked("1", "2", settings=LinkSettings(max_waiting_rows=2))

    assert not pair.a.link.has_room_for("desk")
    assert not pair.a.link.send(TableRow("3"))
    assert pair.a.link.send(TableRow("other", "shop"))
    pair.b.full.clear()
    pair.b.link.room("desk", 1)
    pair.settle(1.0)

    assert pair.a.relieved == ["desk"]
    assert pair.a.link.has_room_for("desk")


def test_a_withdrawn_row_makes_room_for_another() -> None:
    pair = Pair(LinkSettings(max_unsettled_rows=1))
    (row,) = pair.a.send("1")
    assert not pair.a.link.send(TableRow("2"))

    pair.a.link.withdraw(row)

    assert pair.a.relieved == [None]
