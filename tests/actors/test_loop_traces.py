"""Every call of an agent loop is seen: a span for the loop, below it those of models and tools; rows of the ledger."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from regrow import Context
from regrow.actors.loop_answer import LoopAnswer
from regrow.actors.loop_errors import TurnsUsedUp
from regrow.actors.tool import tool
from regrow.cluster.config import MemorySettings, Settings, TracingSettings
from regrow.router.usage import UsageTotals
from regrow.runtime import telemetry
from regrow.runtime.testing import virtual
from tests.actors.loop_stage import PRICED, call, calling, looped, saying
from tests.actors.test_handoff import HAND, Refunds, handing
from tests.runtime.recorded import is_below, recording


@tool(cost_usd=0.25)
async def look() -> str:
    """Looks."""
    return "late"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    found = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(telemetry, "_tracer", provider.get_tracer("test"))
    return found


def attributes(span: ReadableSpan) -> Mapping[str, object]:
    assert span.attributes is not None
    return span.attributes


async def plainly(ctx: Context) -> LoopAnswer[None]:
    return await ctx.models.run("Go on", max_turns=2)


def test_the_spans_of_models_and_tools_stand_below_that_of_their_loop(exporter: InMemorySpanExporter) -> None:
    script = [
        calling(call("look"), call("look", id="2"), input_tokens=900, output_tokens=100),
        saying("done", 900, 100),
    ]

    @virtual
    async def run() -> None:
        await looped(plainly, script, tools=[look], settings=PRICED)

    run()

    spans = exporter.get_finished_spans()
    [loop] = [span for span in spans if span.name == "agent_loop desk/shop"]
    assert loop.context is not None
    below = [span.name for span in spans if span.parent is not None and span.parent.span_id == loop.context.span_id]
    assert sorted(below) == ["chat scripted", "chat scripted", "execute_tool look", "execute_tool look"]
    told = attributes(loop)
    assert (told["regrow.loop.turns"], told["regrow.loop.calls"], told["regrow.loop.left_out"]) == (2, 2, 0)
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (1_800, 200)
    assert told["regrow.loop.cost_usd"] == pytest.approx(0.52)


def test_a_conversation_that_is_handed_over_goes_on_in_its_trace_below_the_loop_that_handed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings(memory=MemorySettings(store="memory"), tracing=TracingSettings(enabled=True, store_mb=0))

    @virtual
    async def run() -> None:
        await looped(handing, [HAND, "done"], others=[Refunds], settings=settings)

    with recording(monkeypatch) as recorded:
        run()

    loop, taken = recorded.one("agent_loop desk/shop"), recorded.one("invoke_agent desk/refunds")
    assert is_below(loop, recorded.one("invoke_agent desk/shop"))
    assert is_below(taken, loop)
    assert is_below(recorded.one("agent_loop desk/refunds"), taken)


def test_a_loop_that_ended_without_an_answer_says_why_on_its_span(exporter: InMemorySpanExporter) -> None:
    @virtual
    async def run() -> None:
        await looped(plainly, [call("look")], tools=[look], repeat_last=True, fails=True)

    run()

    [loop] = [span for span in exporter.get_finished_spans() if span.name.startswith("agent_loop")]
    assert attributes(loop)["error.type"] == TurnsUsedUp.__name__


@virtual
async def test_each_call_of_a_model_is_a_row_of_the_ledger_in_the_name_of_its_agent() -> None:
    found: list[UsageTotals] = []

    async def use(ctx: Context) -> LoopAnswer[None]:
        answer = await plainly(ctx)
        found.append(await ctx.models.usage(history=10))
        return answer

    script = [calling(call("look"), input_tokens=900, output_tokens=100), saying("done", 900, 100)]
    stand = await looped(use, script, tools=[look], settings=PRICED)

    [totals] = found
    assert [record.call.agent for record in totals.recent] == ["desk/shop", "desk/shop"]
    assert totals.spent_usd == pytest.approx(0.02)
    assert stand.answer.cost == pytest.approx(totals.spent_usd + 0.25)
