"""The arriving direction of a link: order, duplicates, closed receivers, and what is to be reported back.

Pure: it hands rows to `deliver` and notes what the other end must be told; `link` decides when to tell it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from regrow.runtime.errors import Bug
from regrow.runtime.link_rows import Row
from regrow.runtime.link_wire import ROW_BITS, Control, Exceptions, Frame, LinkError, Receiver
from regrow.runtime.outcome import Outcome

RowT = TypeVar("RowT", bound=Row)

_INDEX_MASK = (1 << ROW_BITS) - 1


@dataclass(frozen=True, slots=True)
class Arrived(Generic[RowT]):
    """A frame that arrived, its rows decoded."""

    number: int
    prompt: bool
    rows: list[RowT]
    control: Control


class Incoming(Generic[RowT]):
    """Puts arriving frames into order, hands their rows on, and gathers reports for the other end."""

    __slots__ = (
        "_closed",
        "_decode",
        "_deliver",
        "_early",
        "_hungry",
        "_max_early",
        "_open",
        "_prompt_after",
        "_rooms",
        "_settled",
        "_wants_room",
        "delivered",
        "held",
        "marks",
        "prompt",
    )

    def __init__(
        self,
        *,
        decode: Callable[[bytes], list[RowT]],
        deliver: Callable[[RowT, int], Outcome],
        wants_room: Callable[[Receiver], None],
        max_early: int,
        prompt_after: int,
    ) -> None:
        self._decode = decode
        self._deliver = deliver
        self._wants_room = wants_room
        self._max_early = max_early
        self._prompt_after = prompt_after
        self._early: dict[int, Arrived[RowT]] = {}
        # Receivers whose rows are refused since one of them was, until the sender says that it starts anew.
        self._closed: set[Receiver] = set()
        # Receivers for which rows wait over there and no room was offered since we learned it.
        self._hungry: set[Receiver] = set()
        # Frame number → rows taken from it that are not reported as handled.
        self._open: dict[int, int] = {}
        self._settled: list[tuple[int, Exceptions]] = []
        self._rooms: dict[Receiver, int] = {}
        self.delivered = 0
        """The highest frame delivered in order: the acknowledgement."""
        self.marks: list[int] = []
        """Marks of handled rows, not yet reported."""
        self.held: set[int] = set()
        """Marks of rows that are HELD: their senders wait for the report that they are handled."""
        self.prompt = False
        """Whether a report is gathered that the other end waits for."""

    def fresh(self, frames: Iterable[Frame]) -> list[Arrived[RowT]]:
        """Those of the frames that are new and inside the window, decoded; changes nothing.

        A frame beyond the window is as good as lost: its sender sends it again.
        """
        last = self.delivered + self._max_early
        return [
            Arrived(frame.number, frame.prompt, self._decoded(frame), frame.control)
            for frame in frames
            if self.delivered < frame.number <= last and frame.number not in self._early
        ]

    def in_order(self, fresh: Iterable[Arrived[RowT]]) -> list[Arrived[RowT]]:
        """The frames that could be delivered now if `fresh` were kept; changes nothing."""
        candidates = (
            {**self._early, **{frame.number: frame for frame in fresh}}
            if self._early
            else {frame.number: frame for frame in fresh}
        )
        run: list[Arrived[RowT]] = []
        while (frame := candidates.get(self.delivered + 1 + len(run))) is not None:
            run.append(frame)
        return run

    def keep(self, fresh: Iterable[Arrived[RowT]]) -> None:
        """Holds frames until their turn comes."""
        for frame in fresh:
            self._early[frame.number] = frame

    def reopen(self, receivers: Iterable[Receiver]) -> None:
        """The sender starts anew with these receivers: nothing it sent them earlier is on its way."""
        self._closed.difference_update(receivers)

    def deliver(self, frame: Arrived[RowT]) -> bool:
        """Hands the rows of the next frame in order on and notes how each fared; True if all were taken."""
        number, refused = frame.number, 0
        del self._early[number]
        self.delivered = number
        exceptions: Exceptions = ()
        if frame.rows:
            exceptions = self._handed_on(frame.rows, number << ROW_BITS)
            refused = sum([outcome is not Outcome.HELD for _, outcome in exceptions]) if exceptions else 0
            taken = len(frame.rows) - refused
            if taken:
                self._open[number] = taken
            self._settled.append((number, exceptions))
            if frame.prompt or exceptions or len(self._settled) >= self._prompt_after:
                self.prompt = True
        for receiver in frame.control.want:
            # After the frame's rows: the room offered must not be the room these rows took.
            self._hunger(receiver)
        return not refused

    def room(self, receiver: Receiver, rows: int) -> bool:
        """Offers room to the rows that wait over there; False if none does or it has an offer already."""
        if rows < 1 or receiver not in self._hungry:
            return False
        self._hungry.discard(receiver)
        self._rooms[receiver] = rows
        self.prompt = True
        return True

    @property
    def has_settled(self) -> bool:
        """Whether frames were delivered whose sender has not been told how their rows fared."""
        return bool(self._settled)

    @property
    def has_reports(self) -> bool:
        """Whether anything is gathered that a frame could carry."""
        return bool(self._settled or self.marks or self._rooms)

    def take_reports(self) -> Control:
        """All that is gathered, as control rows; it is forgotten here."""
        full, parts = self._take_handled() if self.marks else ([], [])
        control = Control(
            settled=tuple(self._settled),
            handled=_ranges(full),
            handled_rows=tuple(parts),
            room=tuple(self._rooms.items()),
        )
        self._settled.clear()
        self._rooms.clear()
        self.prompt = False
        return control

    def late(self, frames: Iterable[Frame]) -> list[RowT]:
        """The rows of frames that come after `close`, of each frame once; nobody is handed them."""
        fresh = self.fresh(frames)
        self.keep([_emptied(frame) for frame in fresh])
        return [row for frame in fresh for row in frame.rows]

    def close(self) -> list[RowT]:
        """Forgets everything but which frames came; returns the rows of early ones, which were never handed on."""
        undelivered = [row for number in sorted(self._early) for row in self._early[number].rows]
        self._early = {number: _emptied(frame) for number, frame in self._early.items()}
        for gathered in (self._closed, self._hungry, self._open, self._settled, self._rooms, self.marks, self.held):
            gathered.clear()
        self.prompt = False
        return undelivered

    def _decoded(self, frame: Frame) -> list[RowT]:
        rows = self._decode(frame.rows) if frame.n_rows else []
        if len(rows) != frame.n_rows:
            raise LinkError(f"frame {frame.number} decodes to {len(rows)} rows; it announced {frame.n_rows}")
        return rows

    def _handed_on(self, rows: list[RowT], mark: int) -> Exceptions:
        # The hot loop of the arriving side: about 0.1 µs of our own per row.
        deliver, closed, taken = self._deliver, self._closed, Outcome.TAKEN
        exceptions: list[tuple[int, Outcome]] = []
        for row in rows:
            if closed and row.needs_room and row.receiver in closed:
                exceptions.append((mark & _INDEX_MASK, Outcome.FULL))
            elif (outcome := deliver(row, mark)) is not taken:
                exceptions.append((mark & _INDEX_MASK, outcome))
                if outcome is Outcome.FULL:
                    # From here on, or a later row would overtake this one if the receiver took one meanwhile.
                    assert row.needs_room, f"a row for {row.receiver!r} that needs no room was refused as FULL"
                    closed.add(row.receiver)
                    self._hunger(row.receiver)
                elif outcome is Outcome.HELD:
                    self.held.add(mark)
            mark += 1
        return tuple(exceptions)

    def _hunger(self, receiver: Receiver) -> None:
        if receiver not in self._hungry:
            self._hungry.add(receiver)
            self._wants_room(receiver)

    def _take_handled(self) -> tuple[list[int], list[tuple[int, tuple[int, ...]]]]:
        """(numbers of frames now wholly handled, handled rows of the others), from the marks gathered.

        Sorted, the marks of a wholly handled frame are one run as long as the frame had rows left, so one
        look at the run's end settles the whole frame.
        """
        marks, self.marks = self.marks, []
        marks.sort()
        full: list[int] = []
        parts: list[tuple[int, tuple[int, ...]]] = []
        start = 0
        while start < len(marks):
            number = marks[start] >> ROW_BITS
            left = self._open.get(number, 0)
            end = start + left
            if left and end <= len(marks) and marks[end - 1] >> ROW_BITS == number:
                full.append(number)
                del self._open[number]
            else:
                end = bisect_left(marks, (number + 1) << ROW_BITS, start)
                if end - start > left:
                    raise Bug(
                        f"rows of frame {number} were marked handled twice or never taken; mark each taken row once"
                    )
                parts.append((number, tuple([mark & _INDEX_MASK for mark in marks[start:end]])))
                self._open[number] = left - (end - start)
            start = end
        return full, parts


def _emptied(frame: Arrived[RowT]) -> Arrived[RowT]:
    """What is kept of a frame that will not be handed on: that it came."""
    return Arrived(frame.number, False, [], Control())


def _ranges(numbers: list[int]) -> tuple[tuple[int, int], ...]:
    """Ascending numbers as (first, last) ranges: [1, 2, 3, 7] is (1, 3), (7, 7)."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)
