"""Span names and attributes, spans around a part of a turn, and trace context in and out of envelopes.

Only the OpenTelemetry API is used here; without an SDK every span is a no-op and `outgoing` is empty, so that a message
pays nothing for it. Names follow the GenAI conventions (semantic-conventions-genai, as of September 2026: none of them
is stable yet, so they stand here once) and the messaging conventions; what begins with `regrow.` is our own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from regrow.runtime.contain import text_of
from regrow.runtime.redaction import beginning_without

if TYPE_CHECKING:
    from regrow.runtime.runtime import Runtime
    from regrow.runtime.sampling import Sampling

Attributes: TypeAlias = Mapping[str, str | int | float | bool]

# ---- what a span is about: `gen_ai.operation.name`, and the first word of its name ----------------

INVOKE_AGENT = "invoke_agent"
CHAT = "chat"
EXECUTE_TOOL = "execute_tool"
EMBEDDINGS = "embeddings"
SEARCH_MEMORY = "search_memory"
UPSERT_MEMORY = "upsert_memory"
DELETE_MEMORY = "delete_memory"
SEND = "send"
PROCESS = "process"
AGENT_LOOP = "agent_loop"
"""The span around a model and its tools in turns. The conventions have no word for it."""
STEP = "step"
"""The span of a step of a durable turn; of each attempt, where it is retried."""
SUPERVISE = "supervise"
"""The span of a supervisor's report where no other span is current."""
GUARD = "guard"
"""The span of what a guard has found where no other span is current."""

# ---- the same for consumers by OpenInference, where they can not tell it from the operation: decision 0045 ------

SHOWN_AS = "openinference.span.kind"
SHOWN_AS_AGENT = "AGENT"
SHOWN_AS_CHAIN = "CHAIN"
"""A link between other parts: what is sent, a loop, a step, a part of a turn."""
SHOWN_AS_GUARDRAIL = "GUARDRAIL"
SHOWN_AS_RETRIEVER = "RETRIEVER"
_SHOWN_ALONE_AS = {SUPERVISE: SHOWN_AS_CHAIN, GUARD: SHOWN_AS_GUARDRAIL}
"""Spans that are there for one event."""

# ---- events ---------------------------------------------------------------------------------------

GUARD_TRIPPED = "guard.tripped"
CHILD_STARTED = "supervisor.child_started"
CHILD_TERMINATED = "supervisor.child_terminated"
RESTARTING = "supervisor.restarting"
START_FAILED = "supervisor.start_failed"
ESCALATED = "supervisor.escalated"
ASK_FAILED = "regrow.ask_failed"
"""On the span of who asked, since nobody may have run what was asked."""

# ---- attributes -----------------------------------------------------------------------------------

OPERATION = "gen_ai.operation.name"
AGENT_NAME = "gen_ai.agent.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
MAX_TOKENS = "gen_ai.request.max_tokens"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"
MEMORY_QUERY = "gen_ai.memory.query.text"
MESSAGING_SYSTEM = "messaging.system"
MESSAGING_OPERATION = "messaging.operation.name"
DESTINATION = "messaging.destination.name"
MESSAGE_ID = "messaging.message.id"
ERROR_TYPE = "error.type"

AGENT_ID = "regrow.agent.id"
AGENT_INCARNATION = "regrow.agent.incarnation"
MESSAGE_TYPE = "regrow.message.type"
COST_USD = "regrow.cost_usd"
WORK = "regrow.work"
HITS = "regrow.memory.hits"
RECORDS = "regrow.memory.records"
STEP_NAME = "regrow.step.name"
ATTEMPT = "regrow.attempt"
"""Which attempt this is, from 1; only where there was one before."""
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

_SAMPLED = frozenset("13579bdf")
TRACEPARENT_CHARS = 55
ERROR_TEXT_CHARS = 500
"""Of what an error says, on the span that it ended."""


def _as_it_is(text: str) -> str:
    return text


class Spans:
    """How this process makes spans; set up by `switch_on`."""

    are_made = False
    """Whether a part of a turn ever had a span here, so that sends look for it."""
    sampling: Sampling | None = None
    """What decides which messages have spans; None where none have."""
    with_content = False
    """Whether prompts, answers, arguments and results are kept."""
    redact: Callable[[str], str] = staticmethod(_as_it_is)
    last_outgoing: tuple[Context, str] = Context(), ""
    """The context of the last send, and its traceparent: who sends mostly does so again, and it takes a while."""


spans = Spans()


class Planned(NamedTuple):
    """A span that is made now: its id (0: any), and the runtime whose it is, where that is not the one that runs."""

    span_id: int = 0
    owner: Runtime | None = None


planned: ContextVar[Planned | None] = ContextVar("regrow_planned", default=None)
"""Set while a span is made in a trace that `Sampling` has chosen already: the SDK's sampler does not choose again."""
_CHOSEN = Planned()

_tracer = trace.get_tracer("regrow")


