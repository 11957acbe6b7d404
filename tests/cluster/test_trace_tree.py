"""One trace as a tree, and how it is shown."""

from __future__ import annotations

import io
import json
import random
import re
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len

from regrow.cluster.trace_tree import SpanNode, span_json, summary_of, tree_of
from regrow.cluster.trace_views import show_trace, show_traces
from regrow.runtime import telemetry
from tests.cluster.span_rows import BEGUN_NS, TRACE, row

BEGUN = datetime.fromtimestamp((BEGUN_NS + 1_000_000) / 1e9, UTC).astimezone()
UNENDED = "without an end: they run, or their process died"
LOOP = '{"regrow.loop.turns": 2, "regrow.loop.calls": 1}'

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


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True

    def plain(self) -> str:
        """What stands on it."""
        return re.sub("\x1b\\[[0-9;]*m", "", self.getvalue())


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

    text = shown(deep)  # type: ignore[arg-type]

    assert "… and 4,500 more spans" in text
    assert max(map(len, text.splitlines())) < 120
    assert text.splitlines()[500].lstrip() == "(499) send desk/clerk  +499.0 ms  500 µs"


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


def test_of_two_thousand_spans_what_repeats_itself_is_told_together_and_what_failed_one_by_one() -> None:
    rows = [row(0)]
    for number in range(1, 1_000):
        rows.append(row(2 * number, 0, name="invoke_agent desk/clerk", failed=number == 700, status="Lost: it"))
        rows.append(row(2 * number + 1, 2 * number, name="chat small", input_tokens=3, output_tokens=1, cost_usd=0.01))

    text = shown(rows)  # type: ignore[arg-type]

    clerk, model = "invoke_agent desk/clerk", "    └── chat small"
    assert [line.partition("  +")[0].replace("│", " ", 1) for line in text.splitlines()[1:-1]] == [
        "send desk/clerk",
        *(3 * [f"├── {clerk}", model]),
        f"├── {clerk}",
        model,
    ]
    assert text.splitlines()[8].endswith("✗ Lost: it")
    assert text.splitlines()[-1] == (
        "└── … 995 more invoke_agent desk/clerk  497.5 ms in all, with 995 below them  2,985→995  $9.9500"
    )


def test_a_trace_that_goes_on_says_so_and_in_which_process_each_part_runs() -> None:
    rows = [
        row(1, process="driver on box, pid 1", end_ns=None),
        row(2, 1, name="invoke_agent desk/a", process="desk.0a1b.h2 on box, pid 2", end_ns=None),
        row(3, 2, name="agent_loop desk/a", process="desk.0a1b.h2 on box, pid 2", attributes=LOOP),
    ]

    assert shown(rows).splitlines() == [  # type: ignore[arg-type]
        f"trace {TRACE} · {BEGUN:%Y-%m-%d %H:%M:%S} · 2.5 ms so far · 3 spans · 2 {UNENDED}",
        "send desk/clerk  +0 µs  no end  in driver",
        "└── invoke_agent desk/a  +1.0 ms  no end  in h2",
        "    └── agent_loop desk/a  +2.0 ms  500 µs  2 turns, 1 call",
    ]


def test_what_supervisors_and_guards_did_in_a_trace_is_told() -> None:
    told = {"regrow.agent.id": "desk/a", "regrow.guard.name": "CausalLoop", "regrow.guard.rung": "refuse"}
    events = [{"name": name, "attributes": told} for name in (telemetry.RESTARTING, telemetry.GUARD_TRIPPED)]

    report, turn = shown(
        [row(1, name="supervise", events=json.dumps(events)), row(2, events=json.dumps(events))]
    ).splitlines()[1:]

    assert report == "supervise  +0 µs  500 µs  desk/a is restarted  ! CausalLoop at desk/a: refuse"
    assert turn == "send desk/clerk  +1.0 ms  500 µs  ! CausalLoop at desk/a: refuse"


def test_on_a_narrow_terminal_a_line_goes_on_behind_its_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    rows = [row(1), row(2, 1, name="step 東京の天気", failed=True, status="Lost: " + "of no use " * 8), row(3, 2)]

    show_trace(summary_of(rows), tree_of(rows), to=out)

    lines = out.plain().splitlines()[2:]
    assert all(cell_len(line) <= 60 for line in lines)
    assert [line[:6].rstrip() for line in lines] == ["└── st", "    │", "    │", "    └─"]
    assert "".join(lines).count("of no use") >= 7


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
