"""What is recorded of the spans of one process of an app: kept here, or sent to the process that keeps them.

The guardian, or the one process of an inline app, keeps the spans of all (`span_store`); hosts and the driver send it
theirs. So they come together from all nodes, and one process writes.
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgpack

from regrow.cluster import tracing
from regrow.cluster.record_queue import STORE, RecordQueue
from regrow.cluster.span_route import SpanRoute
from regrow.cluster.span_row import SpanRow, row_from, row_of, size_bytes_of, values_of
from regrow.cluster.span_store import SpanStore
from regrow.runtime import telemetry

if TYPE_CHECKING:
    from regrow.cluster.config import TracingSettings
    from regrow.runtime import Runtime

Deliver = Callable[[Sequence[SpanRow], Mapping[tuple[str, str], int]], None]
"""Takes rows, and by process and reason how many spans were left out there. Raises what went wrong."""

TRACES_LEFT_OUT = "traces_left_out"
SPANS_LEFT_OUT = "spans_left_out"
"""Reasons, beside those of a queue: more traces, or turns of recorded traces, than may begin in a second."""


class Recording:
    """The spans of one process of an app, on their way to where they are kept."""

    def __init__(self, where: str, settings: TracingSettings, deliver: Deliver) -> None:
        """`where` names the process among those of the app."""
        self.process = f"{where} on {platform.node()}, pid {os.getpid()}"
        self._settings = settings
        self._deliver = deliver
        self._elsewhere: dict[tuple[str, str], int] = {}
        self._is_closed = False
        self._left_out_before: Mapping[tuple[str, str], int] = {}
        # Of this run among those that the process may see: what one has left out does not stand in for that of another.
        self._run = f"{self.process}, since {time.time_ns()}"
        route = self._route = SpanRoute()
        if settings.store_mb:
            route.queue = RecordQueue(STORE, self._hand_on, unended=route.long_unended, size_bytes=size_bytes_of)
        tracing.begin(settings, route)
        self._left_out_before = self._left_out_here()

    def attach(self, runtime: Runtime) -> None:
        """From now on the spans of this runtime, and those made in its turns, are recorded here."""
        self._route.runtime = runtime
        runtime.metrics.spans_dropped = self.dropped

    def dropped(self) -> dict[str, int]:
        """How many spans were dropped here since the app has started, by keeper and reason."""
        return {f"{keeper}: {reason}": count for (keeper, reason), count in self._counts().items() if keeper}

    def heard(self, rows: Iterable[SpanRow], left_out: Mapping[tuple[str, str], int]) -> None:
        """Takes what another process has sent; never waits."""
        self._elsewhere.update(left_out)
        if self._route.queue is not None:
            for row in rows:
                self._route.queue.put(row)

    async def aclose(self) -> None:
        """Hands on what waits, for tracing.END_LIMIT_S at most, and ends. May be called twice."""
        if not self._is_closed:
            self._is_closed = True
            await tracing.end(self._settings, self._route)

    def _hand_on(self, batch: Sequence[Any]) -> None:
        rows: list[SpanRow] = []
        for each in batch:
            if isinstance(each, SpanRow):
                rows.append(each)
                continue
            with suppress(RuntimeError):  # one that has not ended was changed while it was read; its end tells all
                rows.append(row_of(each, self.process))
        self._deliver(rows, self._left_out())

    def _left_out(self) -> dict[tuple[str, str], int]:
        made = {reason: count for (keeper, reason), count in self._counts().items() if not keeper}
        return self._elsewhere | {(self._run, reason): count for reason, count in (made | self.dropped()).items()}

    def _counts(self) -> Counter[tuple[str, str]]:
        """What this run has left out, by keeper and reason; of what was never made the keeper is empty."""
        return Counter(self._left_out_here()) - Counter(self._left_out_before)

    def _left_out_here(self) -> dict[tuple[str, str], int]:
        counts, sampling = tracing.dropped(self._route), telemetry.spans.sampling
        if sampling is not None:
            counts |= {("", TRACES_LEFT_OUT): sampling.traces_left_out, ("", SPANS_LEFT_OUT): sampling.spans_left_out}
        return counts


class StoredRecording(Recording):
    """A recording that keeps the spans, its own and those of others, in the data folder."""

    def __init__(self, where: str, folder: Path, settings: TracingSettings) -> None:
        self._store = SpanStore(folder, limit_bytes=settings.store_mb * 1_000_000)
        super().__init__(where, settings, self._store.write)

    async def aclose(self) -> None:
        """See Recording."""
        await super().aclose()
        self._store.close()


def stored(where: str, folder: Path, settings: TracingSettings) -> StoredRecording | None:
    """The recording of a process that owns the data folder; None where the settings want none."""
    return StoredRecording(where, folder, settings) if settings.is_on else None


def attach(recording: Recording | None, runtime: Runtime) -> None:
    """From now on the spans of this runtime are recorded; without a recording its messages have none."""
    runtime.is_traced = recording is not None
    if recording is not None:
        recording.attach(runtime)


def pack_told(rows: Sequence[SpanRow], left_out: Mapping[tuple[str, str], int]) -> bytes:
    """Rows and counts as bytes, for the process that keeps them; see `heard`."""
    told = [[*map(values_of, rows)], [[*key, count] for key, count in left_out.items()]]
    return cast("bytes", msgpack.packb(told))


def heard(recording: Recording | None, packed: bytes) -> None:
    """Hands on what another process of the app has packed; where nothing is kept, nothing."""
    if recording is None:
        return
    rows, counts = msgpack.unpackb(packed)
    recording.heard(map(row_from, rows), {(process, reason): count for process, reason, count in counts})
