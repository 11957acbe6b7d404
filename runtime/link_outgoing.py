"""The leaving direction of a link: rows unsent, in flight, waiting for room, and taken but not handled.

Pure: it numbers frames and keeps every row until its fate is known; `link` decides when a frame leaves.
A row moves like this, and `close` tells where it was:

    send ──► unsent ──► in flight ──► taken, or held ──► (handled, or stored: forgotten)
      │        ▲ ▼           │
      └──► waiting ◄─────────┘ refused as FULL, or behind a row that was
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic

from regrow.runtime.link_rows import LinkSettings, RowState, RowT
from regrow.runtime.link_waiting import WaitingRows
from regrow.runtime.link_wire import Control, Exceptions, LinkError, Receiver, pack_payload
from regrow.runtime.outcome import Outcome


class SentFrame(Generic[RowT]):
    """A numbered frame: its payload until it is acknowledged, its rows until they are settled."""

    __slots__ = ("acked", "due_s", "number", "payload", "rows", "tries", "waiters")

    def __init__(self, number: int, payload: bytes, rows: list[RowT], waiters: list[RowT]) -> None:
        self.number = number
        self.payload = payload
        self.rows = rows
        self.waiters = waiters
        self.acked = False
        self.tries = 0
        self.due_s = 0.0


class Outgoing(Generic[RowT]):
    """Gathers rows, seals them into frames, and follows each row to its end."""

    __slots__ = (
        "_congested",
        "_encode",
        "_held",
        "_last_row_frame",
        "_relieved",
        "_rows_per_frame",
        "_settings",
        "_taken",
        "_tell_settled",
        "_unsettled",
        "_unsettled_rows",
        "sealed",
        "settled",
        "unacked",
        "unsent",
        "waiting",
    )

    def __init__(
        self,
        settings: LinkSettings,
        *,
        encode: Callable[[list[RowT]], bytes],
        tell_settled: Callable[[RowT, Outcome], None],
        relieved: Callable[[Receiver | None], None],
    ) -> None:
        self._settings = settings
        self._encode = encode
        self._tell_settled = tell_settled
        self._relieved = relieved
        self._unsettled: deque[SentFrame[RowT]] = deque()
        self._unsettled_rows = 0
        self._taken: dict[int, dict[int, RowT]] = {}
        # Rows of which nothing is told until they are reported as handled, which here means stored.
        self._held: dict[int, dict[int, RowT]] = {}
        self._congested = False
        self._last_row_frame = 0
        self._rows_per_frame = settings.max_frame_rows
        self.unsent: dict[int, RowT] = {}
        """Rows for the next frames, in order, by identity."""
        self.waiting: WaitingRows[RowT] = WaitingRows(max_rows=settings.max_waiting_rows, relieved=relieved)
        """Rows whose receiver is blocked."""
        self.unacked: deque[SentFrame[RowT]] = deque()
        """Frames whose arrival is not known, in order."""
        self.sealed = 0
        """The number of the last frame made."""
        self.settled = 0
        """The number of the last frame whose rows are settled."""

    # ---- rows in -------------------------------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether `send` takes a row that needs room, its receiver not being blocked."""
        return self._unsettled_rows < self._settings.max_unsettled_rows

    def has_room_for(self, receiver: Receiver) -> bool:
        """Whether `send` takes a row that needs room for this receiver."""
        line = self.waiting.line(receiver)
        return self.has_room if line is None else self.waiting.has_room_in(line)

    def send(self, row: RowT) -> bool:
        """Takes a row; False if a limit is reached, and `relieved` tells later."""
        if row.needs_room:
            if self.waiting and (line := self.waiting.line(row.receiver)) is not None:
                return self.waiting.add(line, row)
            if self._unsettled_rows >= self._settings.max_unsettled_rows:
                self._congested = True
                return False
        self._unsettled_rows += 1
        self.unsent[id(row)] = row
        return True

    def withdraw(self, row: RowT) -> bool:
        """Takes a row out that waits or has not left; False if it may be on its way."""
        if self.unsent.pop(id(row), None) is None:
            return self.waiting.withdraw(row)
        self._unsettled_rows -= 1
        self._relieve()
        return True

    # ---- frames out ----------------------------------------------------------------------------------------------

    @property
    def can_seal(self) -> bool:
        """Whether another frame may be numbered; beyond the window the peer would ignore it."""
        return len(self.unacked) < self._settings.max_early_frames

    @property
    def is_full(self) -> bool:
        """Whether a full frame of rows is ready."""
        return len(self.unsent) >= self._rows_per_frame

    @property
    def rows_per_frame(self) -> int:
        """How many rows make a frame full, by the size of the rows seen."""
        return self._rows_per_frame

    def seal(self, reports: Callable[[], Control]) -> SentFrame[RowT]:
        """Makes the next frame of what is ready; `reports` is asked for the control rows once nothing can fail."""
        turns = self.waiting.next_rows(self._rows_per_frame) if self.waiting.has_turns else []
        rows = [row for _, leaving in turns for row in leaving]
        granted = len(rows)
        rows += islice(self.unsent.values(), self._rows_per_frame - granted)
        encoded = self._encode(rows) if rows else b""

        self.sealed += 1
        self._leave(rows, granted)
        control = reports()
        if turns:
            reopen, want = self.waiting.leave(turns, self.sealed)
            control = control._replace(reopen=reopen, want=want)
        waiters = [row for row in rows if row.on_settled is not None]
        payload = pack_payload(prompt=bool(waiters), n_rows=len(rows), rows=encoded, control=control)
        frame = SentFrame(self.sealed, payload, rows, waiters)
        self.unacked.append(frame)
        if rows:
            self._unsettled.append(frame)
            self._last_row_frame = frame.number
            self._aim(len(encoded) / len(rows))
        self.waiting.relieve(turns)
        return frame

    def resends(self, now: float) -> list[SentFrame[RowT]]:
        """The unacknowledged frames that are due to be sent again, up to about one frame's bytes."""
        due: list[SentFrame[RowT]] = []
        size_bytes = 0
        for frame in self.unacked:
            if frame.due_s <= now:
                if due and size_bytes + len(frame.payload) > self._settings.max_frame_bytes:
                    break
                due.append(frame)
                size_bytes += len(frame.payload)
        return due

    def resend_due_s(self) -> float | None:
        """When the next unacknowledged frame is to be sent again."""
        return min([frame.due_s for frame in self.unacked], default=None)

    # ---- what the peer says --------------------------------------------------------------------------------------

    def check(self, controls: Iterable[Control]) -> None:
        """Makes sure that these control rows, applied in order, fit what was sent; changes nothing.

        Raises: LinkError naming the first that does not.
        """
        unsettled = iter(self._unsettled)
        settled = self.settled
        for control in controls:
            for number, exceptions in control.settled:
                frame = next(unsettled, None)
                if frame is None or frame.number != number:
                    raise LinkError(f"frame {number} is settled; the next to be settled is {frame and frame.number}")
                _check_rows(frame, exceptions)
                settled = number
            last_handled = [last for _, last in control.handled] + [number for number, _ in control.handled_rows]
            if last_handled and max(last_handled) > settled:
                raise LinkError(f"frame {max(last_handled)} is handled; only those up to {settled} are settled")

    def acked(self, number: int) -> None:
        """All frames up to this one have arrived."""
        while self.unacked and self.unacked[0].number <= number:
            frame = self.unacked.popleft()
            frame.acked = True
            frame.payload = b""

    def apply(self, control: Control) -> None:
        """What the peer reports about our rows, checked before."""
        for number, exceptions in control.settled:
            self._settle(number, exceptions)
        stored: list[RowT] = []
        for first, last in control.handled:
            for number in range(first, last + 1):
                self._taken.pop(number, None)
                stored += self._held.pop(number, {}).values()
        for number, indices in control.handled_rows:
            rows, held = self._taken.get(number, {}), self._held.get(number, {})
            for index in indices:
                rows.pop(index, None)
                if index in held:
                    stored.append(held.pop(index))
        for row in stored:
            if row.on_settled is not None:
                self._tell_settled(row, Outcome.TAKEN)
        for receiver, count in control.room:
            self.waiting.room(receiver, count)

    def close(self) -> list[tuple[RowT, RowState]]:
        """Every row not known to be handled, with how far it came; all is forgotten here."""
        rows = [(row, RowState.TAKEN) for taken in self._taken.values() for row in taken.values()]
        rows += [(row, RowState.HELD) for held in self._held.values() for row in held.values()]
        rows += [(row, RowState.IN_FLIGHT) for frame in self._unsettled for row in frame.rows]
        rows += [(row, RowState.WAITING) for row in self.waiting.close()]
        rows += [(row, RowState.UNSENT) for row in self.unsent.values()]
        for kept in (self._taken, self._held, self._unsettled, self.unsent, self.unacked):
            kept.clear()
        self._unsettled_rows = 0
        return rows

    # ---- inside --------------------------------------------------------------------------------------------------

    def _leave(self, rows: list[RowT], granted: int) -> None:
        """Takes the rows of a frame out of those unsent; the first ones come from the waiting lines instead."""
        self._unsettled_rows += granted
        if len(rows) - granted == len(self.unsent):
            self.unsent.clear()
        else:
            for row in islice(rows, granted, None):
                del self.unsent[id(row)]

    def _settle(self, number: int, exceptions: Exceptions) -> None:
        frame = self._unsettled.popleft()
        self.settled = number
        self._unsettled_rows -= len(frame.rows)
        if exceptions:
            told = self._sorted_out(frame, dict(exceptions))
        else:
            self._taken[number] = dict(enumerate(frame.rows))
            told = [(row, Outcome.TAKEN) for row in frame.waiters]
        self.waiting.settled(number)
        # Last, since what is called may send: everything above is in order by now.
        for row, outcome in told:
            self._tell_settled(row, outcome)
        self._relieve()

    def _sorted_out(self, frame: SentFrame[RowT], outcomes: dict[int, Outcome]) -> list[tuple[RowT, Outcome]]:
        """Puts each row of a frame where it belongs now; returns those whose sender is to be told."""
        told: list[tuple[RowT, Outcome]] = []
        taken: dict[int, RowT] = {}
        refused: list[RowT] = []
        for index, row in enumerate(frame.rows):
            outcome = outcomes.get(index, Outcome.TAKEN)
            if outcome is Outcome.FULL:
                refused.append(row)
                continue
            if outcome is Outcome.HELD:
                self._held.setdefault(frame.number, {})[index] = row
                continue
            if outcome is Outcome.TAKEN:
                taken[index] = row
            if outcome is not Outcome.TAKEN or row.on_settled is not None:
                told.append((row, outcome))
        if taken:
            self._taken[frame.number] = taken
        if refused:
            self._wait(refused)
        return told

    def _wait(self, refused: list[RowT]) -> None:
        """Keeps refused rows, and pulls back the unsent rows that must stay behind them."""
        new = self.waiting.refuse(refused, held_until=self._last_row_frame)
        if new:
            # One pass for all receivers that closed in this frame: there may be thousands of rows unsent.
            back = [row for row in self.unsent.values() if row.needs_room and row.receiver in new]
            for row in back:
                del self.unsent[id(row)]
            self.waiting.pull_back(back)
            self._unsettled_rows -= len(back)

    def _aim(self, bytes_per_row: float) -> None:
        fit = int(self._settings.max_frame_bytes / max(bytes_per_row, 1.0))
        self._rows_per_frame = max(1, min(self._settings.max_frame_rows, fit))

    def _relieve(self) -> None:
        if self._congested and self.has_room:
            self._congested = False
            self._relieved(None)


def _check_rows(frame: SentFrame[RowT], exceptions: Exceptions) -> None:
    for index, outcome in exceptions:
        if index >= len(frame.rows):
            raise LinkError(f"row {index} of frame {frame.number} is settled; the frame has {len(frame.rows)} rows")
        if outcome is Outcome.FULL and not frame.rows[index].needs_room:
            raise LinkError(f"row {index} of frame {frame.number} is refused as FULL, but it needs no room")
