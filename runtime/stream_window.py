"""How much of a stream may be under way: pure bookkeeping for the producer, and for the consumer that grants it.

The consumer opens a window of so many parts and bytes. The producer spends it, and gets more as the consumer reads; so
what waits at a consumer never passes its window, and a consumer that stops reading holds up its own producer alone.
Grants are totals since the start, so that none has to be added up.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields, is_dataclass
from typing import NamedTuple

from pydantic import BaseModel

from regrow.runtime.errors import Bug, InvalidMessage, Misuse
from regrow.runtime.immutable import PLAIN

DEFAULT_WINDOW_PARTS = 1_024
DEFAULT_WINDOW_BYTES = 262_144
"""What a consumer lets come unread unless it says otherwise: some tens of milliseconds of a fast producer."""
MAX_WINDOW_PARTS = 65_536
MAX_WINDOW_BYTES = 2**26
MAX_PART_BYTES = 2**20
"""The largest part; what is larger is given in several, or its place is given."""
BATCHES_A_WINDOW = 4
"""A batch is at most this share of a window, so that the producer need not wait for the last part to be read."""
PARTS_IN_A_ROW = DEFAULT_WINDOW_PARTS // BATCHES_A_WINDOW
"""So many parts that nobody reads are emitted before others run."""

_SCALARS = frozenset(PLAIN)
_FRAME_BYTES = 16
"""What a value costs beside its content, about."""


@dataclass(frozen=True, slots=True)
class Window:
    """How much of a stream may wait unread at its consumer. Raises Misuse outside of 1 and the limits above.

    A part larger than the whole window comes alone, when all before it is read.
    """

    parts: int = DEFAULT_WINDOW_PARTS
    size_bytes: int = DEFAULT_WINDOW_BYTES

    def __post_init__(self) -> None:
        if not (1 <= self.parts <= MAX_WINDOW_PARTS and 1 <= self.size_bytes <= MAX_WINDOW_BYTES):
            raise Misuse(
                f"a window of {self.parts} parts and {self.size_bytes} bytes; give 1 to {MAX_WINDOW_PARTS:,} parts and "
                f"1 to {MAX_WINDOW_BYTES:,} bytes"
            )

    @property
    def batch_parts(self) -> int:
        """The most parts of one batch."""
        return max(1, self.parts // BATCHES_A_WINDOW)

    @property
    def batch_bytes(self) -> int:
        """The size at which a batch is full."""
        return max(1, self.size_bytes // BATCHES_A_WINDOW)


class Batch(NamedTuple):
    """Parts that go together. `first` is the number of the first, from 0; `wants`: the producer waits for a grant.

    One without parts says that those before `first` were emitted: where they have not come, they will not come.
    """

    first: int
    size_bytes: int
    wants: bool
    parts: tuple[object, ...]


class Totals(NamedTuple):
    """What has been read since the start: parts, and bytes as the producer has measured them."""

    parts: int
    size_bytes: int


class Credit:
    """What a producer may still send, and what it has ready and not yet sent."""

    __slots__ = (
        "_batch_bytes",
        "_batch_parts",
        "_parts",
        "_read",
        "_ready",
        "_ready_bytes",
        "_said_wants",
        "_sent",
        "_window",
    )

    def __init__(self, window: Window) -> None:
        self._window = window
        self._batch_parts, self._batch_bytes = window.batch_parts, window.batch_bytes
        self._read = Totals(0, 0)
        self._sent = 0
        """Parts that were spent, those ready included; likewise bytes."""
        self._parts = 0
        self._ready: list[object] = []
        self._ready_bytes = 0
        self._said_wants = False

    @property
    def has_begun(self) -> bool:
        """Whether a part was ever spent."""
        return self._parts > 0

    def covers(self, size_bytes: int) -> bool:
        """Whether a part of this size may be spent now."""
        under_way = self._parts - self._read.parts
        if under_way == 0:
            return True  # else one that is larger than the window could never go
        within = self._sent - self._read.size_bytes + size_bytes <= self._window.size_bytes
        return within and under_way < self._window.parts

    def spend(self, part: object, size_bytes: int) -> bool:
        """Makes a part ready; True when the batch is full and has to go."""
        self._parts += 1
        self._sent += size_bytes
        self._ready.append(part)
        self._ready_bytes += size_bytes
        return len(self._ready) >= self._batch_parts or self._ready_bytes >= self._batch_bytes

    def batch(self, *, wants: bool) -> Batch | None:
        """Takes what is ready; None where there is nothing to say. `wants` is said once until the next grant."""
        wants = wants and not self._said_wants
        if not self._ready and not wants:
            return None
        self._said_wants |= wants
        ready, self._ready = self._ready, []
        size_bytes, self._ready_bytes = self._ready_bytes, 0
        return Batch(self._parts - len(ready), size_bytes, wants, tuple(ready))

    def grant(self, read: Totals) -> None:
        """The consumer has read so much; an older word changes nothing."""
        self._read = Totals(max(read.parts, self._read.parts), max(read.size_bytes, self._read.size_bytes))
        self._said_wants = False


class Unread:
    """The parts that have come and are not read, and what the producer is to be told of those that are."""

    __slots__ = ("_batches", "_granted", "_read", "_read_bytes", "_wants", "_window", "arrived", "emitted")

    def __init__(self, window: Window) -> None:
        self._window = window
        self._batches: deque[tuple[deque[object], int]] = deque()
        self.arrived = 0
        """How many parts have come."""
        self.emitted = 0
        """How many there were, as far as is known here."""
        self._read = 0
        self._read_bytes = 0
        self._granted = Totals(0, 0)
        self._wants = False

    @property
    def has_begun(self) -> bool:
        """Whether a part has ever come."""
        return self.arrived > 0

    def __len__(self) -> int:
        return self.arrived - self._read

    def add(self, batch: Batch) -> None:
        """Takes a batch in. Raises Bug where parts are missing, which no link lets happen."""
        if batch.parts and batch.first != self.arrived:
            raise Bug(f"part {batch.first} of a stream came where part {self.arrived} was to come")
        if batch.parts:
            self.arrived += len(batch.parts)
            self._batches.append((deque(batch.parts), batch.size_bytes))
        self.emitted = batch.first + len(batch.parts)
        self._wants |= batch.wants

    def take(self) -> object:
        """The next part; there is one."""
        parts, size_bytes = self._batches[0]
        part = parts.popleft()
        self._read += 1
        if not parts:
            self._batches.popleft()
            self._read_bytes += size_bytes
        return part

    def due(self) -> Totals | None:
        """What to tell the producer now; None while that can wait for more.

        Half a window is worth a word. A producer that waits hears of every quarter, and when all is read.
        """
        parts, size_bytes = self._read - self._granted.parts, self._read_bytes - self._granted.size_bytes
        share = 4 if self._wants else 2
        is_worth_it = parts * share >= self._window.parts or size_bytes * share >= self._window.size_bytes
        if not is_worth_it and not (self._wants and not self._batches):
            return None
        if self._wants and not self._batches:
            self._wants = False
        self._granted = Totals(self._read, self._read_bytes)
        return self._granted


def measured(part: object, actor: str) -> int:
    """About how many bytes a part takes, the same for all engines. Raises InvalidMessage beyond MAX_PART_BYTES."""
    size_bytes, found = 0, [part]
    while found:
        size_bytes += _FRAME_BYTES + _size(found.pop(), found)
        if size_bytes > MAX_PART_BYTES:  # not looked at further: what holds one thing many times has no end
            raise InvalidMessage(
                f"{actor} emits a {type(part).__name__} of more than {MAX_PART_BYTES:,} bytes, which no part may have; "
                "emit it in pieces, or keep it elsewhere and emit where it is"
            )
    return size_bytes


def _size(value: object, found: list[object]) -> int:
    """The bytes of a text or of bytes; what anything else holds is added to what was found."""
    cls = type(value)
    if cls is str or cls is bytes:
        return len(value)  # type: ignore[arg-type] # one of the two
    if cls in _SCALARS:
        return 0
    if isinstance(value, BaseModel):
        found += value.__dict__.values()
    elif isinstance(value, tuple | frozenset | list | set):
        found += value
    elif isinstance(value, dict):
        found += value
        found += value.values()
    elif isinstance(value, str | bytes):
        return len(value)
    elif is_dataclass(value) and not isinstance(value, type):
        found += [getattr(value, field.name) for field in fields(value)]
    return 0
