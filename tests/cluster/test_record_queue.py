"""Spans on their way to who keeps them: batched, bounded, and never in the way of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from structlog.testing import capture_logs

from regrow.cluster.record_queue import BATCH_BYTES, BATCH_SPANS, RecordQueue

SOON_S = 30.0
"""More than any of this takes, on a busy machine as well."""


def test_what_is_put_is_delivered_in_order_and_in_batches() -> None:
    batches: list[Sequence[int]] = []
    queue = RecordQueue[int]("test", batches.append)

    for number in range(2 * BATCH_SPANS + 1):
        queue.put(number)
    assert queue.flush(SOON_S)
    queue.close(SOON_S)

    assert [number for batch in batches for number in batch] == list(range(2 * BATCH_SPANS + 1))
    assert max(map(len, batches)) <= BATCH_SPANS
    assert sum(queue.dropped.values()) == 0


def test_a_keeper_that_hangs_costs_what_there_is_no_room_for_and_holds_nobody_up() -> None:
    go_on, begun = threading.Event(), threading.Event()

    def hang(batch: Sequence[int]) -> None:
        begun.set()
        go_on.wait(SOON_S)

    queue = RecordQueue[int]("test", hang, limit=10)
    queue.put(0)
    queue.flush(0.0)
    assert begun.wait(SOON_S)
    began_s = time.monotonic()
    with capture_logs() as logs:
        for number in range(100):
            queue.put(number)
        is_flushed = queue.flush(0.0)
        queue.close(0.01)
    took_s = time.monotonic() - began_s
    go_on.set()

    assert not is_flushed
    assert took_s < 5.0
    assert queue.dropped == {"queue_full": 90, "closed": 10}
    assert [(line["keeper"], line["dropped"]) for line in logs] == [("test", 1), ("test", 99)]


def test_large_spans_are_bounded_by_their_bytes_while_a_keeper_hangs_and_what_has_no_room_is_counted() -> None:
    go_on, begun = threading.Event(), threading.Event()
    kept: list[str] = []

    def hang(batch: Sequence[str]) -> None:
        begun.set()
        go_on.wait(SOON_S)
        kept.extend(batch)

    queue = RecordQueue[str]("test", hang, size_bytes=len, limit_bytes=1_000)
    queue.put("first")
    queue.flush(0.0)
    assert begun.wait(SOON_S)
    for _ in range(30):
        queue.put("x" * 100)
    queue.put("x")
    go_on.set()
    is_flushed = queue.flush(SOON_S)
    queue.put("x" * 1_000)
    queue.close(SOON_S)

    assert is_flushed
    assert kept == ["first", *["x" * 100] * 10, "x" * 1_000]
    assert queue.dropped == {"queue_full": 21}


def test_a_batch_of_large_spans_ends_before_it_has_as_many_as_others() -> None:
    batches: list[Sequence[int]] = []
    queue = RecordQueue[int]("test", batches.append, size_bytes=lambda number: BATCH_BYTES // 2)

    for number in range(5):
        queue.put(number)
    assert queue.flush(SOON_S)
    queue.close(SOON_S)

    assert [number for batch in batches for number in batch] == [0, 1, 2, 3, 4]
    assert max(map(len, batches)) <= 2


def test_a_keeper_that_fails_costs_the_batch_which_is_counted_and_told_once_a_minute() -> None:
    def fail(batch: Sequence[int]) -> None:
        raise OSError("no space left on device")

    queue = RecordQueue[int]("test", fail)
    with capture_logs() as logs:
        for number in range(3):
            queue.put(number)
            queue.flush(SOON_S)
        queue.close(SOON_S)

    assert queue.dropped == {"OSError": 3}
    assert [(line["event"], line["dropped"], line["reason"]) for line in logs] == [
        ("spans were dropped", 1, "no space left on device"),
        ("spans were dropped", 2, "no space left on device"),  # and at the end those that were not told yet
    ]


def test_what_has_begun_and_not_ended_is_delivered_too() -> None:
    batches: list[Sequence[str]] = []
    unended = ["begun"]

    def each_once() -> list[str]:
        told, unended[:] = list(unended), []
        return told

    queue = RecordQueue[str]("test", batches.append, unended=each_once)
    queue.put("ended")
    queue.flush(SOON_S)
    queue.close(SOON_S)

    assert [each for batch in batches for each in batch] == ["begun", "ended"]


def test_a_keeper_that_asks_for_it_is_called_where_nothing_waits() -> None:
    batches: list[Sequence[int]] = []
    queue = RecordQueue[int]("test", batches.append)

    is_delivered = queue.flush(SOON_S, asks=True)
    queue.close(SOON_S)

    assert is_delivered
    assert batches == [[]]


def test_after_its_end_nothing_is_taken_and_its_thread_is_gone() -> None:
    queue = RecordQueue[int]("gone", lambda batch: None)

    queue.close(SOON_S)
    queue.put(1)

    assert queue.dropped["closed"] == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "regrow-spans-gone"]


def test_spans_that_can_not_be_read_before_their_end_cost_one_batch_and_the_next_is_delivered() -> None:
    batches: list[Sequence[int]] = []
    failed = threading.Event()

    def unended() -> Sequence[int]:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("changed while it was read")
        return ()

    queue = RecordQueue[int]("test", batches.append, unended=unended)
    assert failed.wait(SOON_S)

    queue.put(1)
    queue.flush(SOON_S)
    queue.close(SOON_S)

    assert batches == [[1]]
