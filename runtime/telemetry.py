"""Span names, and trace context in and out of envelopes (W3C traceparent).

Only the OpenTelemetry API is used here; without an SDK every span is a no-op and `outgoing` is
empty, so that a message pays nothing for it. Names follow the GenAI and messaging conventions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

INVOKE_AGENT = "invoke_agent"
CHAT = "chat"
EXECUTE_TOOL = "execute_tool"
AGENT_LOOP = "agent_loop"
"""The span around a model and its tools in turns. The conventions have no word for it."""
SEARCH_MEMORY = "search_memory"
SEND = "send"
PROCESS = "process"

SUPERVISE = "supervise"
"""The span of a supervisor's report where no other span is current."""

GUARD = "guard"
"""The span of what a guard has found where no other span is current."""

GUARD_TRIPPED = "guard.tripped"

CHILD_STARTED = "supervisor.child_started"
CHILD_TERMINATED = "supervisor.child_terminated"
RESTARTING = "supervisor.restarting"
START_FAILED = "supervisor.start_failed"
ESCALATED = "supervisor.escalated"

AGENT_ID = "regrow.agent.id"
AGENT_INCARNATION = "regrow.agent.incarnation"
TOOL_COST_USD = "regrow.tool.cost_usd"
LOOP_TURNS = "regrow.loop.turns"
LOOP_CALLS = "regrow.loop.calls"
LOOP_LEFT_OUT = "regrow.loop.left_out"
LOOP_COST_USD = "regrow.loop.cost_usd"
LOOP_ANSWERED_BY = "regrow.loop.answered_by"
GUARD_NAME = "regrow.guard.name"
GUARD_RUNG = "regrow.guard.rung"
GUARD_EVIDENCE = "regrow.guard.evidence"
RUN_ID = "regrow.run.id"
SUPERVISOR_ID = "regrow.supervisor.id"
EXIT_KIND = "regrow.exit.kind"
EXIT_REASON = "regrow.exit.reason"
RESTARTS = "regrow.supervisor.restarts"
DELAY_S = "regrow.supervisor.delay_s"


class Spans:
    """Whether a turn of this process ever made a span."""

    are_made = False


spans = Spans()
_tracer = trace.get_tracer("regrow")
_propagator = TraceContextTextMapPropagator()


def outgoing() -> str:
    """The traceparent of the span that is current; empty when nothing is traced."""
    if not get_current():
        return ""  # no span, no baggage: what nearly every send finds
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def trace_id(traceparent: str) -> str:
    """The trace id inside a traceparent, as logs show it."""
    return traceparent.split("-")[1] if traceparent.count("-") == 3 else ""


@contextmanager
def span(name: str, traceparent: str, attributes: Mapping[str, str | int | float | bool]) -> Iterator[None]:
    """A span below the one that `traceparent` names, or below the current one when it is empty."""
    spans.are_made = True
    parent = _propagator.extract({"traceparent": traceparent}) if traceparent else None
    with _tracer.start_as_current_span(name, context=parent, attributes=dict(attributes)):
        yield


def event(name: str, attributes: Mapping[str, str | int | float | bool], *, span_name: str) -> None:
    """An event on the current span; where none is recorded, on a short span of its own called `span_name`."""
    current = trace.get_current_span()
    if current.is_recording():
        current.add_event(name, dict(attributes))
        return
    with _tracer.start_as_current_span(span_name) as span:
        span.add_event(name, dict(attributes))
