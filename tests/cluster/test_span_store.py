"""The file of the spans: what is kept, and what is trimmed. Of its disk see test_sqlite_file.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from regrow.cluster.span_store import FILE_NAME, SpanFile, SpanStore
from tests.cluster.span_rows import ROW, TRACE, row

LIMIT_BYTES = 10_000_000


def store_in(folder: Path, limit_bytes: int = LIMIT_BYTES) -> SpanStore:
    return SpanStore(folder, limit_bytes=limit_bytes)


def test_a_span_that_ends_replaces_what_was_told_when_it_began_and_not_the_other_way_round(tmp_path: Path) -> None:
    store, file = store_in(tmp_path), SpanFile(tmp_path / FILE_NAME)
    begun = row(1, end_ns=None)

    store.write([begun], {})
    store.write([row(1), begun], {})
    store.close()

    assert file.spans(TRACE) == [row(1)]


def test_the_latest_traces_come_first_and_reports_of_supervisors_are_not_listed(tmp_path: Path) -> None:
    store, file = store_in(tmp_path), SpanFile(tmp_path / FILE_NAME)

    store.write([row(1, trace_id=f"{number:032x}") for number in range(5)], {})
    store.write([row(2, trace_id=f"{1:032x}"), row(3, trace_id=f"{9:032x}", name="supervise")], {})
    store.close()

    assert [int(trace_id, 16) for trace_id in file.latest(3)] == [1, 4, 3]
    assert [int(trace_id, 16) for trace_id in file.named("0" * 31, 10)] == [0, 1, 2, 3, 4, 9]
    assert file.named("f", 10) == []


def test_the_oldest_spans_go_when_the_file_has_reached_its_limit(tmp_path: Path) -> None:
    store, file = store_in(tmp_path, limit_bytes=400_000), SpanFile(tmp_path / FILE_NAME)

    for batch in range(40):
        rows = [row(number, trace_id=f"{batch:032x}", attributes='{"a": "%s"}' % ("x" * 300)) for number in range(50)]
        store.write(rows, {})
    size_bytes = (tmp_path / FILE_NAME).stat().st_size
    store.close()

    assert size_bytes < 600_000
    assert len(file.spans(f"{39:032x}")) == 50
    assert file.spans(f"{0:032x}") == []


def test_what_was_left_out_is_the_last_count_of_each_process(tmp_path: Path) -> None:
    store = store_in(tmp_path)

    store.write([], {("host 1", "queue_full"): 3})
    store.write([], {("host 1", "queue_full"): 7, ("host 2", "queue_full"): 1, ("host 2", "OSError"): 2})
    store.close()

    assert SpanFile(tmp_path / FILE_NAME).left_out() == {"queue_full": 8, "OSError": 2}


def test_a_row_comes_back_as_it_was_put(tmp_path: Path) -> None:
    full = replace(ROW, failed=True, status="ValueError: ü", cost_usd=0.25, input_tokens=3, output_tokens=4)
    store = store_in(tmp_path)

    store.write([full], {})
    store.close()

    assert SpanFile(tmp_path / FILE_NAME).spans(TRACE) == [full]
