"""Sets OpenTelemetry's SDK up in this process, once: what samples, and who gets the spans.

A program that sets up a TracerProvider itself keeps it, and ours joins it. Guardian and hosts are started by Ray, where
no code of the program could; there, and where a program has set up none, exporters that `OTEL_TRACES_EXPORTER` names
get the spans too, as they do under `opentelemetry-instrument`. With the setting `tracing.enabled = false` no SDK is
loaded, and tracing costs nothing.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

import structlog
from opentelemetry import trace

from regrow.cluster.config import EXPORTER_VARIABLE
from regrow.cluster.errors import ConfigError
from regrow.cluster.record_queue import FLUSH_EVERY_S, RecordQueue
from regrow.cluster.span_row import size_bytes_of
from regrow.runtime import telemetry
from regrow.runtime.redaction import Redaction
from regrow.runtime.sampling import Sampling

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

    from regrow.cluster.config import TracingSettings

log = structlog.get_logger("regrow.tracing")

EXPORTERS = "opentelemetry_traces_exporter"
"""Where packages say which exporters they have; the SDK itself has `console`."""

FLUSH_LIMIT_S = 2.0
"""How long the end of a process waits for its last spans to leave."""
UNENDED_LIMIT = 4_096
"""Of so many spans at once it is told that they have begun, before they end."""

AnySpan = Any
"""A ReadableSpan of this process, or the SpanRow of another one's."""


class ExportFailed(Exception):
    """An exporter says that it did not take a batch of spans."""


class _Process:
    """What is set up in this process."""

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None
        self.exports: list[RecordQueue[AnySpan]] = []
        self.stores: list[RecordQueue[AnySpan]] = []
        """Of the apps that run here, in the order of their starts: the first one gets the spans."""
        self.unended: dict[int, tuple[float, Span]] = {}
        self.settings: list[TracingSettings] = []
        """Of the apps that run here, in the order of their starts."""

    def began(self, span: Span) -> None:
        """See SpanProcessor.on_start."""
        if self.stores and len(self.unended) < UNENDED_LIMIT:
            self.unended[span.get_span_context().span_id] = time.monotonic(), span

    def ended(self, span: ReadableSpan) -> None:
        """See SpanProcessor.on_end."""
        context = span.get_span_context()
        if context is not None:
            self.unended.pop(context.span_id, None)
        for queue in (*self.exports, *self.stores[:1]):
            queue.put(span)

    def long_unended(self) -> list[Span]:
        """The spans that have begun a while ago, each once: whoever dies meanwhile has told of them."""
        now_s, found = time.monotonic(), []
        for span_id, (began_s, span) in list(self.unended.items()):
            if now_s - began_s >= FLUSH_EVERY_S and self.unended.pop(span_id, None) is not None:
                found.append(span)
        return found


_process = _Process()


def configure(app: str, settings: TracingSettings) -> None:
    """Sets up what makes spans in this process, once, where the settings want any.

    Raises ConfigError for an exporter that is not installed.
    """
    if settings.is_on and _process.provider is None:
        _process.provider = _joined() or _made(app)


def configure_or_warn(app: str, settings: TracingSettings) -> None:
    """The same in guardian and hosts, which do without traces where they can not have them."""
    try:
        configure(app, settings)
    except ConfigError as error:
        log.warning("this process is not traced", reason=str(error))


def begin(settings: TracingSettings, store: RecordQueue[AnySpan] | None) -> None:
    """An app starts here: its messages have spans, and `store` gets them, unless that of another app does already."""
    _process.settings.append(settings)
    _apply()
    if store is not None:
        _process.stores.append(store)


async def end(settings: TracingSettings, store: RecordQueue[AnySpan] | None) -> None:
    """An app has stopped here: what waits leaves, within FLUSH_LIMIT_S, and after the last one no message has spans."""
    _process.settings.remove(settings)
    _apply()
    await flush()
    if store is not None:
        await asyncio.to_thread(store.close, FLUSH_LIMIT_S)
        _process.stores.remove(store)


async def flush() -> None:
    """Sends what has not been sent yet, for a process that will be ended; waits FLUSH_LIMIT_S at most."""
    queues = (*_process.exports, *_process.stores[:1])
    await asyncio.gather(*(asyncio.to_thread(queue.flush, FLUSH_LIMIT_S) for queue in queues))


def long_unended() -> Sequence[AnySpan]:
    """Spans of this process that have not ended for a while; each is told once."""
    return _process.long_unended()


def dropped() -> dict[str, int]:
    """How many spans of this process were dropped on their way, by reason."""
    found: dict[str, int] = {}
    for queue in (*_process.exports, *_process.stores):
        for reason, spans in queue.dropped.items():
            found[reason] = found.get(reason, 0) + spans
    return found


def _apply() -> None:
    """Has spans made as all apps that run here allow: one process makes them all, and one span can belong to two."""
    running = _process.settings
    if not running:
        telemetry.switch_off()
        return
    patterns = dict.fromkeys(pattern for settings in running for pattern in settings.redact)
    telemetry.switch_on(
        telemetry.spans.sampling or Sampling(running[0].traces_per_s),
        redact=Redaction(patterns),
        with_content=all(settings.content for settings in running),
    )


def _joined() -> TracerProvider | None:
    """The provider that the program has set up, which tells us of its spans from now on; None where there is none."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider) or not hasattr(provider, "add_span_processor"):
        return None
    from regrow.cluster.span_processor import Processor  # here, since an app that is not traced loads no SDK

    joined = cast("TracerProvider", provider)
    joined.add_span_processor(Processor(_process.began, _process.ended))
    return joined


def _made(app: str) -> TracerProvider:
    named = os.environ.get(EXPORTER_VARIABLE, "").split(",")
    exporters = [(name, _exporter(name)) for name in map(str.strip, named) if name not in ("", "none")]
    from regrow.cluster.span_processor import Processor, made_provider

    provider = made_provider(app)
    provider.add_span_processor(Processor(_process.began, _process.ended))
    trace.set_tracer_provider(provider)
    _process.exports += [
        RecordQueue(name, _export_with(exporter), size_bytes=size_bytes_of) for name, exporter in exporters
    ]
    return provider


def _export_with(exporter: SpanExporter) -> Any:
    def export(batch: Sequence[ReadableSpan]) -> None:
        result = exporter.export(batch)
        if result.name != "SUCCESS":
            raise ExportFailed(f"{type(exporter).__name__} did not take {len(batch)} spans")

    return export


def _exporter(name: str) -> SpanExporter:
    found = tuple(entry_points(group=EXPORTERS, name=name))
    if not found:
        known = ", ".join(sorted({entry.name for entry in entry_points(group=EXPORTERS)}))
        raise ConfigError(
            f"{EXPORTER_VARIABLE} names {name!r}, which is not installed; there is: {known}. "
            "For otlp install regrow[otlp], also where the hosts run",
            source=EXPORTER_VARIABLE,
        )
    return cast("SpanExporter", found[0].load()())
