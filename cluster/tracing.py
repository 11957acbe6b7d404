"""Sends the traces of this process where OpenTelemetry's own variables say.

A program sets up its TracerProvider itself, and keeps it. But guardian and hosts are started by Ray, where no
code of the program could; there, and where a program has set up none, `OTEL_TRACES_EXPORTER` does it, as it
does under `opentelemetry-instrument`. Without that variable no SDK is loaded, and tracing costs nothing.
"""

from __future__ import annotations

import asyncio
import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

import structlog
from opentelemetry import trace

from regrow.cluster.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

log = structlog.get_logger("regrow.tracing")

EXPORTER_VARIABLE = "OTEL_TRACES_EXPORTER"
EXPORTERS = "opentelemetry_traces_exporter"
"""Where packages say which exporters they have; the SDK itself has `console`."""

FLUSH_LIMIT_S = 2.0
"""How long the end of a process waits for its last spans to leave."""

_ours: list[TracerProvider] = []
"""The provider that `configure` has made, if it has."""


def configure(app: str) -> None:
    """Sets up OpenTelemetry's SDK when the environment names an exporter and the program has set up none.

    Raises ConfigError for an exporter that is not installed.
    """
    named = os.environ.get(EXPORTER_VARIABLE, "").split(",")
    names = [name.strip() for name in named if name.strip() not in ("", "none")]
    if not names or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    exporters = [_exporter(name) for name in names]
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # here, since most apps are not traced
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: app}))
    provider = TracerProvider(resource=resource)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _ours.append(provider)


def configure_or_warn(app: str) -> None:
    """The same in guardian and hosts, which do without traces where they can not have them."""
    try:
        configure(app)
    except ConfigError as error:
        log.warning("this process is not traced", reason=str(error))


async def flush() -> None:
    """Sends what has not been sent yet, for a process that will be ended; waits FLUSH_LIMIT_S at most."""
    for provider in _ours:
        await asyncio.to_thread(provider.force_flush, int(FLUSH_LIMIT_S * 1000))


def _exporter(name: str) -> SpanExporter:
    found = tuple(entry_points(group=EXPORTERS, name=name))
    if not found:
        known = ", ".join(sorted({entry.name for entry in entry_points(group=EXPORTERS)}))
        raise ConfigError(
            f"{EXPORTER_VARIABLE} names {name!r}, which is not installed; there is: {known}. "
            "For otlp install opentelemetry-exporter-otlp, also where the hosts run",
            source=EXPORTER_VARIABLE,
        )
    return cast("SpanExporter", found[0].load()())
