"""The lines of a trace that is drawn as a tree: one for each span, or for several that are alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.text import Text

from regrow.cluster.trace_fold import Folded, folded
from regrow.cluster.trace_tree import SpanNode, TraceSummary
from regrow.runtime import telemetry

if TYPE_CHECKING:
    from rich.console import Console

STATUS_CHARS = 120
LEAST_COLUMNS = 40
"""So much of a terminal a line has at least beside its branches, though it is narrow."""
CONTINUED = "  "
"""Before what continues a line."""
DEEPEST = 16
"""Levels that are drawn one right of the other; of what is deeper the number of its level is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeLine:
    """One line: the branches before it, those before what it is continued with, and what it says of `spans` spans."""

    guide: str
    below: str
    told: Text
    spans: int

    def whole(self) -> Text:
        """The line as one, however long it is."""
        return Text.assemble((self.guide, "dim"), self.told)

    def print_wrapped(self, console: Console) -> None:
        """Prints it within the width of the console, and what has no room below it, behind the branches."""
        before = max(cell_len(self.guide), cell_len(self.below) + len(CONTINUED))
        columns = max(LEAST_COLUMNS, console.width - before)
        first, *others = self.told.wrap(console, columns)
        console.print(Text.assemble((self.guide, "dim"), first), soft_wrap=True)
        for other in others:
            console.print(Text.assemble((self.below, "dim"), CONTINUED, other), soft_wrap=True)


def tree_lines(roots: Sequence[SpanNode], summary: TraceSummary, limit: int) -> list[TreeLine]:
    """The lines of a tree, `limit` at most, depth first; without recursion, since it may be as deep as it is long.

    Where there are more spans than that, what repeats itself is told together.
    """
    lines: list[TreeLine] = []
    began = {node.row.span_id: node.row.start_ns - summary.start_ns for node in _nodes(roots)}
    has_several = len({node.row.process for node in _nodes(roots)}) > 1
    waiting: list[_Branch] = [
        _Branch(root, "", "", 0, "" if has_several else root.row.process) for root in reversed(roots)
    ]
    while waiting and len(lines) < limit:
        branch = waiting.pop()
        of, below = branch.of, branch.below
        if isinstance(of, Folded):
            lines.append(TreeLine(guide=branch.guide, below=below, told=_together(of), spans=of.spans))
            continue
        more: tuple[Folded, ...] = ()
        if summary.spans > limit:
            of, more = folded(of)
        told = _told(of, began, above=branch.process)
        has_below = of.children or more
        lines.append(TreeLine(guide=branch.guide, below=f"{below}{'│' if has_below else ' '}", told=told, spans=1))
        inner: list[SpanNode | Folded] = [*of.children, *more]
        for number, child in reversed(list(enumerate(inner))):
            waiting.append(branch.child(child, of.row.process, is_last=number == len(inner) - 1))
    return lines


@dataclass(frozen=True, slots=True)
class _Branch:
    of: SpanNode | Folded
    guide: str
    below: str
    depth: int
    process: str
    """That of the span above."""

    def child(self, of: SpanNode | Folded, process: str, *, is_last: bool) -> _Branch:
        mark, beside = ("└── ", "    ") if is_last else ("├── ", "│   ")
        depth = self.depth + 1
        if depth <= DEEPEST:
            return _Branch(of, f"{self.below}{mark}", f"{self.below}{beside}", depth, process)
        level = self.below if depth > DEEPEST + 1 else f"{self.below}    "
        return _Branch(of, f"{level}({depth}) ", level, depth, process)


def _nodes(roots: Sequence[SpanNode]) -> Iterator[SpanNode]:
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.children


