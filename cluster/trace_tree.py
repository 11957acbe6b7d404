"""One trace as a tree of its spans, with what they took and cost. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regrow.cluster.span_row import SpanRow


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanNode:
    """A span and those below it, in the order in which they began. `is_lost_child`: its parent was not recorded."""

    row: SpanRow
    children: tuple[SpanNode, ...]
    is_lost_child: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSummary:
    """A trace in one line. Times are those of Unix in ns; `end_ns` is that of the span that ended last.

    `cost_usd` is None where no span has a cost. `unended` counts spans of which no end was heard: they run, or their
    process died.
    """

    trace_id: str
    root: str
    start_ns: int
    end_ns: int
    spans: int
    unended: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


def summary_of(rows: Sequence[SpanRow]) -> TraceSummary:
    """The summary of the spans of one trace, at least one."""
    known = {row.span_id for row in rows}
    roots = [row for row in rows if row.parent_id not in known]
    first = min(roots or rows, key=lambda row: (bool(row.parent_id), row.start_ns))
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    return TraceSummary(
        trace_id=first.trace_id,
        root=first.name,
        start_ns=min(row.start_ns for row in rows),
        end_ns=max(row.end_ns or row.start_ns for row in rows),
        spans=len(rows),
        unended=sum(row.end_ns is None for row in rows),
        errors=sum(bool(row.failed) for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cost_usd=sum(costs) if costs else None,
    )


def tree_of(rows: Iterable[SpanRow]) -> tuple[SpanNode, ...]:
    """The roots of a trace, in the order in which they began; a span whose parent is missing is one, too."""
    ordered = sorted(rows, key=lambda row: row.start_ns)
    known = {row.span_id for row in ordered}
    below: dict[str, list[SpanRow]] = {}
    roots: list[SpanRow] = []
    for row in ordered:
        if row.parent_id in known and row.parent_id != row.span_id:
            below.setdefault(row.parent_id, []).append(row)
        else:
            roots.append(row)
    made: dict[str, SpanNode] = {}
    # From the leaves up, without recursion: agents that tell each other for long make a trace as deep as it is long.
    for row in _leaves_first(roots, below):
        made[row.span_id] = SpanNode(
            row=row,
            children=tuple(made[child.span_id] for child in below.get(row.span_id, ())),
            is_lost_child=bool(row.parent_id) and row.parent_id not in known,
        )
    return tuple(made[row.span_id] for row in roots)


def _leaves_first(roots: Sequence[SpanRow], below: Mapping[str, Sequence[SpanRow]]) -> Iterable[SpanRow]:
    order, waiting = [], list(roots)
    while waiting:
        row = waiting.pop()
        order.append(row)
        waiting += below.get(row.span_id, ())
    return reversed(order)


def span_json(row: SpanRow) -> dict[str, Any]:
    """A span as programs read it."""
    return {
        "span_id": row.span_id,
        "parent_id": row.parent_id or None,
        "name": row.name,
        "kind": row.kind,
        "start_ns": row.start_ns,
        "duration_s": round((row.end_ns - row.start_ns) / 1e9, 6) if row.end_ns is not None else None,
        "error": (row.status or "failed") if row.failed else None,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": row.cost_usd,
        "attributes": json.loads(row.attributes),
        "events": json.loads(row.events),
        "links": json.loads(row.links),
        "process": row.process,
    }


def summary_json(summary: TraceSummary) -> dict[str, Any]:
    """A trace as programs read it."""
    return {
        "trace_id": summary.trace_id,
        "root": summary.root,
        "start_ns": summary.start_ns,
        "duration_s": round((summary.end_ns - summary.start_ns) / 1e9, 6),
        "spans": summary.spans,
        "unended": summary.unended,
        "errors": summary.errors,
        "input_tokens": summary.input_tokens,
        "output_tokens": summary.output_tokens,
        "cost_usd": summary.cost_usd,
    }
