"""Spans on their way to the guardian: one batch at a time, however long it takes to answer."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from regrow.cluster import ray_spans
from regrow.cluster.ray_spans import delivery_to
from regrow.cluster.record_queue import RecordQueue
from regrow.cluster.span_row import SpanRow
from tests.cluster.span_rows import ROW

SOON_S = 30.0
A_WHILE_S = 0.5
"""More than a queue waits until it sends the next batch."""


class SlowGuardian:
    """In place of the handle of the guardian: what was sent to it, and its answers, which the test gives."""

    def __init__(self) -> None:
        self.sent: list[Future[None]] = []
        self.heard_spans = self
        self.has_heard = threading.Event()

    def remote(self, packed: bytes) -> SlowGuardian:
        self.sent.append(Future())
        self.has_heard.set()
        return self

    def future(self) -> Future[None]:
        return self.sent[-1]


@pytest.mark.slow
def test_a_guardian_that_does_not_answer_gets_no_second_batch_until_it_has_or_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_spans, "HEARD_WITHIN_S", 0.01)
    guardian = SlowGuardian()
    deliver = delivery_to(guardian)
    queue = RecordQueue[SpanRow]("guardian", lambda batch: deliver(batch, {}))
    queue.put(ROW)
    queue.flush(0.0)
    assert guardian.has_heard.wait(SOON_S)
    queue.put(ROW)

    is_flushed = queue.flush(A_WHILE_S)
    sent_before = len(guardian.sent)
    guardian.sent[0].set_exception(ConnectionError("the guardian is dead"))
    while not queue.flush(0.1):
        if not guardian.sent[-1].done():
            guardian.sent[-1].set_result(None)
    queue.close(SOON_S)

    assert not is_flushed
    assert sent_before == 1
    assert len(guardian.sent) == 2
    assert queue.dropped == {"ConnectionError": 1}