def _told(node: SpanNode, began: Mapping[str, int], *, above: str) -> Text:
    """`began` says of each span in the tree when it began, in ns from the first; `above` in which process it stands."""
    row, attributes = node.row, json.loads(node.row.attributes)
    text = Text(printable(row.name))
    text.append(f"  +{took(began[row.span_id])}", style="dim")
    if row.end_ns is None:
        text.append("  no end", style="yellow")
    else:
        text.append(f"  {took(row.end_ns - row.start_ns)}")
    for told in (tokens(row.input_tokens, row.output_tokens), cost(row.cost_usd), _what(attributes)):
        if told:
            text.append(f"  {told}", style="cyan")
    if row.process != above:
        text.append(f"  in {_process(row.process)}", style="dim")
    if attempt := attributes.get(telemetry.ATTEMPT):
        text.append(f"  attempt {attempt}", style="yellow")
    for link in json.loads(row.links):
        at = began.get(link["span_id"])
        text.append(f"  again, after {'one not recorded' if at is None else f'that at +{took(at)}'}", style="yellow")
    if row.failed:
        status = printable(row.status)
        text.append(f"  ✗ {status[:STATUS_CHARS]}{'…' if len(status) > STATUS_CHARS else ''}", style="red")
    if node.is_lost_child:
        text.append("  (its parent was not recorded)", style="dim")
    for event in json.loads(row.events):
        _append_event(text, event["name"], event["attributes"], is_report=row.name == telemetry.SUPERVISE)
    return text


def _append_event(text: Text, name: str, told: Mapping[str, Any], *, is_report: bool) -> None:
    agent = printable(str(told.get(telemetry.AGENT_ID, "")))
    if name == telemetry.ASK_FAILED:
        text.append(f"  ✗ ask of {agent}: {printable(str(told.get(telemetry.ERROR_TYPE, '')))}", style="red")
    elif name == telemetry.GUARD_TRIPPED:
        guard = printable(str(told.get(telemetry.GUARD_NAME, "")))
        text.append(f"  ! {guard} at {agent}: {told.get(telemetry.GUARD_RUNG)}", style="yellow")
    elif is_report and name in _SUPERVISED:  # a turn that failed has said so already
        text.append(f"  {agent} {_SUPERVISED[name]}", style="yellow")


_SUPERVISED = {
    telemetry.CHILD_TERMINATED: "ended",
    telemetry.RESTARTING: "is restarted",
    telemetry.START_FAILED: "did not start",
    telemetry.ESCALATED: "is given up",
}
"""What supervisors report; that a child was started is no news."""


def _together(alike: Folded) -> Text:
    text = Text(f"… {alike.count:,} more {printable(alike.name)}")
    below = alike.spans - alike.count
    inside = f", with {below:,} below them" if below else ""
    text.append(f"  {took(alike.took_ns)} in all{inside}", style="dim")
    for told in (tokens(alike.input_tokens, alike.output_tokens), cost(alike.cost_usd)):
        if told:
            text.append(f"  {told}", style="cyan")
    return text


def _process(process: str) -> str:
    """What names a process among those of its app: the end of the id of a host, or its whole name."""
    where = process.partition(" on ")[0]
    return printable(where.rpartition(".")[2] or process)


def _what(attributes: Mapping[str, Any]) -> str:
    """What the message, search or loop of a span was, where its name does not say so."""
    if (hits := attributes.get(telemetry.HITS)) is not None:
        return counted(hits, "hit")
    if (turns := attributes.get(telemetry.LOOP_TURNS)) is not None:
        return f"{counted(turns, 'turn')}, {counted(attributes.get(telemetry.LOOP_CALLS, 0), 'call')}"
    return printable(str(attributes.get(telemetry.MESSAGE_TYPE, "")))


# ---- numbers and words ------------------------------------------------------------------------------


def took(ns: int) -> str:
    """A time in the unit in which it is read."""
    seconds = max(0, ns) / 1e9
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:,.0f} s"


def tokens(input_tokens: int, output_tokens: int) -> str:
    """Tokens in and out; empty where there are none."""
    return f"{input_tokens:,}→{output_tokens:,}" if input_tokens or output_tokens else ""


def cost(cost_usd: float | None) -> str:
    """Dollars; empty where nothing has a cost."""
    return "" if cost_usd is None else f"${cost_usd:,.4f}"


def counted(number: int, word: str) -> str:
    """So many of something that takes an s."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def printable(text: str) -> str:
    """A text that comes from outside, without what a terminal would obey."""
    return "".join(sign if sign.isprintable() else "�" for sign in text)
