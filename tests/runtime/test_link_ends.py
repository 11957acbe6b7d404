"""What the sender of a row learns of it, and what is left of a link that is closed."""

from __future__ import annotations

import pytest

from regrow.runtime.errors import Closed
from regrow.runtime.link import LinkSettings, RowState
from regrow.runtime.outcome import Outcome
from tests.runtime.link_pair import Pair, TableRow, states


def test_who_waits_is_told_taken_and_everybody_is_told_what_was_turned_away() -> None:
    pair = Pair()
    pair.b.outcomes = {"gone": Outcome.NOT_HERE, "picky": Outcome.REJECTED}
    pair.a.send("waits", waits=True)
    pair.a.send("does not")
    pair.a.send("nobody", receiver="gone")
    pair.a.send("refused", receiver="picky")

    pair.carry(0.0, pair.a.polled(0.0))

    assert pair.a.told == [("waits", Outcome.TAKEN), ("nobody", Outcome.NOT_HERE), ("refused", Outcome.REJECTED)]


def test_how_rows_of_a_return_fared_is_told_at_once_if_somebody_waits_for_it() -> None:
    pair = Pair()
    pair.a.send("call")
    call = pair.a.polled(0.0)
    pair.b.send("told", waits=True)

    pair.carry(0.0, call)
    pair.carry(0.0, pair.a.polled(0.0))

    assert pair.b.told == [("told", Outcome.TAKEN)]


def test_a_refusal_of_rows_of_a_return_is_told_at_once() -> None:
    pair = Pair()
    pair.a.full.add("desk")
    pair.a.send("call")
    call = pair.a.polled(0.0)
    (row,) = pair.b.send("refused")

    pair.carry(0.0, call)
    pair.carry(0.0, pair.a.polled(0.0))

    assert pair.b.link.withdraw(row)


def test_how_rows_of_a_return_fared_waits_for_company_if_nobody_asks() -> None:
    pair = Pair()
    pair.a.send("call")
    call = pair.a.polled(0.0)
    pair.b.send("not waited for")

    pair.carry(0.0, call)

    assert pair.a.link.poll(0.0) is None
    assert pair.a.link.next_due() == pytest.approx(0.125)


def test_a_sender_whose_window_fills_hears_at_once_that_its_frames_arrived() -> None:
    pair = Pair(LinkSettings(max_early_frames=8), b_calls=False)
    for number in range(2):
        pair.b.send(f"{number}")
        pair.b.link.peer_listens()
        packet = pair.b.link.poll_answer(0.0)
        assert packet is not None
        assert pair.a.link.poll(0.0) is None
        pair.a.link.receive(0.0, packet)

    assert pair.a.link.poll(0.0) is not None


def test_a_duplicate_is_acknowledged_again() -> None:
    pair = Pair()
    pair.b.send("news")
    packet = pair.b.polled(0.0).packet
    pair.a.link.receive(0.0, packet)
    pair.a.link.call_returned(1.0, pair.a.polled(1.0).number, None)

    pair.a.link.receive(1.0, packet)

    assert pair.a.link.poll(1.0) is None
    assert pair.a.link.next_due() == pytest.approx(1.125)


def test_a_lone_tell_costs_two_calls_and_then_both_sides_are_silent() -> None:
    pair = Pair()
    pair.a.send("tell", waits=True)
    pair.carry(0.0, pair.a.polled(0.0))
    pair.b.handle("tell")
    calls = 0
    now = 0.0
    while dues := [due for side in (pair.a, pair.b) if (due := side.link.next_due()) is not None]:
        now = max(now, min(dues))
        for side in (pair.a, pair.b):
            if (call := side.link.poll(now)) is not None:
                calls += 1
                pair.carry(now, call, caller=side)

    assert calls == 1
    assert now < 0.2


def test_rows_reported_as_handled_are_forgotten_and_others_are_returned_as_taken() -> None:
    pair = Pair()
    pair.a.send("1", "2", "3")
    pair.carry(0.0, pair.a.polled(0.0))
    pair.b.handle("2")
    pair.settle(0.0)
    partly = pair.a.link.close()

    assert states(partly) == {"1": RowState.TAKEN, "3": RowState.TAKEN}


def test_a_frame_is_forgotten_when_its_last_row_is_handled() -> None:
    pair = Pair()
    pair.a.send("1", "2", "3")
    pair.carry(0.0, pair.a.polled(0.0))
    for text in ("2", "3", "1"):
        pair.b.handle(text)
        pair.settle(0.0)

    assert pair.a.link.close().rows == []


def test_closing_returns_each_row_once_with_how_far_it_came() -> None:
    pair = Pair()
    pair.b.full.add("busy")
    pair.a.send("taken", "handled")
    pair.a.send("waiting", receiver="busy")
    pair.carry(0.0, pair.a.polled(0.0))
    pair.b.handle("handled")
    pair.settle(0.0)
    pair.a.send("in flight")
    pair.a.polled(1.0)
    pair.a.send("unsent")

    assert states(pair.a.link.close()) == {
        "taken": RowState.TAKEN,
        "waiting": RowState.WAITING,
        "in flight": RowState.IN_FLIGHT,
        "unsent": RowState.UNSENT,
    }


def test_closing_returns_what_arrived_behind_a_gap() -> None:
    pair = Pair(LinkSettings(max_frame_rows=1))
    pair.a.send("lost", "early")
    pair.a.polled(0.0)
    pair.b.link.receive(0.0, pair.a.polled(0.0).packet)

    assert [row.text for row in pair.b.link.close().undelivered] == ["early"]


def test_a_closed_link_is_silent_and_refuses_rows() -> None:
    pair = Pair()
    pair.a.send("one")
    call = pair.a.polled(0.0)
    pair.b.link.receive(0.0, call.packet)
    pair.b.link.close()

    pair.b.handle("one")
    pair.b.link.room("desk", 1)

    assert pair.b.link.receive(0.0, call.packet) is False
    assert pair.b.link.answer(0.0) == b""
    assert (pair.b.link.poll(9.0), pair.b.link.next_due()) == (None, None)
    with pytest.raises(Closed, match="resolve the address again"):
        pair.b.link.send(TableRow("late"))
