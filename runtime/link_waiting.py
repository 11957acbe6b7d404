"""The rows of a link that wait for room at their receivers, one line per blocked receiver.

A receiver is blocked from the first row it refused until the last row waiting for it has left. What keeps the order:

    1. The peer refuses every later row for it too, until it reads *reopen* in a frame.
    2. Nothing for it leaves while rows for it are in flight, since any of them may come back refused, and older.
    3. So when its turn comes, reopen goes in the same frame as the rows, and no row sent earlier can follow it.

Other receivers never notice: their rows go on in the same frames.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic

from regrow.runtime.link_rows import RowT
from regrow.runtime.link_wire import Receiver


class Line(Generic[RowT]):
    """The rows that wait for one blocked receiver, oldest first."""

    __slots__ = ("grant", "is_congested", "is_held", "receiver", "refused", "rows")

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        # Rows are keyed by identity: they are opaque, and taking one out must not search. Refused rows are older
        # than all others, and stay apart until all that were in flight are back.
        self.refused: OrderedDict[int, RowT] = OrderedDict()
        self.rows: OrderedDict[int, RowT] = OrderedDict()
        self.grant = 0
        self.is_held = False
        self.is_congested = False

    def __len__(self) -> int:
        return len(self.refused) + len(self.rows)


class WaitingRows(Generic[RowT]):
    """All lines of one link, and whose turn it is."""

    __slots__ = ("_held", "_lines", "_max_rows", "_relieved", "_turns")

    def __init__(self, *, max_rows: int, relieved: Callable[[Receiver], None]) -> None:
        self._max_rows = max_rows
        self._relieved = relieved
        self._lines: dict[Receiver, Line[RowT]] = {}
        # Frame number → lines that are held until that frame is settled.
        self._held: dict[int, list[Line[RowT]]] = {}
        # Lines with room granted and nothing in flight.
        self._turns: dict[Receiver, Line[RowT]] = {}

    def __bool__(self) -> bool:
        """Whether any receiver is blocked."""
        return bool(self._lines)

    @property
    def has_turns(self) -> bool:
        """Whether a frame could carry waiting rows now."""
        return bool(self._turns)

    def line(self, receiver: Receiver) -> Line[RowT] | None:
        """The line of this receiver if it is blocked."""
        return self._lines.get(receiver)

    def has_room_in(self, line: Line[RowT]) -> bool:
        """Whether another row may be added to this line."""
        return len(line) < self._max_rows

    def add(self, line: Line[RowT], row: RowT) -> bool:
        """Puts a row at the end of a line; False if the line is as long as it may be."""
        if not self.has_room_in(line):
            line.is_congested = True
            return False
        line.rows[id(row)] = row
        return True

    def withdraw(self, row: RowT) -> bool:
        """Takes a row out of its line; False if it is in none."""
        line = self._lines.get(row.receiver)
        if line is None or (line.rows.pop(id(row), None) is None and line.refused.pop(id(row), None) is None):
            return False
        self._relieve(line)
        return True

    def refuse(self, rows: Iterable[RowT], *, held_until: int) -> set[Receiver]:
        """Keeps rows that came back refused; returns the receivers that became blocked by it.

        `held_until` is the last frame sent that holds rows: those for a receiver that is blocked now are in it or
        earlier.
        """
        new: set[Receiver] = set()
        for row in rows:
            line = self._lines.get(row.receiver)
            if line is None:
                line = self._lines[row.receiver] = Line(row.receiver)
                self._hold(line, held_until)
                new.add(row.receiver)
            line.refused[id(row)] = row
        return new

    def pull_back(self, rows: Iterable[RowT]) -> None:
        """Puts rows that were about to leave into the lines of their receivers, which became blocked."""
        for row in rows:
            self._lines[row.receiver].rows[id(row)] = row

    def settled(self, number: int) -> None:
        """This frame is settled: lines held for it have nothing in flight any more."""
        for line in self._held.pop(number, ()):
            line.is_held = False
            for key, row in reversed(line.refused.items()):
                line.rows[key] = row
                line.rows.move_to_end(key, last=False)
            line.refused.clear()
            if line.grant:
                self._turns[line.receiver] = line

    def room(self, receiver: Receiver, rows: int) -> None:
        """The receiver has room for so many rows; ignored if none wait (they were withdrawn)."""
        line = self._lines.get(receiver)
        if line is not None:
            line.grant = rows
            if not line.is_held:
                self._turns[receiver] = line

    def next_rows(self, limit: int) -> list[tuple[Line[RowT], list[RowT]]]:
        """The lines whose turn it is, each with the rows that may leave now, `limit` in all; changes nothing.

        A line emptied by withdrawals has a turn without rows: the peer must still hear that it is open again.
        """
        chosen: list[tuple[Line[RowT], list[RowT]]] = []
        for line in self._turns.values():
            rows = list(islice(line.rows.values(), min(line.grant, limit)))
            if rows or not line.rows:
                chosen.append((line, rows))
                limit -= len(rows)
        return chosen

    def leave(
        self, chosen: list[tuple[Line[RowT], list[RowT]]], number: int
    ) -> tuple[tuple[Receiver, ...], tuple[Receiver, ...]]:
        """Lets these rows go with the frame of this number; returns the (reopen, want) it must carry."""
        want: list[Receiver] = []
        for line, rows in chosen:
            for row in rows:
                del line.rows[id(row)]
            line.grant -= len(rows)
            del self._turns[line.receiver]
            if not line.rows:
                # Rows sent from now on may follow directly: nothing is left that they could overtake.
                del self._lines[line.receiver]
                continue
            if line.grant < 1:
                want.append(line.receiver)
            self._hold(line, number)
        return tuple([line.receiver for line, _ in chosen]), tuple(want)

    def relieve(self, chosen: list[tuple[Line[RowT], list[RowT]]]) -> None:
        """Tells whoever met a full line that it has become shorter."""
        for line, _ in chosen:
            self._relieve(line)

    def close(self) -> list[RowT]:
        """All waiting rows; all is forgotten here."""
        rows = [row for line in self._lines.values() for row in (*line.refused.values(), *line.rows.values())]
        self._lines.clear()
        self._held.clear()
        self._turns.clear()
        return rows

    def _hold(self, line: Line[RowT], number: int) -> None:
        line.is_held = True
        self._held.setdefault(number, []).append(line)

    def _relieve(self, line: Line[RowT]) -> None:
        if line.is_congested and self.has_room_in(line):
            line.is_congested = False
            self._relieved(line.receiver)