def switch_on(sampling: Sampling, *, redact: Callable[[str], str], with_content: bool) -> None:
    """From now on the messages that `sampling` chooses have spans."""
    spans.sampling, spans.with_content, spans.redact = sampling, with_content, redact
    spans.are_made = True


def switch_off() -> None:
    """From now on no message begins a trace."""
    spans.sampling, spans.with_content = None, False


# ---- context --------------------------------------------------------------------------------------


def is_inside() -> bool:
    """Whether a span is current."""
    return trace.get_current_span().get_span_context().is_valid


def outgoing() -> str:
    """The traceparent of the span that is current; empty when nothing is traced."""
    current = get_current()
    if not current:
        return ""  # no span, no baggage: what nearly every send finds
    last, text = spans.last_outgoing
    if current is not last:  # nothing changes in one, so a turn that sends much asks once
        context = trace.get_current_span(current).get_span_context()
        text = traceparent_of(context) if context.is_valid else ""
        spans.last_outgoing = current, text
    return text


def traceparent_of(context: SpanContext) -> str:
    """A span's context as it travels."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def context_of(traceparent: str) -> Context:
    """What a traceparent names, to be the parent of a span; an empty context for one that can not be read."""
    context = span_context_of(traceparent)
    return trace.set_span_in_context(trace.NonRecordingSpan(context), Context()) if context.is_valid else Context()


def span_context_of(traceparent: str) -> SpanContext:
    """The same, to be linked; invalid for one that can not be read."""
    version, _, rest = traceparent.partition("-")
    try:
        trace_id, span_id, flags = (int(part, 16) for part in rest.split("-"))
    except ValueError:
        return trace.INVALID_SPAN_CONTEXT
    if version != "00" or len(traceparent) != TRACEPARENT_CHARS:
        return trace.INVALID_SPAN_CONTEXT  # none of ours; its parts may mean anything
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


def is_sampled(traceparent: str) -> bool:
    """Whether the trace is recorded, as whoever began it has decided."""
    return traceparent[-1:] in _SAMPLED  # the lowest bit; others say how the id was made


def trace_id(traceparent: str) -> str:
    """The trace id inside a traceparent, as logs show it."""
    return traceparent.split("-")[1] if traceparent.count("-") == 3 else ""


# ---- spans ----------------------------------------------------------------------------------------


@contextmanager
def span(
    name: str,
    traceparent: str,
    attributes: Attributes,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    """A span below the current one; where there is none, below the one that `traceparent` names.

    Below neither it begins a trace, unless `Sampling` decides on those: then this is a part of what is not recorded.
    What is raised inside is told on it, without its secrets (see redaction).
    """
    spans.are_made = True
    below = is_inside()
    if not below and not traceparent and spans.sampling is not None:
        yield trace.INVALID_SPAN
        return
    parent = context_of(traceparent) if traceparent and not below else None
    with _tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=dict(attributes),
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield made
        except BaseException as error:
            fail(made, error)
            raise


def start_span(
    name: str, parent: Context, attributes: Attributes, plan: Planned, *, kind: SpanKind, links: Sequence[Link] = ()
) -> Span:
    """A span that whoever starts it ends. Its trace is one that `Sampling` has chosen."""
    token = planned.set(plan)
    try:
        return _tracer.start_span(name, context=parent, kind=kind, attributes=dict(attributes), links=links)
    finally:
        planned.reset(token)


def fail(span: Span, error: BaseException) -> None:
    """Tells on a span what it ended with."""
    if not span.is_recording():
        return
    kind, text = type(error).__name__, without_secrets(text_of(error), ERROR_TEXT_CHARS)
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR, f"{kind}: {text}" if text else kind))


def event(name: str, attributes: Attributes, *, span_name: str) -> None:
    """An event on the current span; where none is recorded, on a short span of its own: SUPERVISE or GUARD.

    That one begins a trace, linked to nothing, where the current trace is not recorded.
    """
    current = trace.get_current_span()
    if current.is_recording():
        current.add_event(name, dict(attributes))
        return
    if spans.sampling is not None and not spans.sampling.reports(time.monotonic()):
        return
    context = current.get_span_context()
    parent = Context() if context.is_valid and not context.trace_flags.sampled else None
    token = planned.set(_CHOSEN)
    try:
        shown_as = {SHOWN_AS: _SHOWN_ALONE_AS[span_name]}
        with _tracer.start_as_current_span(span_name, context=parent, attributes=shown_as) as span:
            span.add_event(name, dict(attributes))
    finally:
        planned.reset(token)


def note_failed_ask(agent: str, error: BaseException) -> None:
    """Tells on the current span that an ask of this agent has failed."""
    current = trace.get_current_span()
    if current.is_recording():
        text = without_secrets(text_of(error), ERROR_TEXT_CHARS)
        current.add_event(ASK_FAILED, {AGENT_ID: agent, ERROR_TYPE: type(error).__name__, "exception.message": text})


def without_secrets(text: str, limit_chars: int) -> str:
    """The beginning of a text, with what looks like a secret taken out."""
    return beginning_without(spans.redact, text, limit_chars)
