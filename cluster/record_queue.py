"""Hands records, such as ended spans, to whoever keeps them, on a thread of its own: batched, bounded, and never in the
way of work.

What there is no room for is dropped and counted; so is what the keeper does not take. A keeper that hangs holds up its
own thread and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog

from regrow.runtime.metrics import count_up

T = TypeVar("T")

QUEUE_SPANS = 4_096
"""How many wait at most."""
QUEUE_BYTES = 32_000_000
"""And of so many bytes in all: spans with content have some 50 kB."""
BATCH_SPANS = 512
BATCH_BYTES = 8_000_000
"""Beyond so many a batch ends, whatever it has."""
FLUSH_EVERY_S = 0.5
"""How long a span waits at most, and so how much of it a SIGKILL can lose."""
WARN_EVERY_S = 60.0
"""Between two lines of the log on spans that were dropped."""
REASON_CHARS = 200

STORE = "store"
"""The keeper in the data folder; others are exporters."""
QUEUE_FULL = "queue_full"
CLOSED = "closed"
"""Why a record is dropped, beside what its keeper raises: no room, and no time before the end."""

log = structlog.get_logger("regrow.records")


def _not_counted(record: object) -> int:
    return 0


class RecordQueue(Generic[T]):
    """The records on their way to one keeper; `what` they are called in the log.

    `deliver` takes a batch. It raises what went wrong: the batch is then dropped, and counted under the error's class.
    """

    def __init__(
        self,
        keeper: str,
        deliver: Callable[[Sequence[T]], None],
        *,
        unended: Callable[[], Sequence[T]] = tuple,
        size_bytes: Callable[[T], int] = _not_counted,
        limit: int = QUEUE_SPANS,
        limit_bytes: int = QUEUE_BYTES,
        what: str = "spans",
    ) -> None:
        """`keeper` names who takes them, in the log and among what was dropped.

        `unended` gives spans that have begun and are to be told now; it is asked before each batch.
        `size_bytes` says roughly what one takes; it is asked by whoever puts it.
        """
        self.keeper = keeper
        self._dropped_text = f"{what} were dropped"
        self._unended = unended
        self._deliver = deliver
        self._size_bytes = size_bytes
        self._limit, self._limit_bytes = limit, limit_bytes
        self._waiting: deque[tuple[T, int]] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._delivering = 0
        self._is_closed = False
        self._is_asked = False
        self._dropped: dict[str, int] = {}
        self._told_at_s = -WARN_EVERY_S
        self._untold, self._last_trouble = 0, ""
        self._thread = threading.Thread(target=self._run, name=f"regrow-{what}-{keeper}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> dict[str, int]:
        """How many spans were dropped, by reason: see the words above, or the class of what the keeper raised."""
        return self._dropped.copy()

    def put(self, span: T) -> None:
        """Takes a span, from any thread; never waits."""
        size_bytes = self._size_bytes(span)
        with self._changed:
            if self._is_closed:
                count_up(self._dropped, CLOSED)
                return
            if len(self._waiting) < self._limit and self._waiting_bytes + size_bytes <= self._limit_bytes:
                self._waiting.append((span, size_bytes))
                self._waiting_bytes += size_bytes
                if self._is_batch_ready():
                    self._changed.notify_all()
                return
        self._drop(QUEUE_FULL, 1, "they come faster than they are taken, and too many wait already")

    def flush(self, limit_s: float, *, asks: bool = False) -> bool:
        """Waits until all that was put has been delivered or dropped; False when that takes longer.

        With `asks` there is a batch also where nothing waits: for what a keeper is told beside records.
        """
        deadline = time.monotonic() + limit_s
        with self._changed:
            self._is_asked = self._is_asked or asks
            while self._waiting or self._delivering or self._is_asked:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                self._changed.notify_all()
                self._changed.wait(min(left_s, FLUSH_EVERY_S))
        return True

    def give_up(self, reason: str) -> None:
        """Drops what waits, and tells of all that was dropped and not told yet."""
        with self._changed:
            left = len(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._told_at_s = -WARN_EVERY_S
            has_untold = bool(left or self._untold)
        if has_untold:
            self._drop(reason, left, "they were not taken before the end" if left else self._last_trouble)

    def close(self, limit_s: float) -> None:
        """Delivers what waits, for so long at most, and takes no more; what is left then is dropped."""
        self.flush(limit_s)
        with self._changed:
            self._is_closed = True
        self.give_up(CLOSED)
        with self._changed:
            self._changed.notify_all()
        self._thread.join(limit_s)  # a keeper that hangs keeps its thread, which ends with the process

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._is_batch_ready() and not self._is_closed and not self._is_asked:
                    self._changed.wait(FLUSH_EVERY_S)
                if self._is_closed:
                    return
                batch = self._next_batch()
                is_asked, self._is_asked = self._is_asked, False
                self._delivering = max(len(batch), is_asked)
            self._hand_over(batch, is_asked=is_asked)
            with self._changed:
                self._delivering = 0
                self._changed.notify_all()

    def _is_batch_ready(self) -> bool:
        return len(self._waiting) >= BATCH_SPANS or self._waiting_bytes >= BATCH_BYTES

    def _next_batch(self) -> list[T]:
        batch: list[T] = []
        batch_bytes = 0
        while self._waiting and len(batch) < BATCH_SPANS and batch_bytes < BATCH_BYTES:
            span, size_bytes = self._waiting.popleft()
            batch.append(span)
            batch_bytes += size_bytes
        self._waiting_bytes -= batch_bytes
        return batch

    def _hand_over(self, ended: Sequence[T], *, is_asked: bool) -> None:
        batch = ended
        try:
            batch = [*self._unended(), *ended]
            if batch or is_asked:
                self._deliver(batch)
        except Exception as error:  # of a keeper, such as a disk or a network: its loss is spans, and never work
            self._drop(type(error).__name__, len(batch), str(error)[:REASON_CHARS])

    def _drop(self, reason: str, count: int, trouble: str) -> None:
        """Counts what is lost, and tells of it in the log, once in WARN_EVERY_S."""
        with self._changed:
            if count:
                count_up(self._dropped, reason, count)
            self._untold += count
            self._last_trouble = trouble
            now_s = time.monotonic()
            if not self._untold or now_s - self._told_at_s < WARN_EVERY_S:
                return
            self._told_at_s = now_s
            untold, self._untold = self._untold, 0
        log.warning(self._dropped_text, keeper=self.keeper, dropped=untold, reason=trouble)
