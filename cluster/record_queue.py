"""Hands records, such as ended spans, to whoever keeps them, on a thread of its own: batched, bounded, and never in the
way of work.

What there is no room for is dropped and counted; so is what the keeper does not take. A keeper that hangs holds up its
own thread and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog

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
        """`unended` gives spans that have begun and are to be told now; it is asked before each batch.

        `size_bytes` says roughly what one takes; it is asked by whoever puts it.
        """
        self._keeper = keeper
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
        self._dropped: Counter[str] = Counter()
        self._told_at_s = -WARN_EVERY_S
        self._untold = 0
        self._thread = threading.Thread(target=self._run, name=f"regrow-{what}-{keeper}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> dict[str, int]:
        """How many spans were dropped, by reason: `queue_full`, or the class of the error that the keeper raised."""
        return dict(self._dropped)

    def put(self, span: T) -> None:
        """Takes a span, from any thread; never waits."""
        size_bytes = self._size_bytes(span)
        with self._changed:
            is_full = len(self._waiting) >= self._limit or self._waiting_bytes + size_bytes > self._limit_bytes
            if self._is_closed or is_full:
                self._dropped["closed" if self._is_closed else "queue_full"] += 1
                return
            self._waiting.append((span, size_bytes))
            self._waiting_bytes += size_bytes
            if self._is_batch_ready():
                self._changed.notify_all()

    def flush(self, limit_s: float) -> bool:
        """Waits until all that was put has been delivered or dropped; False when that takes longer."""
        deadline = time.monotonic() + limit_s
        with self._changed:
            while self._waiting or self._delivering:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                self._changed.notify_all()
                self._changed.wait(min(left_s, FLUSH_EVERY_S))
        return True

    def close(self, limit_s: float) -> None:
        """Delivers what waits, for so long at most, and takes no more; what is left then is dropped."""
        self.flush(limit_s)
        with self._changed:
            self._is_closed = True
            self._dropped["closed"] += len(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            self._changed.notify_all()
        self._thread.join(limit_s)  # a keeper that hangs keeps its thread, which ends with the process

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._is_batch_ready() and not self._is_closed:
                    self._changed.wait(FLUSH_EVERY_S)
                if self._is_closed:
                    return
                batch = self._next_batch()
                self._delivering = len(batch)
            self._hand_over(batch)
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

    def _hand_over(self, ended: Sequence[T]) -> None:
        batch = ended
        try:
            batch = [*self._unended(), *ended]
            if batch:
                self._deliver(batch)
        except Exception as error:  # of a keeper, such as a disk or a network: its loss is spans, and never work
            self._dropped[type(error).__name__] += len(batch)
            self._untold += len(batch)
            if time.monotonic() - self._told_at_s >= WARN_EVERY_S:
                self._told_at_s = time.monotonic()
                log.warning(self._dropped_text, keeper=self._keeper, dropped=self._untold, reason=str(error)[:200])
                self._untold = 0
