"""Of a trace too long to be read, what repeats itself is told together. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from regrow.cluster.span_row import SpanRow
from regrow.cluster.trace_tree import SpanNode

SHOWN_ALIKE = 3
"""Of so many spans with one name below one parent each is told, of those after them what they came to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """Spans of one name below one parent, with all that is below them. `took_ns` is that of the first level alone."""

    name: str
    count: int
    spans: int
    took_ns: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


def folded(node: SpanNode) -> tuple[SpanNode, tuple[Folded, ...]]:
    """A span with those children that are to be told one by one, and what the others came to, by name.

    What has failed, was tried again or has not ended is told in any case, and all that it is a part of.
    """
    seen: dict[str, int] = {}
    shown: list[SpanNode] = []
    alike: dict[str, list[SpanNode]] = {}
    for child in node.children:
        seen[child.row.name] = seen.get(child.row.name, 0) + 1
        if seen[child.row.name] > SHOWN_ALIKE and not any(map(_is_notable, _all_rows(child))):
            alike.setdefault(child.row.name, []).append(child)
        else:
            shown.append(child)
    return replace(node, children=tuple(shown)), tuple(_together(name, nodes) for name, nodes in alike.items())


def _together(name: str, nodes: Sequence[SpanNode]) -> Folded:
    rows = [row for node in nodes for row in _all_rows(node)]
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    return Folded(
        name=name,
        count=len(nodes),
        spans=len(rows),
        took_ns=sum((node.row.end_ns or node.row.start_ns) - node.row.start_ns for node in nodes),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cost_usd=sum(costs) if costs else None,
    )


def _is_notable(row: SpanRow) -> bool:
    return row.failed or row.end_ns is None or row.links != "[]"


def _all_rows(node: SpanNode) -> Iterator[SpanRow]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node.row
        waiting += node.children
