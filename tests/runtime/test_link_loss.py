"""Calls that fail, overtake each other or never end, and peers that can not be called."""

from __future__ import annotations

import pytest

from regrow.runtime.link import LinkSettings
from regrow.runtime.outcome import Outcome
from tests.runtime.link_pair import Pair


def test_frames_that_overtake_each_other_are_delivered_in_order() -> None:
    pair = Pair(LinkSettings(max_frame_rows=1))
    pair.a.send("1", "2")
    first, second = pair.a.polled(0.0), pair.a.polled(0.0)

    pair.b.link.receive(0.0, second.packet)
    early = list(pair.b.got)
    pair.b.link.receive(0.0, first.packet)

    assert early == []
    assert pair.b.got == ["1", "2"]


def test_a_packet_that_comes_twice_is_delivered_once() -> None:
    pair = Pair()
    pair.a.send("once")
    call = pair.a.polled(0.0)

    pair.b.link.receive(0.0, call.packet)
    pair.b.link.receive(0.0, call.packet)

    assert pair.b.got == ["once"]


def test_frames_beyond_the_window_are_ignored_and_come_again() -> None:
    wide, narrow = LinkSettings(max_frame_rows=1, max_calls_in_flight=5), LinkSettings(max_early_frames=2)
    pair = Pair(wide, b_settings=narrow)
    pair.a.send("1", "2", "3", "4")
    calls = [pair.a.polled(0.0) for _ in range(4)]

    for call in reversed(calls):
        pair.carry(0.001, call)
    arrived = list(pair.b.got)
    pair.settle(0.002)

    assert arrived == ["1", "2"]
    assert pair.b.got == ["1", "2", "3", "4"]


def test_no_more_frames_are_sent_than_the_window_holds() -> None:
    pair = Pair(LinkSettings(max_frame_rows=1, max_early_frames=3, max_calls_in_flight=9))
    pair.a.send(*"123456")

    calls = [pair.a.link.poll(0.0) for _ in range(6)]

    assert [call is not None for call in calls] == [True, True, True, False, False, False]


def test_packets_of_another_life_are_ignored() -> None:
    pair = Pair()
    pair.a.send("old")
    call = pair.a.polled(0.0)
    reborn = Pair().b
    reborn.link.peer_life = "a#2"

    reborn.link.receive(0.0, call.packet)

    assert reborn.got == []


def test_a_failed_call_is_made_again_with_the_same_frame_and_later_each_time() -> None:
    pair = Pair(LinkSettings(retry_after_s=0.01))
    pair.a.send("again")
    packets = [pair.a.polled(0.0)]
    delays: list[float] = []
    now = 0.0
    for _ in range(3):
        pair.a.link.call_failed(now, packets[-1].number)
        assert pair.a.link.poll(now) is None
        due_s = pair.a.link.next_due()
        assert due_s is not None
        delays.append(due_s - now)
        now = due_s
        packets.append(pair.a.polled(now))

    pair.b.link.receive(now, packets[0].packet)
    pair.carry(now, packets[-1])

    assert delays == pytest.approx([0.01, 0.02, 0.04])
    assert pair.b.got == ["again"]


def test_new_rows_do_not_call_a_peer_that_just_failed() -> None:
    pair = Pair()
    pair.a.send("one")
    pair.a.link.call_failed(0.0, pair.a.polled(0.0).number)

    pair.a.send("two")

    assert pair.a.link.poll(0.005) is None
    pair.carry(0.01, pair.a.polled(0.01))
    assert pair.b.got == ["one", "two"]


def test_a_row_sent_in_the_quiet_after_a_failure_has_a_timer_though_nothing_was_due() -> None:
    pair = Pair()
    pair.b.send("news")
    pair.carry(0.0, pair.b.polled(0.0), caller=pair.b)
    pair.b.link.call_failed(1.0, pair.b.polled(1.0).number)
    assert pair.b.link.poll(1.0) is None

    due_s = pair.b.link.next_due()

    assert due_s == pytest.approx(1.01)


