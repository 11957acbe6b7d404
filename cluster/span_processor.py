"""The parts of OpenTelemetry's SDK that are ours: its sampler, its ids, and what is told of each span."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult

from regrow.runtime import telemetry

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes


class Processor(SpanProcessor):
    """Tells of each span that is recorded."""

    def __init__(self, began: Callable[[Span], None], ended: Callable[[ReadableSpan], None]) -> None:
        self._began = began
        self._ended = ended

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """See SpanProcessor."""
        self._began(span)

    def on_end(self, span: ReadableSpan) -> None:
        """See SpanProcessor."""
        self._ended(span)


class _Root(Sampler):
    """Decides on traces that begin in this process: those of messages are chosen already, others are here."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """See Sampler."""
        sampling = telemetry.spans.sampling
        begins = telemetry.planned.get() is not None or (sampling is not None and sampling.begins(time.monotonic()))
        return SamplingResult(Decision.RECORD_AND_SAMPLE if begins else Decision.DROP, attributes)

    def get_description(self) -> str:
        """See Sampler."""
        return "RegrowRate"


class _Ids(RandomIdGenerator):
    """Ids by chance, but for spans whose id follows from what they are about; see message_spans."""

    def generate_span_id(self) -> int:
        """See IdGenerator."""
        planned = telemetry.planned.get()
        return (planned.span_id if planned is not None else 0) or super().generate_span_id()


def made_provider(app: str) -> TracerProvider:
    """A provider whose service is the app, unless the environment names another."""
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: app}))
    return TracerProvider(
        sampler=ParentBased(root=_Root()), resource=resource, id_generator=_Ids(), shutdown_on_exit=False
    )
