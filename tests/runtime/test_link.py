"""When the rows of a link leave, how many together, and that silence follows."""

from __future__ import annotations

import pytest

from regrow.runtime.errors import Misuse
from regrow.runtime.link import LinkSettings
from regrow.runtime.link_wire import pack_packet
from regrow.runtime.outcome import Outcome
from tests.runtime.link_pair import Pair


def test_a_row_leaves_at_once_while_no_call_is_in_flight() -> None:
    pair = Pair()

    pair.a.send("one")
    pair.carry(0.0, pair.a.polled(0.0))

    assert pair.b.got == ["one"]


def test_the_first_row_wakes_the_transport_and_the_next_do_not() -> None:
    pair = Pair()
    assert pair.a.link.poll(0.0) is None

    pair.a.send("one", "two", "three")

    assert pair.a.wakes == 1


def test_rows_gather_while_a_call_is_in_flight() -> None:
    pair = Pair()
    pair.a.send("one")
    first = pair.a.polled(0.0)

    pair.a.send("two", "three")
    while_in_flight = pair.a.link.poll(0.001)
    pair.carry(0.002, first)
    pair.carry(0.002, pair.a.polled(0.002))

    assert while_in_flight is None
    assert pair.b.got == ["one", "two", "three"]
    assert pair.a.link.poll(0.003) is None


def test_full_frames_start_further_calls_up_to_the_limit() -> None:
    pair = Pair(LinkSettings(max_frame_rows=2, max_calls_in_flight=2))
    pair.a.send("1", "2", "3", "4", "5", "6")

    calls = [pair.a.link.poll(0.0) for _ in range(3)]

    assert [call is not None for call in calls] == [True, True, False]


def test_a_full_frame_wakes_the_transport_while_a_call_is_in_flight() -> None:
    pair = Pair(LinkSettings(max_frame_rows=2))
    pair.a.send("1")
    pair.a.polled(0.0)
    assert pair.a.link.poll(0.0) is None
    before = pair.a.wakes

    pair.a.send("2", "3", "4")

    assert pair.a.wakes == before + 1


def test_rows_that_proved_large_share_a_frame_with_fewer_others() -> None:
    pair = Pair(LinkSettings(max_frame_bytes=1_000))
    pair.a.send(*["x" * 200] * 10)
    pair.carry(0.0, pair.a.polled(0.0))
    pair.a.send(*["x" * 200] * 10)

    pair.carry(0.1, pair.a.polled(0.1))

    assert len(pair.b.got) == 14


def test_a_lone_ask_is_not_in_flight_and_its_return_is_worth_holding() -> None:
    pair = Pair()
    pair.a.ask("why?")
    asked = pair.a.polled(0.0)
    pair.a.send("tell")

    told = pair.a.link.poll(0.0)

    assert told is not None
    assert pair.b.link.receive(0.001, asked.packet) is True
    assert pair.b.link.receive(0.001, told.packet) is False


def test_only_so_many_lone_asks_are_held_and_the_next_counts_as_in_flight() -> None:
    pair = Pair(LinkSettings(max_held_calls=1))
    for text in ("first", "second"):
        pair.a.ask(text)
        pair.a.polled(0.0)

    pair.a.send("third")

    assert pair.a.link.poll(0.0) is None


def test_the_reply_rides_on_a_held_return() -> None:
    pair = Pair()
    pair.a.ask("why?")
    call = pair.a.polled(0.0)
    pair.b.link.receive(0.0, call.packet)

    pair.b.send("because", needs_room=False)
    pair.a.link.call_returned(0.001, call.number, pair.b.link.answer(0.001))

    assert pair.b.wakes == 1
    assert pair.a.got == ["because"]
    assert pair.b.link.poll(0.002) is None


def test_the_report_that_an_ask_was_handled_does_not_end_the_hold_for_its_reply() -> None:
    pair = Pair()
    pair.a.ask("why?")
    pair.b.link.receive(0.0, pair.a.polled(0.0).packet)

    pair.b.handle("why?")

    assert pair.b.wakes == 0


def test_an_ask_that_was_turned_away_is_answered_at_once() -> None:
    pair = Pair()
    pair.b.outcomes["desk"] = Outcome.NOT_HERE
    pair.a.ask("anybody?")

    assert pair.b.link.receive(0.0, pair.a.polled(0.0).packet) is False


@pytest.mark.parametrize(
    "settings",
    [
        {"max_frame_rows": 0},
        {"max_frame_rows": 100_000},
        {"max_early_frames": 0},
        {"ack_delay_s": 0.3},
        {"resend_after_s": 9.0},
        {"retry_after_s": 0.0},
    ],
)
def test_settings_that_can_not_work_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(Misuse, match=next(iter(settings))):
        LinkSettings(**settings)  # type: ignore[arg-type]


def test_an_acknowledgement_alone_is_never_answered() -> None:
    pair = Pair()

    pair.b.link.receive(0.0, pack_packet(from_life="a#1", to_life="b#1", ack=0, frames=[]))

    assert pair.b.link.poll(9.0) is None
    assert pair.b.link.next_due() is None
