"""The file of the spans: what is kept, what is trimmed, and what a broken disk costs."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from regrow.cluster.span_store import FILE_NAME, SpanFile, SpanStore
from tests.cluster.span_rows import ROW, TRACE, row

LIMIT_BYTES = 10_000_000


def store_in(folder: Path, limit_bytes: int = LIMIT_BYTES) -> SpanStore:
    return SpanStore(folder, limit_bytes=limit_bytes)


def test_what_is_written_is_there_while_the_store_is_open_and_after_it(tmp_path: Path) -> None:
    store, file = store_in(tmp_path / "desk"), SpanFile(tmp_path / "desk" / FILE_NAME)

    store.write([row(2, 1), row(1)], {})
    meanwhile = file.spans(TRACE)
    store.close()

    assert meanwhile == file.spans(TRACE) == [row(1), row(2, 1)]
    assert sorted(path.name for path in (tmp_path / "desk").iterdir()) == [".gitignore", FILE_NAME]
    assert (tmp_path / "desk" / FILE_NAME).stat().st_mode & 0o777 == 0o600


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


@pytest.mark.parametrize("content", [b"this is no database, but a text of some length" * 100, b"\0" * 5_000])
def test_a_file_that_can_not_be_read_is_put_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    store = store_in(tmp_path)

    with capture_logs() as logs:
        store.write([row(1)], {})
    store.close()

    assert SpanFile(tmp_path / FILE_NAME).spans(TRACE) == [row(1)]
    assert (tmp_path / FILE_NAME).with_suffix(".broken").read_bytes() == content
    assert [line["event"] for line in logs] == ["the file of the spans can not be read, and is put aside"]


def test_a_file_of_another_version_is_put_aside(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("PRAGMA user_version = 99")
    other.close()

    store = store_in(tmp_path)
    store.write([row(1)], {})
    store.close()

    assert SpanFile(tmp_path / FILE_NAME).spans(TRACE) == [row(1)]


def test_a_folder_that_can_not_be_made_is_an_error_of_that_batch_and_the_next_one_is_tried_anew(tmp_path: Path) -> None:
    (tmp_path / "desk").write_text("a file where the folder should be")
    store = store_in(tmp_path / "desk")

    with pytest.raises(OSError, match="exists"):
        store.write([row(1)], {})
    (tmp_path / "desk").unlink()
    store.write([row(2)], {})
    store.close()

    assert SpanFile(tmp_path / "desk" / FILE_NAME).spans(TRACE) == [row(2)]


FULL_DISK = """
import resource, signal, sqlite3, sys
from pathlib import Path
from regrow.cluster.span_store import SpanStore
from tests.cluster.span_rows import row

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SpanStore(Path(sys.argv[1]), limit_bytes=100_000_000)
store.write([row(1)], {})
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
rows = [row(number, attributes='{"a": "%s"}' % ("x" * 500)) for number in range(10, 2_000)]
try:
    store.write(rows, {})
except (sqlite3.Error, OSError) as error:
    print(type(error).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.write(rows, {})
store.close()
"""


@pytest.mark.slow
@pytest.mark.program
def test_a_full_disk_costs_the_batch_and_what_comes_when_there_is_room_again_is_kept(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)

    assert done.stdout == "OperationalError\n"
    spans = SpanFile(tmp_path / FILE_NAME).spans(TRACE)
    assert len(spans) == 1 + 1_990


def test_a_row_comes_back_as_it_was_put(tmp_path: Path) -> None:
    full = replace(ROW, failed=True, status="ValueError: ü", cost_usd=0.25, input_tokens=3, output_tokens=4)
    store = store_in(tmp_path)

    store.write([full], {})
    store.close()

    assert SpanFile(tmp_path / FILE_NAME).spans(TRACE) == [full]
