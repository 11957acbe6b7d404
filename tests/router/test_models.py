"""What an agent holds: one line for a completion, and clear refusals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import pytest

from regrow.router.conversation import Role, Said, ToolCall, ToolResult, ToolSchema
from regrow.router.errors import ToolsNotRun
from regrow.router.models import Models
from regrow.router.provider import ScriptedProvider
from regrow.router.request import LIMIT_PASSAGES, FinishReason, ModelRequest, Passage, Tier, Work
from regrow.router.service import RouterService
from regrow.runtime.errors import Misuse
from regrow.runtime.message import Request

R = TypeVar("R")


@dataclass(frozen=True)
class Hit:
    text: str
    source: str


async def models(provider: ScriptedProvider) -> Models:
    service = RouterService(provider=provider)
    await service.started(None)

    async def ask(request: Request[R]) -> R:
        reply = await service.handle(request, None)
        assert request.reply().accepts(reply)
        return reply  # type: ignore[return-value]

    return Models(ask, principal="ann", agent="desk/analyst")


async def test_a_completion_carries_its_context_and_whose_it_is() -> None:
    provider = ScriptedProvider(["so"])
    held = await models(provider)

    reply = await held.complete(
        Work.SYNTHESIZE, "why?", context=[Hit("words", "a.md"), "bare"], max_output_tokens=7, tier=Tier.SMALL
    )

    assert reply.text == "so"
    assert provider.requests == [
        ModelRequest(
            work=Work.SYNTHESIZE,
            prompt="why?",
            context=(Passage(text="words", source="a.md"), Passage(text="bare")),
            max_output_tokens=7,
            tier=Tier.SMALL,
            principal="ann",
            agent="desk/analyst",
        )
    ]


async def test_a_lone_string_is_one_passage() -> None:
    provider = ScriptedProvider(["so"])

    await (await models(provider)).complete(Work.SUMMARIZE, "", context="one text")

    assert provider.requests[0].context == (Passage(text="one text"),)


async def test_labels_may_be_any_sequence() -> None:
    provider = ScriptedProvider(["red"])

    await (await models(provider)).complete(Work.CLASSIFY, "?", labels=["red", "blue"])

    assert provider.requests[0].labels == ("red", "blue")


async def test_tools_are_refused_with_the_way_round() -> None:
    provider = ScriptedProvider(["so"])
    held = await models(provider)

    with pytest.raises(ToolsNotRun, match=r"give their schemas, as ctx.tools.schemas\(\) does"):
        await held.complete(Work.SYNTHESIZE, "why?", tools=[print])
    await held.complete(Work.SYNTHESIZE, "why?", tools=[])

    assert len(provider.requests) == 1


async def test_schemas_and_what_was_said_reach_the_model_and_its_calls_come_back() -> None:
    call = ToolCall(id="1", name="search", arguments='{"query": "x"}')
    provider = ScriptedProvider([call, lambda request: f"read: {request.messages[-1].content}"])  # type: ignore[union-attr]
    held, schema = await models(provider), ToolSchema(name="search", description="Searches.")

    first = await held.complete(Work.SYNTHESIZE, "why?", tools=[schema])
    said: list[Said | ToolResult] = [
        Said(role=Role.ASSISTANT, tool_calls=first.tool_calls),
        ToolResult(call_id="1", content="a page"),
    ]
    second = await held.complete(Work.SYNTHESIZE, "why?", tools=[schema], messages=said)

    assert (first.tool_calls, first.finish) == ((call,), FinishReason.TOOL_CALLS)
    assert (second.text, second.finish) == ("read: a page", FinishReason.STOP)
    assert [request.tools for request in provider.requests] == [(schema,)] * 2


async def test_a_script_may_ask_for_several_calls_at_once() -> None:
    calls = tuple(ToolCall(id=str(number), name="search") for number in range(3))

    reply = await (await models(ScriptedProvider([calls]))).complete(Work.SYNTHESIZE, "why?")

    assert reply.tool_calls == calls


@pytest.mark.parametrize(
    ("context", "match"), [([1], "holds a int"), (["x"] * (LIMIT_PASSAGES + 1), f"more than {LIMIT_PASSAGES}")]
)
async def test_context_that_is_no_text_or_too_much_is_a_misuse(context: Iterable[str], match: str) -> None:
    with pytest.raises(Misuse, match=match):
        await (await models(ScriptedProvider([]))).complete(Work.REASON, "?", context=context)


async def test_usage_is_that_of_all_calls() -> None:
    held = await models(ScriptedProvider(["so", "yes"]))
    for _ in range(2):
        await held.complete(Work.REASON, "why?")

    totals = await held.usage(history=1)

    assert (totals.all.calls, len(totals.recent)) == (2, 1)
