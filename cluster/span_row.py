"""One span as it is stored and sent between processes: made from the SDK's, and packed as plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

from regrow.runtime import telemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

TEXT_CHARS = 20_000
"""Of all attributes, all events, or all links of one span, as JSON; what is longer is cut to nothing and said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRow:
    """One span. Ids are hexadecimal, `parent_id` is empty at the root; times are nanoseconds of Unix time.

    `end_ns` is None of a span that has not ended, as far as anybody has heard. `attributes`, `events` and `links` are
    JSON. `process` says where it was made.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int | None
    failed: bool
    status: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    attributes: str
    events: str
    links: str
    process: str


COLUMNS = SpanRow.__slots__


def row_from(values: Sequence[Any]) -> SpanRow:
    """The row whose fields have these values, in their order."""
    return SpanRow(**dict(zip(COLUMNS, values, strict=True)))


def row_of(span: ReadableSpan, process: str) -> SpanRow:
    """The row of a span of the SDK, ended or not."""
    context = span.get_span_context()
    assert context is not None
    attributes: Mapping[str, Any] = span.attributes or {}
    tokens_in, tokens_out, cost_usd = _spent(attributes)
    return SpanRow(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_id=f"{span.parent.span_id:016x}" if span.parent is not None else "",
        name=span.name,
        kind=span.kind.name.lower(),
        start_ns=span.start_time or 0,
        end_ns=span.end_time,
        failed=span.status.status_code is StatusCode.ERROR,
        status=span.status.description or "",
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cost_usd=cost_usd,
        attributes=_json(dict(attributes), {}),
        events=_json(
            [
                {"name": event.name, "time_ns": event.timestamp, "attributes": dict(event.attributes or {})}
                for event in span.events
            ],
            [],
        ),
        links=_json(
            [
                {"trace_id": f"{one.context.trace_id:032x}", "span_id": f"{one.context.span_id:016x}"}
                for one in span.links
            ],
            [],
        ),
        process=process,
    )


def _spent(attributes: Mapping[str, Any]) -> tuple[int, int, float | None]:
    """Tokens and dollars of this span alone: those of an agent loop are the sum of the calls below it."""
    match attributes.get(telemetry.OPERATION):
        case telemetry.CHAT:
            cost = attributes.get(telemetry.COST_USD)
            tokens_in = int(attributes.get(telemetry.INPUT_TOKENS, 0))
            return tokens_in, int(attributes.get(telemetry.OUTPUT_TOKENS, 0)), cost
        case telemetry.EXECUTE_TOOL:
            return 0, 0, attributes.get(telemetry.TOOL_COST_USD) or None
        case _:
            return 0, 0, None


def _json(value: object, nothing: object) -> str:
    if not value:
        return "{}" if nothing == {} else "[]"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= TEXT_CHARS else json.dumps(nothing)