def test_a_call_without_result_is_sent_again_and_holds_new_rows_up_only_so_long() -> None:
    pair = Pair(LinkSettings(resend_after_s=0.25))
    pair.a.send("stuck")
    pair.a.polled(0.0)
    pair.a.send("behind")

    assert pair.a.link.poll(0.24) is None
    assert pair.a.link.next_due() == 0.25
    pair.carry(0.25, pair.a.polled(0.25))

    assert pair.b.got == ["stuck", "behind"]


def test_a_lost_call_that_a_later_one_passed_does_not_make_the_next_one_wait_longer() -> None:
    pair = Pair(LinkSettings(resend_after_s=0.25, max_calls_in_flight=1))
    pair.a.send("lost")
    pair.a.polled(0.0)  # it pends for two seconds more: so long Ray takes to say that it failed
    pair.carry(0.25, pair.a.polled(0.25))
    pair.a.send("lost too")
    pair.a.polled(0.3)

    pair.a.send("behind")

    assert pair.a.link.poll(0.54) is None
    assert pair.a.link.next_due() == pytest.approx(0.55)


def test_the_late_failure_of_a_call_that_a_later_one_passed_holds_nothing_up() -> None:
    pair = Pair()
    pair.a.send("one")
    lost = pair.a.polled(0.0)
    pair.carry(0.25, pair.a.polled(0.25))
    pair.a.link.call_failed(2.0, lost.number)

    pair.a.send("two")

    pair.carry(2.0, pair.a.polled(2.0))
    assert pair.b.got == ["one", "two"]


def test_so_many_calls_without_result_and_no_further_one_starts() -> None:
    pair = Pair(LinkSettings(max_calls_pending=3))
    pair.a.send("stuck")
    now = 0.0
    for _ in range(3):
        pair.a.polled(now)
        now += 100.0

    assert pair.a.link.poll(now) is None
    assert pair.a.link.next_due() is None


def test_a_lost_return_delivers_nothing_twice_and_its_reports_come_again() -> None:
    pair = Pair()
    pair.a.send("told", waits=True)
    call = pair.a.polled(0.0)
    pair.b.link.receive(0.0, call.packet)
    pair.b.link.answer(0.0)
    pair.a.link.call_failed(0.001, call.number)

    pair.settle(0.02)

    assert pair.b.got == ["told"]
    assert pair.a.told == [("told", Outcome.TAKEN)]


def test_rows_for_a_driver_leave_with_the_returns_of_its_calls() -> None:
    pair = Pair(b_calls=False)
    pair.b.send("for the driver")
    assert pair.b.link.poll(0.0) is None
    pair.a.send("call")

    pair.carry(0.0, pair.a.polled(0.0))

    assert pair.a.got == ["for the driver"]


def test_rows_for_a_driver_end_its_listen_call() -> None:
    pair = Pair(b_calls=False)
    pair.b.link.receive(0.0, pair.a.link.answer(0.0))
    pair.b.link.peer_listens()
    silent = pair.b.link.poll_answer(0.0)

    pair.b.send("news")
    packet = pair.b.link.poll_answer(0.001)

    assert silent is None
    assert pair.b.wakes == 1
    assert packet is not None
    pair.a.link.receive(0.001, packet)
    assert pair.a.got == ["news"]


def test_what_can_not_be_said_to_a_driver_that_does_not_listen_has_no_timer() -> None:
    pair = Pair(b_calls=False)
    pair.b.send("news")

    assert pair.b.link.poll_answer(0.0) is None
    assert pair.b.link.next_due() is None


def test_a_lost_listen_return_is_said_again_in_the_next() -> None:
    pair = Pair(b_calls=False)
    pair.b.send("news")
    pair.b.link.peer_listens()
    pair.b.link.poll_answer(0.0)

    pair.b.link.peer_listens()
    packet = pair.b.link.poll_answer(0.3)

    assert packet is not None
    pair.a.link.receive(0.3, packet)
    assert pair.a.got == ["news"]
