"""Rows whose receiver stores them: their sender is told when they are stored, and knows which are not (HELD)."""

from __future__ import annotations

from regrow.runtime.link import RowState
from regrow.runtime.outcome import Outcome
from tests.runtime.link_pair import Pair, states


def held() -> Pair:
    """Two sides; what is sent to `clerk` is held at the second."""
    pair = Pair()
    pair.b.outcomes = {"clerk": Outcome.HELD}
    return pair


def test_who_waits_is_told_when_its_row_is_stored_and_not_before() -> None:
    pair = held()
    pair.a.send("kept", receiver="clerk", waits=True)
    pair.carry(0.0, pair.a.polled(0.0))
    assert pair.b.got == ["kept"]
    assert pair.a.told == []

    pair.b.handle("kept")
    pair.carry(0.0, pair.b.polled(0.0), caller=pair.b)  # at once: somebody waits for it

    assert pair.a.told == [("kept", Outcome.TAKEN)]


def test_rows_of_one_frame_are_told_each_when_it_is_stored_whatever_the_others_do() -> None:
    pair = held()
    pair.a.send("first", "second", receiver="clerk", waits=True)
    pair.a.send("plain", waits=True)
    pair.carry(0.0, pair.a.polled(0.0))
    assert pair.a.told == [("plain", Outcome.TAKEN)]

    pair.b.handle("second")
    now = pair.settle(0.0)
    assert pair.a.told[1:] == [("second", Outcome.TAKEN)]

    pair.b.handle("plain", "first")
    pair.settle(now)
    assert pair.a.told[2:] == [("first", Outcome.TAKEN)]


def test_nobody_is_told_of_a_held_row_for_which_nobody_waits() -> None:
    pair = held()
    pair.a.send("kept", receiver="clerk")
    pair.carry(0.0, pair.a.polled(0.0))
    pair.b.handle("kept")
    pair.settle(0.0)

    assert pair.a.told == []


def test_a_link_that_ends_tells_held_rows_from_taken_ones_and_forgets_those_that_are_stored() -> None:
    pair = held()
    pair.a.send("stored", "kept", receiver="clerk")
    pair.a.send("taken")
    pair.carry(0.0, pair.a.polled(0.0))
    pair.b.handle("stored")
    pair.settle(0.0)

    assert states(pair.a.link.close()) == {"kept": RowState.HELD, "taken": RowState.TAKEN}
