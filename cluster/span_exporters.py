"""The exporters of OpenTelemetry that the environment names, as keepers of spans, and what they say of their trouble.

An exporter logs each batch that it could not send. Here that is told as the reason of the spans that were dropped, and
so once a minute; a program that has set up handlers of Python's logging gets their lines as well.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from regrow.cluster.config import EXPORTER_VARIABLE
from regrow.cluster.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

    Export = Callable[[Sequence[ReadableSpan]], None]

EXPORTERS = "opentelemetry_traces_exporter"
"""Where packages say which exporters they have; the SDK itself has `console`."""
LOGGER = "opentelemetry.exporter"
"""Above the loggers of all exporters that belong to OpenTelemetry."""


class ExportFailed(Exception):
    """An exporter says that it did not take a batch of spans."""


class _LastWords(logging.Handler):
    """Keeps what each thread has logged last, in place of writing it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self._said.text = record.getMessage()

    def taken(self) -> str:
        """What this thread has logged since it was asked last; empty where that is nothing."""
        text: str = getattr(self._said, "text", "")
        self._said.text = ""
        return text


_last_words = _LastWords()


def named_exporters() -> list[tuple[str, Export]]:
    """What exports a batch, by the name of each exporter of the environment; it raises what went wrong.

    Raises ConfigError for one that is not installed.
    """
    named = map(str.strip, os.environ.get(EXPORTER_VARIABLE, "").split(","))
    exporters = [(name, _exporter(name)) for name in named if name not in ("", "none")]
    if exporters:
        logging.getLogger(LOGGER).addHandler(_last_words)  # the same again is none more
    return [(name, _export_with(exporter)) for name, exporter in exporters]


def _export_with(exporter: SpanExporter) -> Export:
    def export(batch: Sequence[ReadableSpan]) -> None:
        _last_words.taken()
        result = exporter.export(batch)
        if result.name != "SUCCESS":
            why = _last_words.taken()
            raise ExportFailed(why or f"{type(exporter).__name__} did not take {len(batch)} spans")

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
