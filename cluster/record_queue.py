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
BATCH_SPANS = 512
FLUSH_EVERY_S = 0.5
"""How long a span waits at most, and so how much of it a SIGKILL can lose."""
WARN_EVERY_S = 60.0
"""Between two lines of the log on spans that were dropped."""

log = structlog.get_logger("regrow.records")


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
        limit: int = QUEUE_SPANS,
        what: str = "spans",
    ) -> None:
        """`unended` gives spans that have begun and are to be told now; it is asked before each batch."""
        self._keeper = keeper
        self._dropped_text = f"{what} were dropped"
        self._unended = unended
        self._deliver = deliver
        self._limit = limit
        self._waiting: deque[T] = deque()
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
        with self._changed:
            if self._is_closed or len(self._waiting) >= self._limit:
                self._dropped["closed" if self._is_closed else "queue_full"] += 1
                return
            self._waiting.append(span)
            if len(self._waiting) == BATCH_SPANS:
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
            self._changed.notify_all()
        self._thread.join(limit_s)  # a keeper that hangs keeps its thread, which ends with the process

    def _run(self) -> None:
        while True:
            with self._changed:
                if len(self._waiting) < BATCH_SPANS and not self._is_closed:
                    self._changed.wait(FLUSH_EVERY_S)
                if self._is_closed:
                    return
                batch = [self._waiting.popleft() for _ in range(min(BATCH_SPANS, len(self._waiting)))]
                self._delivering = len(batch)
            self._hand_over(batch)
            with self._changed:
                self._delivering = 0
                self._changed.notify_all()

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
