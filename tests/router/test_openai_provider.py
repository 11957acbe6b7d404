"""The OpenAI adapter against a real HTTP server: what it sends, what it reads, and what each failure says."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import pytest

from regrow.router.catalog import ModelCard
from regrow.router.conversation import Role, Said, ToolCall, ToolResult, ToolSchema
from regrow.router.errors import (
    BadAnswer,
    KeyRejected,
    ProviderBroke,
    ProviderFailed,
    ProviderTimedOut,
    ProviderUnreachable,
    RateLimited,
    RequestRejected,
)
from regrow.router.openai_provider import LIMIT_DETAIL_CHARS, OpenAIProvider
from regrow.router.provider import ProviderReply
from regrow.router.request import FinishReason, ModelRequest, Passage, Quote, Tier, Usage, Work
from tests.router.chat_server import ChatServer

pytestmark = pytest.mark.slow  # making a client of the SDK alone takes 50 ms

CARD = ModelCard(name="tiny", provider="openai", tier=Tier.LARGE)
QUESTION = ModelRequest(
    work=Work.SYNTHESIZE,
    prompt="How large is it?",
    context=(Passage(text="The mailbox holds a thousand messages.", source="box.md"),),
    max_output_tokens=50,
)


async def asked(
    server: ChatServer, request: ModelRequest = QUESTION, *, key: str | None = "sk-test", timeout_s: float = 5.0
) -> ProviderReply:
    provider = OpenAIProvider(api_key=key, base_url=server.url, timeout_s=timeout_s)
    try:
        return await provider.complete(request, CARD)
    finally:
        await provider.aclose()


async def failure(server: ChatServer, kind: type[ProviderFailed], *, key: str | None = "sk-test") -> ProviderFailed:
    with pytest.raises(kind) as caught:
        await asked(server, key=key)
    assert type(caught.value) is kind
    assert (caught.value.provider, caught.value.model) == ("openai", "tiny")
    return caught.value


async def test_a_completion_is_asked_for_once_with_key_model_limit_and_fenced_data(server: ChatServer) -> None:
    server.says("A thousand.")

    await asked(server)

    (sent,) = server.sent
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == "Bearer sk-test"
    assert sent.body["model"] == "tiny"
    assert sent.body["max_tokens"] == 50
    assert [message["role"] for message in sent.body["messages"]] == ["system", "user"]
    assert '<passage number="1" source="box.md">' in sent.body["messages"][1]["content"]


async def test_text_usage_and_checked_quotes_are_read(server: ChatServer) -> None:
    usage = {"prompt_tokens": 90, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 64}}
    server.says('It "holds a thousand messages" [1].', usage=usage)

    reply = await asked(server)

    assert reply == ProviderReply(
        text='It "holds a thousand messages" [1].',
        quotes=(Quote(text="holds a thousand messages", source="box.md"),),
        sources=("box.md",),
        usage=Usage(input_tokens=90, output_tokens=9, cached_tokens=64),
    )


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": "many"}, {"prompt_tokens": -1, "completion_tokens": 2}])
async def test_an_answer_without_readable_usage_is_kept_and_its_usage_unknown(
    server: ChatServer, usage: object
) -> None:
    server.says("yes", usage=usage)

    reply = await asked(server)

    assert (reply.text, reply.usage) == ("yes", None)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", FinishReason.STOP), ("length", FinishReason.LENGTH), ("content_filter", FinishReason.FILTERED)],
)
async def test_the_reason_of_the_end_is_read(server: ChatServer, finish: str, reason: FinishReason) -> None:
    server.says("words", finish=finish)

    assert (await asked(server)).finish is reason


async def test_a_refusal_is_given_as_filtered_text(server: ChatServer) -> None:
    server.says(None, refusal="I can not help with that.")

    reply = await asked(server)

    assert (reply.text, reply.finish) == ("I can not help with that.", FinishReason.FILTERED)


async def test_thoughts_left_in_the_answer_are_taken_out(server: ChatServer) -> None:
    server.says("<think>\nhm\n</think>\n\nyes")

    assert (await asked(server)).text == "yes"


async def test_a_label_comes_back_as_it_was_given(server: ChatServer) -> None:
    server.says(" RED.")

    request = ModelRequest(work=Work.CLASSIFY, prompt="colour?", labels=("red", "blue"))
    assert (await asked(server, request)).text == "red"


async def test_without_a_key_a_local_server_is_asked_all_the_same(server: ChatServer) -> None:
    server.says("yes")

    assert (await asked(server, key=None)).text == "yes"


async def test_a_wrong_key_says_which_variable_to_set_and_not_the_key(server: ChatServer) -> None:
    server.refuses(401, "Incorrect API key provided")

    error = await failure(server, KeyRejected)

    assert "OPENAI_API_KEY" in str(error)
    assert "sk-test" not in str(error)
    assert not error.may_have_cost


async def test_a_missing_key_is_called_missing(server: ChatServer) -> None:
    server.refuses(401)

    assert "OPENAI_API_KEY is not set" in str(await failure(server, KeyRejected, key=None))


async def test_a_rate_limit_is_not_retried_and_hands_on_the_advised_wait(server: ChatServer) -> None:
    server.refuses(429, "slow down", retry_after="7")

    error = await failure(server, RateLimited)

    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7.0
    assert "wait 7 s" in str(error)
    assert not error.may_have_cost
    assert len(server.sent) == 1


async def test_an_empty_account_is_not_advised_to_wait(server: ChatServer) -> None:
    server.refuses(429, "quota", code="insufficient_quota")

    assert "top up the account" in str(await failure(server, RateLimited))


@pytest.mark.parametrize(("status", "may_have_cost"), [(500, False), (503, False), (502, True), (504, True)])
async def test_a_fault_of_the_provider_is_not_retried(server: ChatServer, status: int, may_have_cost: bool) -> None:
    server.refuses(status, "boom")

    error = await failure(server, ProviderBroke)

    assert f"HTTP {status}: " in str(error)
    assert error.may_have_cost is may_have_cost
    assert len(server.sent) == 1


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (404, None, "check the model's name and base_url"),
        (400, "context_length_exceeded", "fewer or shorter passages"),
        (422, None, "does not suit this model"),
    ],
)
async def test_a_rejected_request_says_what_to_change(
    server: ChatServer, status: int, code: str | None, advice: str
) -> None:
    server.refuses(status, "bad", code=code)

    assert advice in str(await failure(server, RequestRejected))


@pytest.mark.parametrize(
    "body", [b'{"choices": [', b"null", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"index": 0}]}', b"\xff\xfe"]
)
async def test_what_is_no_completion_is_a_bad_answer_that_may_have_cost(server: ChatServer, body: bytes) -> None:
    server.body = body

    error = await failure(server, BadAnswer)

    assert "base_url" in str(error)
    assert error.may_have_cost


async def test_a_long_error_text_is_shortened_to_one_line(server: ChatServer) -> None:
    server.refuses(500, "line\n" * 1_000)

    text = str(await failure(server, ProviderBroke))

    assert "\n" not in text
    assert len(text) < LIMIT_DETAIL_CHARS + 300


async def test_silence_ends_at_the_timeout_and_may_have_cost(server: ChatServer) -> None:
    server.silent = True

    with pytest.raises(ProviderTimedOut, match=r"within 0\.02 s") as caught:
        await asked(server, timeout_s=0.02)

    assert caught.value.may_have_cost


async def test_a_line_cut_after_the_request_may_have_cost(server: ChatServer) -> None:
    server.hangs_up = True

    error = await failure(server, ProviderUnreachable)

    assert error.may_have_cost
    assert len(server.sent) == 1


async def test_a_refused_connection_cost_nothing_and_names_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: a port that refuses
        nobody = ChatServer(port=taken.getsockname()[1])

        error = await failure(nobody, ProviderUnreachable)

    assert f"127.0.0.1:{nobody.port}" in str(error)
    assert "OPENAI_BASE_URL" in str(error)
    assert not error.may_have_cost


async def test_cancelling_a_call_ends_it(server: ChatServer) -> None:
    server.silent = True
    call = asyncio.create_task(asked(server))
    await server.arrived.wait()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


async def test_only_openai_itself_gets_the_newer_name_of_the_limit() -> None:
    for url, newer in (
        ("https://api.openai.com/v1", True),
        ("https://desk.openai.azure.com/openai/v1", True),
        ("http://api.openai.com.example.org/v1", False),
        ("http://127.0.0.1:8000/v1", False),
    ):
        provider = OpenAIProvider(api_key="k", base_url=url)
        assert ("max_completion_tokens" in provider.arguments(QUESTION, CARD)) is newer
        await provider.aclose()


def test_importing_the_room_loads_no_sdk_no_redis_and_no_prices() -> None:
    heavy = "('openai', 'redis', 'genai_prices', 'ray', 'numpy')"
    code = f"import sys, regrow.router; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


TOOL = ToolSchema(name="search", description="Searches.", parameters='{"type":"object","properties":{}}')


async def test_tools_and_what_was_said_are_sent_and_the_calls_of_a_model_are_read(server: ChatServer) -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "search", "arguments": '{"query": "x"}'}},
        {"id": "b", "type": "function", "function": {"name": "no_such_tool", "arguments": '{"query": '}},
    ]
    server.says(None, finish="tool_calls", tool_calls=calls)
    said = (
        Said(role=Role.ASSISTANT, tool_calls=(ToolCall(id="0", name="search", arguments="{}"),)),
        ToolResult(call_id="0", content="nothing"),
    )

    reply = await asked(server, QUESTION.model_copy(update={"tools": (TOOL,), "messages": said}))

    assert reply.finish is FinishReason.TOOL_CALLS
    assert reply.text == ""
    assert reply.tool_calls == (
        ToolCall(id="a", name="search", arguments='{"query": "x"}'),
        ToolCall(id="b", name="no_such_tool", arguments='{"query": '),
    )
    body = server.sent[0].body
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert body["messages"][3] == {"role": "tool", "tool_call_id": "0", "content": "nothing"}
    assert body["tools"][0]["function"]["name"] == "search"


async def test_calls_of_a_server_that_says_stop_are_calls_and_those_that_were_cut_off_are_marked(
    server: ChatServer,
) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    request = QUESTION.model_copy(update={"tools": (TOOL,)})
    server.says(None, tool_calls=[call])
    assert (await asked(server, request)).finish is FinishReason.TOOL_CALLS

    server.says(None, finish="length", tool_calls=[call])
    assert (await asked(server, request)).finish is FinishReason.LENGTH


@pytest.mark.parametrize(
    "calls", [[{"id": "a"}], "search", [{"function": {"arguments": "{}"}}], [{"function": {"name": "x"}}] * 129]
)
async def test_calls_that_can_not_be_read_are_a_bad_answer(server: ChatServer, calls: object) -> None:
    server.says(None, finish="tool_calls", tool_calls=calls)

    await failure(server, BadAnswer)


async def test_without_tools_none_are_offered(server: ChatServer) -> None:
    server.says("A thousand.")

    await asked(server)

    assert "tools" not in server.sent[0].body
