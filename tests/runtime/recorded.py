"""Spans as they are made where messages are traced, kept in memory, for tests of all rooms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from regrow.cluster.span_processor import made_provider
from regrow.runtime import telemetry
from regrow.runtime.redaction import Redaction
from regrow.runtime.sampling import Sampling
from tests.runtime.scripted import Scripted


class Traced(Scripted):
    """A behavior made of functions that counts as an agent, so that its turns have spans."""

    traces_turns = True


class Recorded:
    """The spans that have ended, in that order."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = made_provider("test")
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("regrow")

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of this name, in the order in which they began."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_time or 0)

    def one(self, name: str) -> ReadableSpan:
        """The only one of this name."""
        (span,) = self.named(name)
        return span


@contextmanager
def recording(
    monkeypatch: pytest.MonkeyPatch, *, sampling: Sampling | None = None, with_content: bool = False
) -> Iterator[Recorded]:
    """As long as this lasts, messages have spans."""
    recorded = Recorded()
    # Not the global provider: that can be set once in a process, and would trace every later test.
    monkeypatch.setattr(telemetry, "_tracer", recorded.tracer)
    telemetry.switch_on(sampling or Sampling(1_000), redact=Redaction(), with_content=with_content)
    try:
        yield recorded
    finally:
        telemetry.switch_off()


def id_of(span: ReadableSpan) -> int:
    """The id of a span."""
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def trace_of(span: ReadableSpan) -> int:
    """The id of its trace."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


def is_below(span: ReadableSpan, parent: ReadableSpan) -> bool:
    """Whether one span is a child of the other."""
    return span.parent is not None and span.parent.span_id == id_of(parent) and trace_of(span) == trace_of(parent)


def linked(span: ReadableSpan) -> list[int]:
    """The ids of the spans that a span is linked to, all in its own trace."""
    assert all(link.context.trace_id == trace_of(span) for link in span.links)
    return [link.context.span_id for link in span.links]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Of a span."""
    return dict(span.attributes or {})
