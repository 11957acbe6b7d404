"""The end of a recording whose disk hangs: nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from regrow.cluster import recording
from regrow.cluster.config import TracingSettings
from regrow.cluster.span_row import SpanRow
from regrow.cluster.span_store import SpanStore
from tests.cluster.span_rows import row


class Hanging(SpanStore):
    """A store whose disk hangs while it writes."""

    go_on = threading.Event()

    def write(self, rows: Iterable[SpanRow], left_out: Mapping[tuple[str, str], int]) -> None:
        with self._file.writing():
            self.go_on.wait(60.0)


@pytest.mark.heavy  # the stop waits for it as long as it may
async def test_a_disk_that_hangs_does_not_hold_up_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "SpanStore", Hanging)
    stored = recording.StoredRecording("inline", tmp_path, TracingSettings(enabled=True))
    stored.heard([row(1)], {})

    try:
        await stored.aclose()
    finally:
        Hanging.go_on.set()
