"""Sets OpenTelemetry's SDK up in this process, once: what samples, and who gets the spans.

A program that sets up a TracerProvider itself keeps it, and ours joins it. Guardian and hosts are started by Ray, where
no code of the program could; there, and where a program has set up none, exporters that `OTEL_TRACES_EXPORTER` names
get the spans too, as they do under `opentelemetry-instrument`. With the setting `tracing.enabled = false` no SDK is
loaded, and tracing costs nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import structlog
from opentelemetry import trace

from regrow.cluster.errors import ConfigError
from regrow.cluster.record_queue import CLOSED, RecordQueue
from regrow.cluster.span_exporters import named_exporters
from regrow.cluster.span_route import AnySpan, SpanRoute, owner_now
from regrow.cluster.span_row import size_bytes_of
from regrow.runtime import telemetry
from regrow.runtime.redaction import Redaction
from regrow.runtime.sampling import Sampling

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider

    from regrow.cluster.config import TracingSettings

log = structlog.get_logger("regrow.tracing")

FLUSH_LIMIT_S = 2.0
"""How long the end of an app waits for its last spans to leave."""
COUNTS_LIMIT_S = 0.5
"""And for the last counts of those that did not."""
END_LIMIT_S = FLUSH_LIMIT_S + 3 * COUNTS_LIMIT_S
"""How long that takes in all, though store and exporters hang."""


class _Process:
    """What is set up in this process."""

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None
        self.exports: list[RecordQueue[AnySpan]] = []
        self.routes: list[SpanRoute] = []
        """Of the apps that run here, in the order of their starts."""
        self.settings: list[TracingSettings] = []
        """Of the same apps."""

    def began(self, span: Span) -> None:
        """See SpanProcessor.on_start."""
        owner = owner_now()
        for route in self.routes:
            if route.takes(owner):
                route.began(span)

    def ended(self, span: ReadableSpan) -> None:
        """See SpanProcessor.on_end."""
        context, owner = span.get_span_context(), owner_now()
        if context is None or (owner is not None and not owner.is_traced):
            return
        begun = [route for route in self.routes if route.ends(context.span_id)]
        for route in begun or [route for route in self.routes if route.takes(owner)]:
            if route.queue is not None:
                route.queue.put(span)
        for queue in self.exports:
            queue.put(span)


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


def begin(settings: TracingSettings, route: SpanRoute) -> None:
    """An app starts here: its messages have spans, which go the way of `route`."""
    _process.settings.append(settings)
    _process.routes.append(route)
    _apply()


async def end(settings: TracingSettings, route: SpanRoute) -> None:
    """An app has stopped here: what waits leaves, within END_LIMIT_S, and after the last one no message has spans."""
    _process.settings.remove(settings)
    _apply()
    await flush()
    if len(_process.routes) == 1:
        for queue in _process.exports:
            queue.give_up(CLOSED)  # nobody else is here for whom it would go on
    _process.routes.remove(route)
    if (store := route.queue) is not None:
        await asyncio.to_thread(store.flush, COUNTS_LIMIT_S, asks=True)  # with the last counts of what was dropped
        await asyncio.to_thread(store.close, COUNTS_LIMIT_S)


async def flush() -> None:
    """Sends what has not been sent yet; waits FLUSH_LIMIT_S at most."""
    stores = (route.queue for route in _process.routes if route.queue is not None)
    queues = (*_process.exports, *stores)
    await asyncio.gather(*(asyncio.to_thread(queue.flush, FLUSH_LIMIT_S) for queue in queues))


def dropped(route: SpanRoute) -> dict[tuple[str, str], int]:
    """How many spans of an app were dropped here, by keeper and reason; by exporters also those of others here."""
    queues = _process.exports if route.queue is None else (*_process.exports, route.queue)
    return {(queue.keeper, reason): spans for queue in queues for reason, spans in queue.dropped.items() if spans}


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
    exporters = named_exporters()
    from regrow.cluster.span_processor import Processor, made_provider

    provider = made_provider(app)
    provider.add_span_processor(Processor(_process.began, _process.ended))
    trace.set_tracer_provider(provider)
    _process.exports += [RecordQueue(name, export, size_bytes=size_bytes_of) for name, export in exporters]
    return provider
