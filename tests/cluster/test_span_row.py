"""A span of the SDK as it is stored: what no store can take costs itself, and no other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from regrow.cluster.span_row import ATTRIBUTES_CHARS, LEFT_OUT, TEXT_CHARS, SpanRow, row_of, size_bytes_of
from regrow.cluster.span_store import FILE_NAME, SpanFile, SpanStore
from regrow.runtime import telemetry
from regrow.runtime.span_content import CONTENT_CHARS


def stored(name: str, attributes: Mapping[str, Any], *events: str) -> SpanRow:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span(name, attributes=dict(attributes))
    for event in events:
        span.add_event(event, {"said": event})
    span.end()
    assert isinstance(span, ReadableSpan)
    return row_of(span, "inline")


def test_a_name_and_an_attribute_that_no_file_can_hold_do_not_cost_the_batch(tmp_path: Path) -> None:
    row = stored("read \udcff.txt", {"file": "\udcff.txt"}, "lost \udcff")
    store = SpanStore(tmp_path, limit_bytes=10_000_000)

    store.write([row], {})
    store.close()

    (found,) = SpanFile(tmp_path / FILE_NAME).spans(row.trace_id)
    assert found.name == "read \\udcff.txt"


def test_the_size_of_a_span_is_that_of_its_texts_before_and_after_it_is_stored() -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("chat m", attributes={"n": 1})
    span.set_attribute(telemetry.INPUT_MESSAGES, "x" * CONTENT_CHARS)
    span.add_event("said", {"text": "y" * 1_000})
    assert isinstance(span, ReadableSpan)

    sizes_bytes = size_bytes_of(span), size_bytes_of(row_of(span, "inline"))

    assert all(CONTENT_CHARS + 1_000 <= size_bytes < CONTENT_CHARS + 1_500 for size_bytes in sizes_bytes)


def test_an_attribute_without_room_is_named_and_the_others_stay() -> None:
    row = stored("chat m", {telemetry.AGENT_ID: "desk/a", "long": "x" * (TEXT_CHARS + 1), "last": 1})

    assert json.loads(row.attributes) == {telemetry.AGENT_ID: "desk/a", "last": 1, LEFT_OUT: ["long"]}


def test_all_attributes_together_are_bounded() -> None:
    row = stored("chat m", {f"text {number}": "x" * 30_000 for number in range(20)})

    assert len(row.attributes) <= ATTRIBUTES_CHARS + 1_000
    assert len(json.loads(row.attributes)) == 1 + ATTRIBUTES_CHARS // 30_000


def test_instructions_a_prompt_and_an_answer_of_the_largest_size_are_kept_with_all_else() -> None:
    told = '"\n' * (CONTENT_CHARS // 2)
    contents = (telemetry.SYSTEM_INSTRUCTIONS, telemetry.INPUT_MESSAGES, telemetry.OUTPUT_MESSAGES)
    row = stored("chat m", {**dict.fromkeys(contents, told), "agent": "desk/a"})

    assert json.loads(row.attributes) == {**dict.fromkeys(contents, told), "agent": "desk/a"}


def test_the_first_events_are_kept_where_there_are_too_many() -> None:
    row = stored("turn", {}, *(f"{number:02} " + "x" * 3_000 for number in range(20)))

    assert [event["name"][:2] for event in json.loads(row.events)] == ["00", "01", "02", "03", "04", "05"]


def test_figures_of_another_library_that_are_none_count_as_nothing() -> None:
    row = stored(
        "chat m", {telemetry.OPERATION: telemetry.CHAT, telemetry.INPUT_TOKENS: "many", telemetry.COST_USD: "dear"}
    )

    assert (row.input_tokens, row.output_tokens, row.cost_usd) == (0, 0, None)
