"""What people see of traces in a terminal: a table of them, and one as a tree with time, tokens and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO

from rich.table import Table
from rich.text import Text

from regrow.cluster.record_queue import CLOSED, QUEUE_FULL, STORE
from regrow.cluster.terminal import console_for
from regrow.cluster.trace_lines import cost, counted, printable, tokens, took, tree_lines
from regrow.cluster.trace_tree import SpanNode, TraceSummary

TREE_LIMIT = 500
"""How many spans of one trace are drawn, unless all are asked for with --json."""
SHORT_ID = 12
"""How much of a trace's id is shown in the table; that suffices to name it."""

LEFT_OUT_TEXTS = {
    "traces_left_out": "traces were not recorded, since more than tracing.traces_per_s began",
    "spans_left_out": "turns of recorded traces have no span, since there were too many of them in a second",
}
DROPPED_TEXTS = {QUEUE_FULL: "for it was too slow", CLOSED: "for it had not taken them before the end"}


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
            Text(printable(each.root)),
            took(each.end_ns - each.start_ns),
            str(each.spans),
            tokens(each.input_tokens, each.output_tokens) or "–",
            cost(each.cost_usd) or "–",
            Text(str(each.errors), style="red" if each.errors else ""),
        )
    console = console_for(to)
    console.print(table)
    for line in left_out_lines(left_out):
        console.print(Text(line, style="yellow"), soft_wrap=True)


def left_out_lines(left_out: Mapping[str, int]) -> list[str]:
    """What is not there, and why."""
    return [f"{count:,} {_left_out_text(reason)}" for reason, count in sorted(left_out.items()) if count]


def _left_out_text(reason: str) -> str:
    if reason in LEFT_OUT_TEXTS:
        return LEFT_OUT_TEXTS[reason]
    keeper, _, why = printable(reason).rpartition(": ")
    by = "" if not keeper else " by their store" if keeper == STORE else f" by {keeper}"
    return f"spans were dropped{by}, {DROPPED_TEXTS.get(why, f'for it failed with {why}')}"


def show_trace(summary: TraceSummary, roots: Sequence[SpanNode], *, to: IO[str], limit: int = TREE_LIMIT) -> None:
    """A trace as a tree; of one with more spans than `limit`, what repeats itself is told together."""
    console = console_for(to)
    console.print(Text(" · ".join(_head(summary)), style="bold"), soft_wrap=True)
    lines = tree_lines(roots, summary, limit)
    for line in lines:
        if to.isatty():
            line.print_wrapped(console)
        else:
            console.print(line.whole(), soft_wrap=True)
    if (left := summary.spans - sum(line.spans for line in lines)) > 0:
        console.print(Text(f"… and {left:,} more spans; --json gives all of them", style="dim"), soft_wrap=True)


def _head(summary: TraceSummary) -> Iterator[str]:
    yield f"trace {summary.trace_id}"
    yield f"{_time(summary.start_ns):%Y-%m-%d %H:%M:%S}"
    yield took(summary.end_ns - summary.start_ns) + (" so far" if summary.unended else "")
    yield counted(summary.spans, "span")
    if spent := tokens(summary.input_tokens, summary.output_tokens):
        yield f"{spent} tokens"
    if summary.cost_usd is not None:
        yield cost(summary.cost_usd)
    if summary.errors:
        yield counted(summary.errors, "error")
    if summary.unended:
        yield f"{summary.unended:,} without an end: they run, or their process died"


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / 1e9, UTC).astimezone()
