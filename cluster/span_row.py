"""One span as it is stored and sent between processes: made from the SDK's, and packed as plain values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

from regrow.runtime import telemetry
from regrow.runtime.contain import travelling

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

TEXT_CHARS = 40_000
"""Of one attribute, and of all events or links of one span, as JSON; of what is longer the rest is left out."""
ATTRIBUTES_CHARS = 130_000
"""Of all attributes of one span: three contents of the largest size, and what else there is."""
MAX_NAMED = 20
MAX_COUNT = 2**53
LEFT_OUT = "regrow.left_out"
"""The attribute that says what had no room in the store, by name."""

_encoded = json.JSONEncoder(ensure_ascii=False, default=str).encode


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
values_of: Callable[[SpanRow], tuple[Any, ...]] = attrgetter(*COLUMNS)
"""The values of a row in the order of its fields; `astuple` copies each of them, and takes ten times as long."""


def row_from(values: Sequence[Any]) -> SpanRow:
    """The row whose fields have these values, in their order."""
    return SpanRow(**dict(zip(COLUMNS, values, strict=True)))


def size_bytes_of(span: ReadableSpan | SpanRow) -> int:
    """What a span takes roughly: the lengths of its texts."""
    if isinstance(span, SpanRow):
        return sum(map(len, (span.name, span.status, span.attributes, span.events, span.links)))
    told = (span.attributes, *(event.attributes for event in span.events))
    texts = (value for each in told for value in (each or {}).values() if isinstance(value, str))
    return len(span.status.description or "") + sum(map(len, texts))


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
        name=travelling(span.name),
        kind=span.kind.name.lower(),
        start_ns=span.start_time or 0,
        end_ns=span.end_time,
        failed=span.status.status_code is StatusCode.ERROR,
        status=travelling(span.status.description or ""),
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cost_usd=cost_usd,
        attributes=_attributes(attributes),
        events=_list(
            [
                {"name": event.name, "time_ns": event.timestamp, "attributes": dict(event.attributes or {})}
                for event in span.events
            ]
        ),
        links=_list(
            [
                {"trace_id": f"{one.context.trace_id:032x}", "span_id": f"{one.context.span_id:016x}"}
                for one in span.links
            ]
        ),
        process=process,
    )


def _spent(attributes: Mapping[str, Any]) -> tuple[int, int, float | None]:
    """Tokens and dollars of this span alone: those of an agent loop are the sum of the calls below it."""
    match attributes.get(telemetry.OPERATION):
        case telemetry.CHAT:
            tokens_in, tokens_out = (
                _whole(attributes.get(of)) for of in (telemetry.INPUT_TOKENS, telemetry.OUTPUT_TOKENS)
            )
            return tokens_in, tokens_out, _dollars(attributes.get(telemetry.COST_USD))
        case telemetry.EXECUTE_TOOL:
            return 0, 0, _dollars(attributes.get(telemetry.TOOL_COST_USD)) or None
        case _:
            return 0, 0, None


def _whole(value: object) -> int:
    """A count, as another library's span may have it or not."""
    return value if isinstance(value, int) and 0 <= value <= MAX_COUNT else 0


def _dollars(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _attributes(attributes: Mapping[str, Any]) -> str:
    """The attributes as JSON; one for which there is no room is named in place of being there."""
    whole = _json(dict(attributes))
    if len(whole) <= TEXT_CHARS:
        return whole
    parts: list[str] = []
    left_out: list[str] = []
    room = ATTRIBUTES_CHARS
    for name, value in attributes.items():
        part = f"{_json(name)}: {_json(value)}"
        if len(part) > min(room, TEXT_CHARS):
            left_out.append(name)
            continue
        room -= len(part)
        parts.append(part)
    if left_out:
        parts.append(f"{_json(LEFT_OUT)}: {_json(left_out[:MAX_NAMED])}")
    return f"{{{', '.join(parts)}}}"


def _list(values: Sequence[object]) -> str:
    """Values as JSON, as many of the first as there is room for."""
    if not values:
        return "[]"
    parts: list[str] = []
    room = TEXT_CHARS
    for part in map(_json, values):
        if len(part) > room:
            break
        room -= len(part)
        parts.append(part)
    return f"[{', '.join(parts)}]"


def _json(value: object) -> str:
    return travelling(_encoded(value))
