"""Spans as they are stored, made for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from regrow.cluster.span_row import SpanRow

TRACE = "0af7651916cd43dd8448eb211c80319c"
BEGUN_NS = 1_764_000_000_000_000_000

ROW = SpanRow(
    trace_id=TRACE,
    span_id="00000000000000a0",
    parent_id="",
    name="send desk/clerk",
    kind="client",
    start_ns=BEGUN_NS,
    end_ns=BEGUN_NS + 1_000_000,
    failed=False,
    status="",
    input_tokens=0,
    output_tokens=0,
    cost_usd=None,
    attributes="{}",
    events="[]",
    links="[]",
    process="inline",
)


def row(number: int, parent: int | None = None, **changes: Any) -> SpanRow:
    """A span with this number for its id, below another one; it begins so many milliseconds later."""
    start_ns = BEGUN_NS + number * 1_000_000
    numbered = replace(
        ROW,
        span_id=f"{number:016x}",
        parent_id="" if parent is None else f"{parent:016x}",
        start_ns=start_ns,
        end_ns=start_ns + 500_000,
    )
    return replace(numbered, **changes)
