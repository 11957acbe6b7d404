"""Trace context in and out of envelopes, with a real tracer that keeps its spans in memory."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer, get_current_span
from structlog.testing import capture_logs

from regrow.runtime import telemetry
from regrow.runtime.message import Message
from regrow.runtime.redaction import MARGIN_CHARS, Redaction
from regrow.runtime.testing import run_virtual
from tests.runtime.scripted import Echo, Process

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Traces:
    """A tracer, and the spans that ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = provider.get_tracer("regrow")

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.ended}

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        """All of them, in the order in which they ended."""
        return self._exporter.get_finished_spans()


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    # Not the global provider: that can be set once in a process, and would trace every later test.
    traces = Traces()
    monkeypatch.setattr(telemetry, "_tracer", traces.tracer)
    return traces


def test_nothing_leaves_where_nothing_is_traced() -> None:
    assert telemetry.outgoing() == ""


def test_the_current_span_leaves_as_a_traceparent(traces: Traces) -> None:
    with traces.tracer.start_as_current_span("outside") as span:
        outgoing = telemetry.outgoing()

    context = span.get_span_context()
    assert outgoing == f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    assert context.trace_flags.sampled


def test_a_span_stands_below_the_one_that_a_traceparent_names(traces: Traces) -> None:
    with telemetry.span(telemetry.PROCESS, TRACE, {"agent": "clerk"}):
        pass

    span = traces.spans["process"]
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE[3:35], TRACE[36:52])
    assert dict(span.attributes or {}) == {"agent": "clerk"}


@pytest.mark.parametrize("traceparent", ["", "rubbish", "00-1-2-3"])
def test_without_a_usable_traceparent_a_span_begins_a_trace(traces: Traces, traceparent: str) -> None:
    with telemetry.span(telemetry.PROCESS, traceparent, {}):
        pass

    assert traces.spans["process"].parent is None


@pytest.mark.parametrize(
    ("traceparent", "trace_id"), [(TRACE, "0af7651916cd43dd8448eb211c80319c"), ("", ""), ("x", "")]
)
def test_logs_show_the_trace_id(traceparent: str, trace_id: str) -> None:
    assert telemetry.trace_id(traceparent) == trace_id


def test_a_trace_goes_through_agents_and_their_spans_hang_below_it(traces: Traces) -> None:
    async def front(message: Message, ctx: CellContext) -> str:
        return await ctx.ask("desk/back", Echo())

    async def back(message: Message, ctx: CellContext) -> str:
        assert not get_current_span().get_span_context().is_valid  # only the envelope carries it
        with ctx.span("look up", pages=3), ctx.span("judge", **{telemetry.SHOWN_AS: "EVALUATOR"}):
            ctx.log.info("looking")
        return ""

    async def run() -> None:
        process = Process()
        await process.start("desk/front", front)
        await process.start("desk/back", back)
        with traces.tracer.start_as_current_span("outside"):
            await process.ref("desk/front").ask(Echo())

    with capture_logs() as logs:
        run_virtual(run())

    outside, inner = traces.spans["outside"].get_span_context(), traces.spans["look up"]
    assert outside is not None and inner.parent is not None
    assert inner.parent.span_id == outside.span_id
    assert dict(inner.attributes or {}) == {"pages": 3, telemetry.SHOWN_AS: telemetry.SHOWN_AS_CHAIN}
    assert dict(traces.spans["judge"].attributes or {}) == {telemetry.SHOWN_AS: "EVALUATOR"}
    assert [(line["agent"], line["incarnation"], line["trace"]) for line in logs if line["event"] == "looking"] == [
        ("desk/back", 2, f"{outside.trace_id:032x}")
    ]


@pytest.mark.parametrize("is_traced", [True, False])
def test_what_is_sent_inside_of_a_span_hangs_below_that_span(traces: Traces, is_traced: bool) -> None:
    came_with: list[str] = []

    async def front(message: Message, ctx: CellContext) -> str:
        with ctx.span("work"):
            await ctx.ask("desk/back", Echo())
        return await ctx.ask("desk/back", Echo())

    async def back(message: Message, ctx: CellContext) -> str:
        came_with.append(ctx.origin().trace)
        return ""

    async def run() -> None:
        process = Process()
        await process.start("desk/front", front)
        await process.start("desk/back", back)
        with traces.tracer.start_as_current_span("outside") if is_traced else nullcontext():
            await process.ref("desk/front").ask(Echo())

    run_virtual(run())

    work = traces.spans["work"].get_span_context()
    assert work is not None
    assert came_with[0].split("-")[2] == f"{work.span_id:016x}"
    if is_traced:
        outside = traces.spans["outside"].get_span_context()
        assert outside is not None
        assert came_with[1].split("-")[2] == f"{outside.span_id:016x}"
    else:
        assert came_with[1] == ""


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no word")


def test_an_error_whose_text_can_not_be_had_is_told_by_its_class(traces: Traces) -> None:
    with pytest.raises(Mute), telemetry.span("step", "", {}):
        raise Mute

    assert (traces.spans["step"].attributes or {})[telemetry.ERROR_TYPE] == "Mute"


def test_of_a_secret_at_the_edge_of_what_is_kept_no_part_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry.spans, "redact", Redaction())
    secret = "sk-" + "abcdefgh" * 20  # what is taken out makes the text so much shorter that its edge would be kept

    for before in range(200):
        assert "abc" not in telemetry.without_secrets(f"{'x' * before} {' '.join([secret] * 60)}", 500)


def test_of_a_long_text_only_what_may_be_kept_is_searched_for_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    def redact(text: str) -> str:
        searched.append(len(text))
        return text

    monkeypatch.setattr(telemetry.spans, "redact", redact)

    assert telemetry.without_secrets("x" * 10_000_000, 500) == "x" * 500
    assert searched == [500 + MARGIN_CHARS]


def test_what_is_sent_from_two_spans_by_turns_names_the_one_that_is_current(traces: Traces) -> None:
    with telemetry.span("outer", "", {}) as outer:
        first = telemetry.outgoing()
        with telemetry.span("inner", "", {}) as inner:
            second, again = telemetry.outgoing(), telemetry.outgoing()
        third = telemetry.outgoing()

    assert first == third == telemetry.traceparent_of(outer.get_span_context())
    assert second == again == telemetry.traceparent_of(inner.get_span_context())
    assert telemetry.outgoing() == ""
