"""How Regrow logs: set up once, where a program starts an app, and never by importing a library.

Logs go to stderr, as results go to stdout. Whoever has configured structlog before keeps that. A line that is written
in a turn names its agent, incarnation and trace, whoever writes it: the agent, a library, or the runtime. So do lines
by Python's own logging, where the program has set up no handler for them.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import structlog
from structlog.tracebacks import ExceptionDictTransformer

from regrow.cluster.log_redaction import LogRedaction
from regrow.runtime import telemetry
from regrow.runtime.context import current
from regrow.runtime.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from structlog.typing import EventDict, Processor, WrappedLogger

    from regrow.cluster.config import LogSettings

_patterns: dict[str, None] = {}
"""Regular expressions of all apps that have run in this process: its lines may be of any of them."""
QUIET_LOGGERS = ("ray", "openai", "httpx", "httpcore")
"""Libraries that tell of each call or start at level info; their warnings are heard."""


class _Stderr:
    """The stderr of the moment: one kept from the start may be closed by then, as in a test or a notebook."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _StderrLoggers(structlog.WriteLoggerFactory):
    """Tells our own configuration from one that the program has made."""

    def __init__(self) -> None:
        super().__init__(file=_Stderr())  # type: ignore[arg-type] # it writes and flushes, and nothing else


class _OfLibraries(logging.Handler):
    """Lines that come by Python's own logging, and that nobody else has a handler for, as lines among all others."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler. At the very end of a program nothing can be written as it should be any more."""
        if sys.is_finalizing():
            return
        try:
            line = structlog.get_logger(record.name)
            line.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
        except (TypeError, ValueError):  # of a message that does not fit its arguments
            self.handleError(record)


def configure(settings: LogSettings, redact: Iterable[str] = ()) -> None:
    """Sends the logs of this process to stderr, at the level and in the format that the settings name.

    What looks like a secret is taken out of each line, and what the regular expressions of `redact` fit. Does nothing
    when the program has configured structlog itself. Called again, the last settings hold, and all expressions.
    """
    if structlog.is_configured() and not isinstance(structlog.get_config()["logger_factory"], _StderrLoggers):
        return
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    _patterns.update(dict.fromkeys(redact))
    structlog.configure(
        processors=_processors(LogRedaction(Redaction(_patterns)), as_json=settings.format == "json"),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_StderrLoggers(),
        # Kept loggers would not learn of later settings, and the kernel logs nothing on its hot path.
        cache_logger_on_first_use=False,
    )
    # Not a handler of the root: a program's own logging.basicConfig, called later, would then do nothing.
    logging.lastResort = _OfLibraries(logging.WARNING)
    for name in QUIET_LOGGERS:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(max(level, logging.WARNING))


def _processors(redaction: LogRedaction, *, as_json: bool) -> list[Processor]:
    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        name_turn,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
    ]
    if as_json:
        return [
            *first,
            _name_process,
            # Without the values of variables, which nobody has asked for, and which may be anything.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            redaction,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(default=str),
        ]
    return [
        *first,
        structlog.processors.format_exc_info,
        redaction,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback),
    ]


def name_turn(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Adds to a line whose turn writes it, and in which trace. What a line says itself stays.

    A line about another agent gets nothing of this one: two that are mixed would name a life that never was.
    """
    ctx = current.get()
    if ctx is None or ctx.turn_that_runs() is None:
        fields = {"trace": trace} if (trace := telemetry.trace_id(telemetry.outgoing())) else {}
    else:
        fields = ctx.log_fields()
        if line.get("agent", None if "incarnation" in line else ctx.id) != ctx.id:
            fields = {name: value for name, value in fields.items() if name == "trace"}
    for name, value in fields.items():
        line.setdefault(name, value)
    return line


def _name_process(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Adds the number of the process, as Python's own logging calls it: lines of many may come in one stream."""
    line.setdefault("process", os.getpid())
    return line
