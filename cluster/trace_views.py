"""What people see of traces in a terminal: a table of them, and one as a tree with time, tokens and cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any

from rich.table import Table
from rich.text import Text

from regrow.cluster.terminal import console_for
from regrow.cluster.trace_tree import SpanNode, TraceSummary
from regrow.runtime import telemetry

TREE_LIMIT = 500
"""How many spans of one trace are drawn, unless all are asked for with --json."""
STATUS_CHARS = 120
SHORT_ID = 12
"""How much of a trace's id is shown in the table; that suffices to name it."""

LEFT_OUT_TEXTS = {
    "traces_left_out": "traces were not recorded, since more than tracing.traces_per_s began",
    "spans_left_out": "turns of recorded traces have no span, since there were too many of them in a second",
    "queue_full": "spans were dropped, since their store or exporter was too slow",
}


def show_traces(traces: Sequence[TraceSummary], left_out: Mapping[str, int], *, to: IO[str]) -> None:
    """One line for each trace, the newest last."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("trace", no_wrap=True)
    table.add_column("began", no_wrap=True)
    table.add_column("root", no_wrap=True, overflow="ellipsis")
    for name in ("took", "spans", "tokens", "cost", "errors"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in traces:
        table.add_row(
            each.trace_id[:SHORT_ID],
            f"{_time(each.start_ns):%Y-%m-%d %H:%M:%S}",
            Text(_printable(each.root)),
            _took(each.end_ns - each.start_ns),
            str(each.spans),
            _tokens(each.input_tokens, each.output_tokens) or "–",
            _cost(each.cost_usd) or "–",
            Text(str(each.errors), style="red" if each.errors else ""),
        )
    console = console_for(to)
    console.print(table)
    for line in left_out_lines(left_out):
        console.print(Text(line, style="yellow"), soft_wrap=True)


def left_out_lines(left_out: Mapping[str, int]) -> list[str]:
    """What is not there, and why."""
    return [
        f"{count:,} {LEFT_OUT_TEXTS.get(reason, f'spans were dropped ({reason})')}"
        for reason, count in sorted(left_out.items())
        if count
    ]


def show_trace(summary: TraceSummary, roots: Sequence[SpanNode], *, to: IO[str], limit: int = TREE_LIMIT) -> None:
    """A trace as a tree."""
    spent = _tokens(summary.input_tokens, summary.output_tokens), _cost(summary.cost_usd)
    said = [
        f"trace {summary.trace_id}",
        f"{_time(summary.start_ns):%Y-%m-%d %H:%M:%S}",
        _took(summary.end_ns - summary.start_ns),
        f"{summary.spans} spans",
        f"{spent[0]} tokens" if spent[0] else "",
        spent[1],
        f"{summary.errors} errors" if summary.errors else "",
    ]
    console = console_for(to)
    console.print(Text(" · ".join(filter(None, said)), style="bold"), soft_wrap=True)
    lines = _lines(roots, summary.start_ns, limit)
    for line in lines:
        console.print(line, soft_wrap=True)
    if len(lines) < summary.spans and len(lines) >= limit:
        left = summary.spans - limit
        console.print(Text(f"… and {left:,} more spans; --json gives all of them", style="dim"), soft_wrap=True)


def _lines(roots: Sequence[SpanNode], start_ns: int, limit: int) -> list[Text]:
    """A line for each span, depth first. Without recursion, since a trace may be as deep as it is long."""
    lines: list[Text] = []
    began = {node.row.span_id: node.row.start_ns - start_ns for node in _nodes(roots)}
    waiting: list[tuple[SpanNode, str, str]] = [(root, "", "") for root in reversed(roots)]
    while waiting and len(lines) < limit:
        node, guide, below = waiting.pop()
        lines.append(_line(node, guide, began))
        last = len(node.children) - 1
        for number, child in reversed(list(enumerate(node.children))):
            is_last = number == last
            waiting.append(
                (child, f"{below}{'└── ' if is_last else '├── '}", f"{below}{'    ' if is_last else '│   '}")
            )
    return lines


def _nodes(roots: Sequence[SpanNode]) -> Iterator[SpanNode]:
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.children


def _line(node: SpanNode, guide: str, began: Mapping[str, int]) -> Text:
    """`began` says of each span in the tree when it began, in ns from the first."""
    row, attributes = node.row, json.loads(node.row.attributes)
    text = Text.assemble((guide, "dim"), _printable(row.name))
    text.append(f"  +{_took(began[row.span_id])}", style="dim")
    if row.end_ns is None:
        text.append("  no end", style="yellow")
    else:
        text.append(f"  {_took(row.end_ns - row.start_ns)}")
    for told in (_tokens(row.input_tokens, row.output_tokens), _cost(row.cost_usd), _what(attributes)):
        if told:
            text.append(f"  {told}", style="cyan")
    if attempt := attributes.get(telemetry.ATTEMPT):
        text.append(f"  attempt {attempt}", style="yellow")
    for link in json.loads(row.links):
        at = began.get(link["span_id"])
        text.append(f"  again, after {'one not recorded' if at is None else f'that at +{_took(at)}'}", style="yellow")
    if row.failed:
        status = _printable(row.status)
        text.append(f"  ✗ {status[:STATUS_CHARS]}{'…' if len(status) > STATUS_CHARS else ''}", style="red")
    if node.is_lost_child:
        text.append("  (its parent was not recorded)", style="dim")
    for event in json.loads(row.events):
        if event["name"] == telemetry.ASK_FAILED:
            told = event["attributes"]
            kind = told.get(telemetry.ERROR_TYPE, "")
            text.append(f"  ✗ ask of {_printable(str(told.get(telemetry.AGENT_ID)))}: {kind}", style="red")
    return text


def _what(attributes: Mapping[str, Any]) -> str:
    """What the message or search of a span was, where its name does not say so."""
    hits = attributes.get(telemetry.HITS)
    return f"{hits} hits" if hits is not None else _printable(str(attributes.get(telemetry.MESSAGE_TYPE, "")))


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / 1e9, UTC).astimezone()


def _took(ns: int) -> str:
    seconds = max(0, ns) / 1e9
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:,.0f} s"


def _tokens(input_tokens: int, output_tokens: int) -> str:
    return f"{input_tokens:,}→{output_tokens:,}" if input_tokens or output_tokens else ""


def _cost(cost_usd: float | None) -> str:
    return "" if cost_usd is None else f"${cost_usd:,.4f}"


def _printable(text: str) -> str:
    """A text that comes from outside, without what a terminal would obey."""
    return "".join(sign if sign.isprintable() else "�" for sign in text)
