"""A call of a model on its span: the fields of the GenAI conventions, content only when it is switched on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from regrow.router.catalog import ModelCard
from regrow.router.chat_span import chat_span, note_reply
from regrow.router.conversation import Role, Said, ToolCall, ToolResult
from regrow.router.provider import ProviderReply
from regrow.router.request import FinishReason, ModelRequest, Passage, Tier, Usage, Work
from regrow.runtime import telemetry
from tests.router.genai_messages import (
    INPUT_MESSAGES,
    OUTPUT_MESSAGES,
    SYSTEM_INSTRUCTIONS,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
)
from tests.runtime.recorded import Recorded, attributes, recording

CARD = ModelCard(name="mini", provider="openai", tier=Tier.SMALL)
CALLS = (
    ToolCall(id="call_1", name="weather", arguments='{"city": "Oslo", "password": "hunter22"}'),
    ToolCall(id="call_2", name="weather", arguments="no JSON"),
)
CONVERSATION = ModelRequest(
    work=Work.SYNTHESIZE,
    prompt="Is it cold?",
    instructions="Be brief.",
    context=(Passage(text="Oslo is in Norway.", source="atlas"),),
    messages=(
        Said(role=Role.ASSISTANT, tool_calls=CALLS),
        ToolResult(call_id="call_1", content='{"celsius": -3, "token": "0123456789"}'),
        ToolResult(call_id="call_2", content="write JSON", is_error=True),
        Said(role=Role.ASSISTANT, text="It is."),
        Said(role=Role.USER, text="And tomorrow?"),
    ),
)
USAGE = Usage(input_tokens=30, output_tokens=4, cached_tokens=20)


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    with recording(monkeypatch, with_content=True) as recorded:
        yield recorded


def told(traces: Recorded, request: ModelRequest, reply: ProviderReply, usage: Usage = USAGE) -> dict[str, str]:
    """The attributes of the span of a call."""
    with telemetry.span("turn", "00-" + "1" * 32 + "-" + "1" * 16 + "-01", {}), chat_span(request, CARD, "") as span:
        note_reply(span, reply, usage, cost_usd=0.5)
    return attributes(traces.one("chat mini"))


def test_a_conversation_is_told_as_the_conventions_have_it_in_the_order_in_which_a_model_reads_it(
    traces: Recorded,
) -> None:
    said = told(traces, CONVERSATION, ProviderReply(text="No."))

    (instructions,) = SYSTEM_INSTRUCTIONS.validate_json(said["gen_ai.system_instructions"])
    messages = INPUT_MESSAGES.validate_json(said["gen_ai.input.messages"])
    assert "Be brief." in instructions.content
    assert [message.role for message in messages] == ["user", "assistant", "tool", "tool", "assistant", "user"]
    (asked,) = messages[0].parts
    assert isinstance(asked, TextPart)
    assert asked.content.index("Oslo is in Norway.") < asked.content.index("Is it cold?")
    assert messages[1].parts == [
        ToolCallRequestPart(
            type="tool_call", id="call_1", name="weather", arguments={"city": "Oslo", "password": "[redacted]"}
        ),
        ToolCallRequestPart(type="tool_call", id="call_2", name="weather", arguments="no JSON"),
    ]
    (first,), (second,) = messages[2].parts, messages[3].parts
    assert isinstance(first, ToolCallResponsePart)
    assert (first.id, first.response) == ("call_1", '{"celsius": -3, "[redacted]"}')
    assert second == ToolCallResponsePart(type="tool_call_response", id="call_2", response="write JSON")
    assert messages[4].parts == [TextPart(type="text", content="It is.")]
    assert messages[5].parts == [TextPart(type="text", content="And tomorrow?")]


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (FinishReason.STOP, "stop"),
        (FinishReason.LENGTH, "length"),
        (FinishReason.FILTERED, "content_filter"),
        (FinishReason.TOOL_CALLS, "tool_call"),
    ],
)
def test_an_answer_is_told_with_its_calls_and_why_it_ended(traces: Recorded, finish: FinishReason, reason: str) -> None:
    said = told(traces, CONVERSATION, ProviderReply(text="Let me look.", tool_calls=CALLS[1:], finish=finish))

    (answer,) = OUTPUT_MESSAGES.validate_json(said["gen_ai.output.messages"])
    assert (answer.role, answer.finish_reason) == ("assistant", reason)
    assert answer.parts == [
        TextPart(type="text", content="Let me look."),
        ToolCallRequestPart(type="tool_call", id="call_2", name="weather", arguments="no JSON"),
    ]
    assert said["gen_ai.response.finish_reasons"] == (reason,)


def test_calls_without_a_word_are_told_without_an_empty_text(traces: Recorded) -> None:
    said = told(traces, CONVERSATION, ProviderReply(text="", tool_calls=CALLS, finish=FinishReason.TOOL_CALLS))

    (answer,) = OUTPUT_MESSAGES.validate_json(said["gen_ai.output.messages"])
    assert [part.type for part in answer.parts] == ["tool_call", "tool_call"]


def test_what_a_call_took_is_told_also_of_the_provider_s_cache(traces: Recorded) -> None:
    said = told(traces, CONVERSATION, ProviderReply(text="No."))

    assert {name: value for name, value in said.items() if name.startswith(("gen_ai.usage", "regrow.cost"))} == {
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 20,
        "regrow.cost_usd": 0.5,
    }


def test_nothing_that_was_written_is_told_unless_content_is_switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with recording(monkeypatch) as traces:
        said = told(traces, CONVERSATION, ProviderReply(text="Nobody knows.", tool_calls=CALLS))

    assert not [name for name in said if name.endswith(("messages", "instructions"))]
    assert not any(word in json.dumps(said) for word in ("Oslo", "brief", "Nobody", "celsius"))
