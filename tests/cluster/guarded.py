"""What tests of guards share: what is asked, and the evidence that a guard leaves in the trace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from regrow import Request
from regrow.runtime import telemetry


class Ask(Request[str]):
    text: str = ""


class Start(Request[str]):
    """From outside."""


class Seen(BaseModel):
    notes: int = 0


def exporting(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Takes the spans of this test."""
    found = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("test"))
    return found


def findings(exporter: InMemorySpanExporter) -> Iterator[dict[str, Any]]:
    """The evidence of each finding in the trace."""
    for span in exporter.get_finished_spans():
        for event in span.events:
            if event.name == telemetry.GUARD_TRIPPED:
                shown_as = (span.attributes or {}).get(telemetry.SHOWN_AS)
                yield {"span": span.name, "shown_as": shown_as, **dict(event.attributes or {})}
