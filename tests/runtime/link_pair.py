"""Two ends of a link on a table: the test carries each packet by hand, and sees what each end did with it."""

from __future__ import annotations

from dataclasses import dataclass

import msgpack

from regrow.runtime.link import Call, Link, LinkError, LinkPorts, LinkSettings, Remains, RowState
from regrow.runtime.outcome import Outcome


@dataclass(slots=True, eq=False)
class TableRow:
    """A row with nothing but a text and what a link must know."""

    text: str
    receiver: str = "desk"
    needs_room: bool = True
    is_ask: bool = False
    on_settled: object = None


class Side:
    """One end, with everything that came out of it."""

    def __init__(self, ours: str, peers: str, settings: LinkSettings, *, can_call: bool) -> None:
        self.got: list[str] = []
        self.marks: dict[str, int] = {}
        self.told: list[tuple[str, Outcome]] = []
        self.wanted: list[object] = []
        self.relieved: list[object] = []
        self.wakes = 0
        self.full: set[str] = set()
        """Receivers without room."""
        self.outcomes: dict[str, Outcome] = {}
        """Receivers whose rows meet another end than TAKEN."""
        self.link: Link[TableRow] = Link(
            our_life=ours,
            peer_life=peers,
            ports=LinkPorts(
                encode=_encode,
                decode=_decode,
                deliver=self._deliver,
                settled=lambda row, outcome: self.told.append((row.text, outcome)),
                wants_room=self.wanted.append,
                relieved=self.relieved.append,
                wake=self._wake,
            ),
            settings=settings,
            can_call=can_call,
        )

    def send(self, *texts: str, receiver: str = "desk", needs_room: bool = True, waits: bool = False) -> list[TableRow]:
        """Sends rows with these texts; returns them."""
        rows = [TableRow(text, receiver, needs_room, on_settled=self if waits else None) for text in texts]
        for row in rows:
            assert self.link.send(row)
        return rows

    def ask(self, text: str) -> TableRow:
        """Sends a row that a reply will follow."""
        row = TableRow(text, is_ask=True)
        assert self.link.send(row)
        return row

    def handle(self, *texts: str) -> None:
        """Handles rows that were delivered here."""
        for text in texts:
            self.link.handled(self.marks.pop(text))

    def polled(self, now: float) -> Call:
        """The next call, which there must be."""
        call = self.link.poll(now)
        assert call is not None
        return call

    def _deliver(self, row: TableRow, mark: int) -> Outcome:
        if row.needs_room and row.receiver in self.full:
            return Outcome.FULL
        outcome = self.outcomes.get(row.receiver, Outcome.TAKEN)
        if outcome in (Outcome.TAKEN, Outcome.HELD):
            self.got.append(row.text)
            self.marks[row.text] = mark
        return outcome

    def _wake(self) -> None:
        self.wakes += 1


class Pair:
    """Two sides of one link, `a` and `b`."""

    def __init__(
        self, settings: LinkSettings | None = None, *, b_calls: bool = True, b_settings: LinkSettings | None = None
    ) -> None:
        settings = settings or LinkSettings()
        self.a = Side("a#1", "b#1", settings, can_call=True)
        self.b = Side("b#1", "a#1", b_settings or settings, can_call=b_calls)

    def carry(self, now: float, call: Call, *, caller: Side | None = None) -> None:
        """Takes a call to the other side and its answer back."""
        caller = caller or self.a
        callee = self.b if caller is self.a else self.a
        callee.link.receive(now, call.packet)
        caller.link.call_returned(now, call.number, callee.link.answer(now))

    def settle(self, now: float) -> float:
        """Carries whatever either side says, as time passes, until both are silent; returns the time then."""
        for _ in range(1_000):
            for side in (self.a, self.b):
                while (call := side.link.poll(now)) is not None:
                    self.carry(now, call, caller=side)
            dues = [due for side in (self.a, self.b) if (due := side.link.next_due()) is not None]
            if not dues:
                return now
            now = max(now, min(dues))
        raise AssertionError("the two sides never fall silent")


def states(remains: Remains[TableRow]) -> dict[str, RowState]:
    """The state of each returned row by its text."""
    return {row.text: state for row, state in remains.rows}


def _encode(rows: list[TableRow]) -> bytes:
    packed: bytes | None = msgpack.packb([(row.text, row.receiver, row.needs_room, row.is_ask) for row in rows])
    assert packed is not None
    return packed


def _decode(packed: bytes) -> list[TableRow]:
    try:
        return [TableRow(*fields) for fields in msgpack.unpackb(packed)]
    except (ValueError, TypeError) as error:
        raise LinkError(f"rows of {len(packed)} bytes are damaged: {error}") from error
