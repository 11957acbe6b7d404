"""The spans of tools, as the GenAI conventions of OpenTelemetry name them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Tracer
from pydantic import BaseModel

from regrow import Agent, Context, DurableAgent, DurableContext, Request, on
from regrow.actors import as_tool
from regrow.actors.tool import tool
from regrow.actors.tool_errors import ToolDenied, ToolFailed
from regrow.router.conversation import ToolCall
from regrow.runtime import telemetry
from regrow.runtime.testing import virtual
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time
from tests.actors.tool_shop import Use, used
from tests.runtime.test_telemetry import Traces


@tool(cost_usd=0.01)
async def search(word: str) -> str:
    """Searches."""
    return word


@tool
async def fail() -> str:
    """Fails."""
    raise LookupError("nothing there")


@tool
async def searches_twice(ctx: Context) -> str:
    """Calls another tool."""
    return await ctx.tools.call(search, {"word": "b"})


class Nothing(BaseModel):
    pass


class Look(Request[str]):
    """Looks something up."""


class Librarian(Agent):
    tools = [search]

    @on
    async def look(self, look: Look, ctx: Context) -> str:
        return await ctx.tools.call(search, {"word": "c"})


class Clerk(DurableAgent[Nothing]):
    tools = [search, as_tool("librarian", Look)]

    @on
    async def look(self, look: Look, ctx: DurableContext) -> str:
        first = await ctx.tools.answer(ToolCall(id="call_1", name="search", arguments='{"word": "a"}'))
        second = await ctx.tools.answer(ToolCall(id="call_2", name="librarian"))
        return first.content + second.content


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    traces = Traces()
    monkeypatch.setattr(telemetry, "_tracer", traces.tracer)
    return traces


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def below(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return span.parent is not None and parent.context is not None and span.parent.span_id == parent.context.span_id


def traced(tracer: Tracer, use: Use) -> None:
    """Uses tools in the trace of a span `turn` of the asker."""

    @virtual
    async def run() -> None:
        with tracer.start_as_current_span("turn"):
            await used([search, fail, searches_twice], use)

    run()


def test_a_call_of_a_tool_has_a_span_with_the_names_of_the_conventions(traces: Traces) -> None:
    async def use(ctx: Context) -> object:
        return await ctx.tools.answer(ToolCall(id="call_7", name="search", arguments='{"word": "a"}'))

    traced(traces.tracer, use)

    span = traces.spans["execute_tool search"]
    assert attributes(span) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call_7",
        "regrow.agent.id": "desk/shop",
        "regrow.tool.cost_usd": 0.01,
    }
    assert below(span, traces.spans["turn"])


def test_a_call_that_no_model_has_asked_for_has_no_id_of_one(traces: Traces) -> None:
    async def use(ctx: Context) -> object:
        await ctx.tools.answer(ToolCall(id="call_7", name="searches_twice"))
        return await ctx.tools.call(search, {"word": "a"})

    traced(traces.tracer, use)

    ids = [(span.name, attributes(span).get("gen_ai.tool.call.id")) for span in traces.ended[:3]]
    assert ids == [
        ("execute_tool search", None),
        ("execute_tool searches_twice", "call_7"),
        ("execute_tool search", None),
    ]
    assert below(traces.ended[0], traces.ended[1])


def failing(use: Callable[[Context], Awaitable[object]], error: type[Exception]) -> Use:
    async def failed(ctx: Context) -> object:
        with pytest.raises(error):
            await use(ctx)
        return ""

    return failed


def test_a_failure_is_named_on_the_span(traces: Traces) -> None:
    traced(traces.tracer, failing(lambda ctx: ctx.tools.call(fail), ToolFailed))

    assert attributes(traces.spans["execute_tool fail"])["error.type"] == "ToolFailed"


def test_what_the_gate_denies_has_no_span_since_nothing_has_run(traces: Traces) -> None:
    async def use(ctx: Context) -> object:
        with ctx.tools.only():
            return await ctx.tools.call(search, {"word": "a"})

    traced(traces.tracer, failing(use, ToolDenied))

    assert not [span.name for span in traces.ended if span.name.startswith("execute_tool")]


def test_spans_of_a_durable_turn_and_of_the_agents_that_it_asks_hang_below_the_asker(traces: Traces) -> None:
    @on_virtual_time
    async def run() -> None:
        host = await Host.on(memory_journal())
        assert await host.start(Librarian, "desk/librarian") is None
        assert await host.start(Clerk, "desk/clerk") is None
        with traces.tracer.start_as_current_span("turn"):
            assert await host.ref("desk/clerk").ask(Look()) == "ac"

    run()

    own, inner, asked, turn = traces.ended
    assert [span.name for span in (own, inner, asked, turn)] == [
        "execute_tool search",
        "execute_tool search",
        "execute_tool librarian",
        "turn",
    ]
    assert (below(own, turn), below(asked, turn), below(inner, asked)) == (True, True, True)
    assert [attributes(span).get("gen_ai.tool.call.id") for span in (own, inner, asked)] == ["call_1", None, "call_2"]
