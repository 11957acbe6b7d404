"""One trace as a tree, and how it is shown."""

from __future__ import annotations

import io
import json
import random

from regrow.cluster.trace_tree import SpanNode, span_json, summary_of, tree_of
from regrow.cluster.trace_views import show_trace, show_traces
from tests.cluster.span_rows import TRACE, row

CHAIN = [
    row(1),
    row(2, 1, name="invoke_agent desk/analyst"),
    row(3, 2, name="search_memory", attributes='{"regrow.memory.hits": 8}'),
    row(4, 2, name="chat small", input_tokens=312, output_tokens=45, cost_usd=0.0123),
    row(5, 2, name="execute_tool book", failed=True, status="ToolFailed: no room", end_ns=None),
    row(6, 1, name="invoke_agent desk/scribe", links='[{"trace_id": "t", "span_id": "00000000000000ff"}]'),
    row(7, 1, name="invoke_agent desk/scribe", links='[{"trace_id": "t", "span_id": "0000000000000006"}]'),
]


def outline(nodes: tuple[SpanNode, ...]) -> list[object]:
    return [[int(node.row.span_id, 16), outline(node.children)] for node in nodes]


def shown(rows: list[object], limit: int = 500) -> str:
    out = io.StringIO()
    show_trace(summary_of(rows), tree_of(rows), to=out, limit=limit)  # type: ignore[arg-type]
    return out.getvalue()


def test_spans_stand_below_their_parents_in_the_order_in_which_they_began() -> None:
    mixed = list(CHAIN)
    random.Random(7).shuffle(mixed)

    assert outline(tree_of(mixed)) == [[1, [[2, [[3, []], [4, []], [5, []]]], [6, []], [7, []]]]]


def test_a_span_whose_parent_was_not_recorded_is_a_root_that_says_so() -> None:
    roots = tree_of([row(1), row(5, 4), row(6, 5)])

    assert outline(roots) == [[1, []], [5, [[6, []]]]]
    assert [root.is_lost_child for root in roots] == [False, True]


def test_a_span_that_names_itself_as_its_parent_is_a_root() -> None:
    assert outline(tree_of([row(1, 1)])) == [[1, []]]


def test_a_trace_as_deep_as_it_is_long_is_no_trouble() -> None:
    deep = [row(0), *(row(number, number - 1) for number in range(1, 5_000))]

    assert "… and 4,500 more spans" in shown(deep)  # type: ignore[arg-type]


def test_a_summary_adds_up_what_its_spans_took_and_cost() -> None:
    summary = summary_of(CHAIN)

    assert (summary.trace_id, summary.root, summary.spans, summary.unended, summary.errors) == (
        TRACE,
        "send desk/clerk",
        7,
        1,
        1,
    )
    assert (summary.input_tokens, summary.output_tokens, summary.cost_usd) == (312, 45, 0.0123)
    assert summary.end_ns - summary.start_ns == 6_500_000


def test_a_trace_is_drawn_with_time_tokens_cost_and_errors() -> None:
    assert shown(CHAIN).splitlines()[1:] == [  # type: ignore[arg-type]
        "send desk/clerk  +0 µs  500 µs",
        "├── invoke_agent desk/analyst  +1.0 ms  500 µs",
        "│   ├── search_memory  +2.0 ms  500 µs  8 hits",
        "│   ├── chat small  +3.0 ms  500 µs  312→45  $0.0123",
        "│   └── execute_tool book  +4.0 ms  no end  ✗ ToolFailed: no room",
        "├── invoke_agent desk/scribe  +5.0 ms  500 µs  again, after one not recorded",
        "└── invoke_agent desk/scribe  +6.0 ms  500 µs  again, after that at +5.0 ms",
    ]


def test_what_a_terminal_would_obey_is_shown_as_a_sign() -> None:
    text = shown([row(1, name="execute_tool \x1b[2Jx", failed=True, status="\x1b]0;owned\x07")])

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "execute_tool �[2Jx" in text


def test_the_list_tells_what_is_not_there() -> None:
    out = io.StringIO()

    show_traces([summary_of(CHAIN)], {"otlp_proto_http: queue_full": 1_200, "store: OSError": 3}, to=out)

    lines = out.getvalue().splitlines()
    assert lines[1].split()[-6:] == ["6.5", "ms", "7", "312→45", "$0.0123", "1"]
    assert lines[2:] == [
        "1,200 spans were dropped by otlp_proto_http, for it was too slow",
        "3 spans were dropped by their store, for it failed with OSError",
    ]


def test_programs_get_each_span_with_all_that_is_known_of_it() -> None:
    told = json.loads(json.dumps(span_json(CHAIN[4])))

    assert (told["name"], told["duration_s"], told["error"]) == ("execute_tool book", None, "ToolFailed: no room")
    assert told["parent_id"] == "0000000000000002"
