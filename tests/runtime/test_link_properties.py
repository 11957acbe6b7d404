"""Links under any sequence of events that a network and its hosts can come up with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.runtime.link import Call, LinkError, LinkSettings, RowState
from regrow.runtime.outcome import Outcome
from tests.runtime.link_pair import Pair, Side, TableRow, states

pytestmark = pytest.mark.slow

RECEIVERS = ("desk", "shop")
LINK_SETTINGS = [
    LinkSettings(max_frame_rows=1, max_early_frames=2, max_calls_in_flight=2),
    LinkSettings(max_frame_rows=3, max_early_frames=3, max_calls_in_flight=3, max_waiting_rows=3),
    LinkSettings(),
]
SIDES = st.sampled_from("ab")
STEP = st.one_of(
    st.tuples(st.just("send"), SIDES, st.sampled_from(RECEIVERS), st.booleans()),
    st.tuples(st.just("poll"), SIDES),
    st.tuples(st.sampled_from(("arrive", "return", "lose reply", "fail", "forget")), st.integers(0, 5)),
    st.tuples(st.sampled_from(("fill", "read")), SIDES, st.sampled_from(RECEIVERS)),
    st.tuples(st.sampled_from(("handle", "withdraw")), SIDES, st.integers(0, 20)),
    st.tuples(st.just("pass"), st.sampled_from((0.001, 0.05, 0.3, 5.0))),
)


class Table:
    """A pair of links, the calls between them, and what each step does to them."""

    def __init__(self, link_settings: LinkSettings) -> None:
        self.pair = Pair(link_settings)
        self.sides = {"a": self.pair.a, "b": self.pair.b}
        self.peers = {"a": self.pair.b, "b": self.pair.a}
        self.now = 0.0
        self.calls: list[tuple[str, Call, bytes | None]] = []
        self.sent: dict[str, list[TableRow]] = {"a": [], "b": []}
        self.withdrawn: list[str] = []
        self.handled: list[str] = []
        self.texts: Iterator[int] = count()

    def do(self, step: tuple[object, ...]) -> None:
        match step:
            case ("send", str(name), str(receiver), bool(needs_room)):
                row = TableRow(f"{next(self.texts)}", receiver, needs_room)
                if self.sides[name].link.send(row):
                    self.sent[name].append(row)
            case ("poll", str(name)):
                call = self.sides[name].link.poll(self.now)
                if call is not None:
                    self.calls.append((name, call, None))
            case ("pass", float(seconds)):
                self.now += seconds
            case ("fill", str(name), str(receiver)):
                self.sides[name].full.add(receiver)
            case ("read", str(name), str(receiver)):
                self.read(self.sides[name], receiver)
            case ("handle", str(name), int(which)):
                marks = list(self.sides[name].marks)
                if marks:
                    self.handle(self.sides[name], marks[which % len(marks)])
            case ("withdraw", str(name), int(which)):
                rows = self.sent[name]
                if rows and self.sides[name].link.withdraw(row := rows[which % len(rows)]):
                    self.withdrawn.append(row.text)
            case (str(fate), int(which)):
                if self.calls:
                    self.carry(fate, which % len(self.calls))
            case _:
                raise AssertionError(step)

    def carry(self, fate: str, which: int) -> None:
        """Something happens to one of the calls: any of them may be next, and may arrive again and again."""
        name, call, answer = self.calls[which]
        caller, callee = self.sides[name], self.peers[name]
        if fate in ("arrive", "return", "lose reply"):
            callee.link.receive(self.now, call.packet)
            answer = callee.link.answer(self.now)
            self.calls[which] = (name, call, answer)
        if fate == "return":
            caller.link.call_returned(self.now, call.number, answer)
        if fate in ("fail", "lose reply"):
            caller.link.call_failed(self.now, call.number)
        if fate == "forget":
            del self.calls[which]
            caller.link.call_failed(self.now, call.number)

    def read(self, side: Side, receiver: str) -> None:
        side.full.discard(receiver)
        side.link.room(receiver, 2)

    def handle(self, side: Side, text: str) -> None:
        self.handled.append(text)
        side.handle(text)

    def come_to_rest(self) -> None:
        """All receivers read on, no call fails any more, and both sides say what is left."""
        for name, call, _ in self.calls:
            self.sides[name].link.call_failed(self.now, call.number)
        for _ in range(60):
            for side in self.sides.values():
                for receiver in RECEIVERS:
                    self.read(side, receiver)
            self.now = self.pair.settle(self.now + 5.0)

    def check_order(self) -> None:
        """What was delivered is what was sent, once, in order for each receiver and lane."""
        for name, rows in self.sent.items():
            got = self.peers[name].got
            assert len(got) == len(set(got))
            for receiver in RECEIVERS:
                for needs_room in (True, False):
                    lane = [row.text for row in rows if (row.receiver, row.needs_room) == (receiver, needs_room)]
                    arrived = [text for text in got if text in lane]
                    assert arrived == [text for text in lane if text in arrived]


@given(st.sampled_from(LINK_SETTINGS), st.lists(STEP, max_size=60))
def test_whatever_happens_every_row_arrives_once_and_in_order(
    link_settings: LinkSettings, steps: list[tuple[object, ...]]
) -> None:
    table = Table(link_settings)

    for step in steps:
        table.do(step)
        table.check_order()
    table.come_to_rest()

    for name, rows in table.sent.items():
        arrived = set(table.peers[name].got)
        assert arrived.isdisjoint(table.withdrawn)
        assert arrived | set(table.withdrawn) >= {row.text for row in rows}
    table.check_order()


@given(st.sampled_from(LINK_SETTINGS), st.lists(STEP, max_size=60))
def test_whenever_a_link_is_closed_it_returns_each_unfinished_row_once_and_truly(
    link_settings: LinkSettings, steps: list[tuple[object, ...]]
) -> None:
    table = Table(link_settings)
    for step in steps:
        table.do(step)

    for name, side in table.sides.items():
        remains = side.link.close()
        returned = states(remains)
        assert len(remains.rows) == len(returned)
        got = set(table.peers[name].got)
        sent = {row.text for row in table.sent[name]}
        assert sent - returned.keys() <= set(table.handled) | set(table.withdrawn)
        assert returned.keys() <= sent - set(table.withdrawn)
        for text, state in returned.items():
            assert state is RowState.IN_FLIGHT or (state is RowState.TAKEN) == (text in got)


@given(st.sampled_from(LINK_SETTINGS), st.lists(STEP, max_size=60))
def test_a_timer_armed_after_a_poll_never_lies_in_the_past(
    link_settings: LinkSettings, steps: list[tuple[object, ...]]
) -> None:
    table = Table(link_settings)

    for step in steps:
        table.do(step)
        for side in table.sides.values():
            while (call := side.link.poll(table.now)) is not None:
                table.calls.append(("a" if side is table.pair.a else "b", call, None))
            due_s = side.link.next_due()
            assert due_s is None or due_s > table.now


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=40))
def test_rows_handled_in_any_order_are_forgotten_and_no_others(
    rows_per_frame: int, handled: list[tuple[int, bool]]
) -> None:
    pair = Pair(LinkSettings(max_frame_rows=rows_per_frame))
    pair.b.outcomes["gone"] = Outcome.NOT_HERE
    pair.a.send(*[f"{number}" for number in range(20)])
    pair.a.send("nobody", receiver="gone")
    pair.a.send(*[f"{number}" for number in range(20, 41)])
    now = pair.settle(0.0)

    left = {f"{number}" for number in range(41)}
    for number, is_reported in handled:
        if (text := f"{number}") in left:
            left.discard(text)
            pair.b.handle(text)
        if is_reported:
            now = pair.settle(now)
    pair.settle(now)

    assert states(pair.a.link.close()) == dict.fromkeys(left, RowState.TAKEN)


@given(st.binary(max_size=200), st.integers(0, 10_000), st.integers(0, 255))
def test_damaged_packets_raise_link_errors_and_nothing_else(noise: bytes, place: int, byte: int) -> None:
    pair = Pair()
    pair.b.full.add("shop")
    pair.a.send("1", "2")
    pair.a.send("3", receiver="shop")
    pair.b.send("4", waits=True)
    call = pair.a.polled(0.0)
    reply_to = pair.b.polled(0.0)
    pair.a.link.receive(0.0, reply_to.packet)
    answer = bytearray(pair.a.link.answer(0.0))
    answer[place % len(answer)] = byte

    for packet in (noise, bytes(answer), call.packet[: place % len(call.packet)]):
        with suppress(LinkError):
            pair.b.link.receive(0.0, packet)
