"""The traces of an app for its page: the latest ones, what they cost by model and agent, and one as a waterfall.

They are read from the data folder, as `regrow traces` does; so they are there when the app is not. However many pages
look, the file is read once in a while.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from regrow.cluster import past_traces
from regrow.cluster.config import Settings
from regrow.cluster.observer_frames import kind_of
from regrow.cluster.span_row import SpanRow
from regrow.cluster.trace_tree import SpanNode, summary_json, summary_of, tree_of
from regrow.cluster.trace_views import left_out_lines

TRACES_TOLD = 30
SPANS_TOLD = 1_000
"""Of one trace; it may have more than anybody reads."""
STATUS_CHARS = 300
ATTRIBUTES_CHARS = 1_000
"""Of one span; `regrow trace ID --json` has all."""
SPENT_TOLD = 50
FRESH_S = 2.0
"""What was read is not read again within this time."""
FRESH_SHARE = 10.0
"""Nor within so many times what the reading took."""


class PastTraces:
    """Reads the traces of one app. Used by several threads."""

    def __init__(self, app: str, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._lock = threading.Lock()
        self._listed: dict[str, Any] = {}
        self._fresh_until_s = float("-inf")

    def latest(self) -> dict[str, Any]:
        """The latest traces, the newest first, and what all that were kept have cost. Raises TracesUnreadable."""
        with self._lock:
            began_s = time.monotonic()
            if began_s >= self._fresh_until_s:
                self._listed = self._read()
                took_s = time.monotonic() - began_s
                self._fresh_until_s = time.monotonic() + max(FRESH_S, took_s * FRESH_SHARE)
            return self._listed

    def one(self, id: str, *, whole: bool) -> dict[str, Any]:
        """One trace as the rows of a waterfall; `whole` with what people and models have written.

        Raises NoSuchTrace, TracesUnreadable.
        """
        rows = past_traces.spans_of(past_traces.files_of(self._settings, self._app), id)
        summary = summary_of(rows)
        told = list(_rows(tree_of(rows), summary.start_ns, whole=whole))
        return {**summary_json(summary), "rows": told, "more": len(rows) - len(told)}

    def _read(self) -> dict[str, Any]:
        files = past_traces.files_of(self._settings, self._app)
        found, left_out = past_traces.latest(files, limit=TRACES_TOLD)
        return {
            "traces": [summary_json(each) for each in reversed(found)],
            "left_out": left_out_lines(left_out),
            "spent": past_traces.spent(files, limit=SPENT_TOLD),
            "recorded": bool(files),
        }


def _rows(roots: Sequence[SpanNode], start_ns: int, *, whole: bool) -> Iterator[dict[str, Any]]:
    """A row for each span, depth first. Without recursion, since a trace may be as deep as it is long."""
    waiting = [(root, 0) for root in reversed(roots)]
    for _ in range(SPANS_TOLD):
        if not waiting:
            return
        node, depth = waiting.pop()
        row = _row(node.row, start_ns, whole=whole) | {"depth": depth, "lost": node.is_lost_child}
        yield row | ({"attributes": node.row.attributes[:ATTRIBUTES_CHARS]} if whole else {})
        waiting += [(child, depth + 1) for child in reversed(node.children)]


def _row(row: SpanRow, start_ns: int, *, whole: bool) -> dict[str, Any]:
    status = row.status[:STATUS_CHARS] if whole else kind_of(row.status)
    return {
        "id": row.span_id,
        "name": row.name,
        "from_us": (row.start_ns - start_ns) // 1_000,
        "took_us": (row.end_ns - row.start_ns) // 1_000 if row.end_ns is not None else None,
        "error": (status or "failed") if row.failed else "",
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": row.cost_usd,
        "again": len(json.loads(row.links)),
        "process": row.process,
    }
