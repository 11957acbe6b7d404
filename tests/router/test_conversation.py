"""Conversations with tools: how they travel, what they count for, and what a model without them makes of one."""

from __future__ import annotations

import json

import pytest

from regrow.router.catalog import extractive_card
from regrow.router.conversation import LIMIT_CALLS, Role, Said, ToolCall, ToolResult, ToolSchema
from regrow.router.extractive_provider import ExtractiveProvider
from regrow.router.openai_tools import SaidCall, SaidFunction, as_messages, as_tools, calls_in
from regrow.router.prompting import as_one_question, chat_messages, most_input_tokens
from regrow.router.request import ModelReply, ModelRequest, Passage, Tier, Usage, Work
from regrow.runtime.address import ActorId
from regrow.runtime.codec import FrameCodec
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.message import Message

CALL = ToolCall(id="1", name="search", arguments='{"query": "mailbox"}')
SAID = (
    Said(role=Role.ASSISTANT, text="I look.", tool_calls=(CALL,)),
    ToolResult(call_id="1", content="The mailbox holds a thousand messages. It is bounded."),
    ToolResult(call_id="2", content="no such tool", is_error=True),
    Said(role=Role.USER, text="How many messages does the mailbox hold?"),
)
SCHEMA = ToolSchema(name="search", description="Searches.", parameters='{"type":"object","properties":{"query":{}}}')
REQUEST = ModelRequest(work=Work.SYNTHESIZE, prompt="Look it up.", messages=SAID, tools=(SCHEMA,))


def there_and_back(message: Message, kind: Kind = Kind.ASK) -> object:
    codec = FrameCodec(lambda address: address, lambda: 0.0)  # type: ignore[arg-type, return-value]
    [row] = codec.decode(codec.encode([Envelope(kind, ActorId("a"), message, Origin())]))
    return row.message


def test_a_conversation_travels_with_each_message_as_what_it_is() -> None:
    reply = ModelReply(
        text="",
        tool_calls=(CALL,),
        tier=Tier.SMALL,
        model="m",
        provider="p",
        usage=Usage(input_tokens=1, output_tokens=1),
        cost_usd=None,
        latency_s=0.0,
    )

    assert there_and_back(REQUEST) == REQUEST
    assert there_and_back(reply, Kind.REPLY) == reply


def test_what_was_said_and_the_tools_count_for_what_is_reserved() -> None:
    bare = REQUEST.model_copy(update={"messages": (), "tools": ()})
    longer = REQUEST.model_copy(update={"messages": (*SAID, ToolResult(call_id="3", content="ä" * 1_000))})

    assert most_input_tokens(REQUEST) > most_input_tokens(bare) + 100
    assert most_input_tokens(longer) >= most_input_tokens(REQUEST) + 2_000


def test_a_conversation_alone_has_no_empty_question_before_it() -> None:
    roles = [message.role for message in chat_messages(REQUEST.model_copy(update={"prompt": ""}))]

    assert roles == ["system"]
    assert [message.role for message in chat_messages(REQUEST)] == ["system", "user"]


def test_calls_and_results_are_said_in_the_words_of_chat_completions() -> None:
    assert as_messages(SAID[:2]) == [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "search", "arguments": '{"query": "mailbox"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": SAID[1].content},
    ]
    assert as_tools([SCHEMA])[0]["function"]["parameters"] == json.loads(SCHEMA.parameters)


def test_calls_are_handed_on_as_they_were_written() -> None:
    said = [
        SaidCall(id="a", function=SaidFunction(name="search", arguments='{"query": ')),
        SaidCall(id=None, function=SaidFunction(name="no such tool", arguments=None)),
        SaidCall(id="", function=SaidFunction(name="search", arguments={"query": "x"})),
    ]

    assert calls_in(said) == (
        ToolCall(id="a", name="search", arguments='{"query": '),
        ToolCall(id="call_1", name="no such tool", arguments=""),
        ToolCall(id="call_2", name="search", arguments='{"query": "x"}'),
    )


def test_more_calls_than_a_reply_may_have_are_told() -> None:
    with pytest.raises(ValueError, match="129 calls of tools at once, and the limit is 128"):
        calls_in([SaidCall(function=SaidFunction(name="search"))] * (LIMIT_CALLS + 1))


def test_for_a_model_that_keeps_up_no_conversation_results_are_passages_behind_the_others() -> None:
    asked = as_one_question(REQUEST.model_copy(update={"context": (Passage(text="first"),)}))

    assert asked.prompt == "How many messages does the mailbox hold?"
    assert [passage.text for passage in asked.context] == ["first", SAID[1].content]
    assert (asked.messages, asked.tools) == ((), ())


async def test_the_extractive_model_quotes_what_tools_have_given() -> None:
    reply = await ExtractiveProvider().complete(REQUEST, extractive_card(Tier.SMALL))

    assert "The mailbox holds a thousand messages." in reply.text
    assert reply.tool_calls == ()
