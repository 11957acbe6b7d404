"""A completion in chunks, against a real HTTP server: its pieces, its cost, and what each way to break off says."""

from __future__ import annotations

import asyncio

import pytest

from regrow.router.catalog import ModelCard
from regrow.router.conversation import ToolCall
from regrow.router.errors import (
    BadAnswer,
    ProviderBroke,
    ProviderFailed,
    ProviderTimedOut,
    ProviderUnreachable,
    RateLimited,
)
from regrow.router.openai_provider import OpenAIProvider
from regrow.router.openai_stream import LIMIT_TEXT_CHARS, Written, outside
from regrow.router.openai_tools import calls_in
from regrow.router.provider import ProviderReply
from regrow.router.request import FinishReason, ModelRequest, Passage, Tier, Usage, Work
from regrow.runtime.testing import pass_time, virtual
from tests.router.chat_server import ChatServer

CARD = ModelCard(name="tiny", provider="openai", tier=Tier.LARGE)
QUESTION = ModelRequest(
    work=Work.SYNTHESIZE,
    prompt="How large is it?",
    context=(Passage(text="The mailbox holds a thousand messages.", source="box.md"),),
    max_output_tokens=50,
)
USAGE = {"prompt_tokens": 90, "completion_tokens": 9}
SHORT_S = 0.2


async def streamed(
    server: ChatServer, pieces: list[str], request: ModelRequest = QUESTION, *, timeout_s: float = 5.0
) -> ProviderReply:
    async def emit(piece: str) -> None:
        pieces.append(piece)

    provider = OpenAIProvider(api_key="sk-test", base_url=server.url, timeout_s=timeout_s)
    try:
        return await provider.stream(request, CARD, emit)
    finally:
        await provider.aclose()


@pytest.mark.slow
async def test_pieces_come_as_they_are_written_and_the_counted_usage_behind_them(server: ChatServer) -> None:
    server.writes("A ", "thousand ", "messages", " [1].", usage=USAGE)
    pieces: list[str] = []

    reply = await streamed(server, pieces)

    assert pieces == ["A", " thousand", " messages", " [1]."]
    assert (reply.text, reply.sources) == ("A thousand messages [1].", ("box.md",))
    assert reply.usage == Usage(input_tokens=90, output_tokens=9)
    (sent,) = server.sent
    assert sent.body["stream"] is True
    assert sent.body["stream_options"] == {"include_usage": True}


@pytest.mark.slow
async def test_a_server_that_counts_nothing_leaves_the_usage_unknown(server: ChatServer) -> None:
    server.writes("So.", finish="length")

    reply = await streamed(server, [])

    assert (reply.usage, reply.finish) == (None, FinishReason.LENGTH)


@pytest.mark.slow
async def test_a_server_that_does_not_stream_is_read_whole(server: ChatServer) -> None:
    server.says("A thousand messages [1].", usage=USAGE)
    pieces: list[str] = []

    reply = await streamed(server, pieces)

    assert pieces == [reply.text] == ["A thousand messages [1]."]
    assert (reply.sources, reply.usage) == (("box.md",), Usage(input_tokens=90, output_tokens=9))


@pytest.mark.slow
async def test_a_whole_answer_that_is_no_completion_is_a_failure(server: ChatServer) -> None:
    server.body = b'{"choices": []}'

    with pytest.raises(BadAnswer, match="choices"):
        await streamed(server, [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("<thi", "nk>well", "</think>", "\n\n ", "Yes", ".", " \n"), "Yes."),
        (("<think>never ends",), "<think>never ends"),
        (("\n", "  <b>", "bold"), "<b>bold"),
        (("", " "), ""),
    ],
)
async def test_the_pieces_together_are_the_text_without_thoughts_and_outer_space(
    server: ChatServer, pieces: tuple[str, ...], text: str
) -> None:
    server.writes(*pieces)
    shown: list[str] = []

    reply = await streamed(server, shown)

    assert ("".join(shown), reply.text) == (text, text)


@pytest.mark.slow
async def test_a_label_is_told_once_at_the_end(server: ChatServer) -> None:
    server.writes("bu", "g", ".")
    pieces: list[str] = []

    reply = await streamed(server, pieces, ModelRequest(work=Work.CLASSIFY, prompt="?", labels=("bug", "idea")))

    assert (pieces, reply.text) == (["bug"], "bug")


@pytest.mark.slow
async def test_a_refusal_comes_as_filtered(server: ChatServer) -> None:
    server.writes(refusal="I would rather not")
    pieces: list[str] = []

    reply = await streamed(server, pieces)

    assert (pieces, reply.finish) == (["I would rather not"], FinishReason.FILTERED)


async def failure(server: ChatServer, kind: type[ProviderFailed], *, shown: list[str]) -> ProviderFailed:
    with pytest.raises(kind) as caught:
        await streamed(server, shown)
    assert type(caught.value) is kind
    return caught.value


@pytest.mark.slow
async def test_an_error_in_the_midst_of_a_stream_is_a_failure_that_may_have_cost(server: ChatServer) -> None:
    server.writes("A ", "thou", finish=None)
    server.breaks("the model ran out of memory")
    pieces: list[str] = []

    failed = await failure(server, ProviderBroke, shown=pieces)

    assert pieces == ["A", " thou"]
    assert failed.may_have_cost
    assert "the model ran out of memory" in str(failed)


@pytest.mark.slow
async def test_a_line_that_is_cut_is_a_failure_that_may_have_cost(server: ChatServer) -> None:
    server.writes("A ", "thou", finish=None)
    server.breaks_off = True
    pieces: list[str] = []

    failed = await failure(server, ProviderUnreachable, shown=pieces)

    assert failed.may_have_cost


@pytest.mark.slow
async def test_a_stream_that_ends_too_early_is_no_answer(server: ChatServer) -> None:
    server.writes("A ", "thou", finish=None)

    failed = await failure(server, BadAnswer, shown=[])

    assert failed.may_have_cost
    assert "not whole" in str(failed)


@pytest.mark.slow
async def test_chunks_that_are_none_are_no_answer(server: ChatServer) -> None:
    server.chunks = [b"data: {broken\n\n"]

    assert (await failure(server, BadAnswer, shown=[])).may_have_cost


@pytest.mark.slow
async def test_an_error_status_before_the_stream_says_what_it_always_says(server: ChatServer) -> None:
    server.refuses(429, "slow down", retry_after="2")

    failed = await failure(server, RateLimited, shown=[])

    assert not failed.may_have_cost


@pytest.mark.slow
async def test_a_server_that_stops_writing_is_too_slow(server: ChatServer) -> None:
    server.writes("one ", finish=None)
    server.hangs = True

    with pytest.raises(ProviderTimedOut):
        await streamed(server, [], timeout_s=SHORT_S)


async def _read_slowly(*, provider_s: float) -> None:
    async with asyncio.timeout(1.0) as limit:
        await outside(limit, pass_time(60.0))
        await pass_time(provider_s)


@virtual
async def test_the_time_of_a_slow_reader_is_not_the_providers() -> None:
    await _read_slowly(provider_s=0.9)

    with pytest.raises(TimeoutError):
        await _read_slowly(provider_s=1.5)


@pytest.mark.slow
async def test_a_reader_that_goes_ends_the_connection(server: ChatServer) -> None:
    server.writes("one ", "two", finish=None)
    server.hangs = True
    begun = asyncio.Event()

    async def emit(piece: str) -> None:
        begun.set()

    provider = OpenAIProvider(api_key="sk-test", base_url=server.url)
    task = asyncio.create_task(provider.stream(QUESTION, CARD, emit))
    await asyncio.wait_for(begun.wait(), 30.0)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await provider.aclose()
    await asyncio.wait_for(server.hung_up(), 30.0)


def test_a_text_without_end_is_cut_off() -> None:
    written = Written()

    with pytest.raises(ValueError, match="more than 4,000,000 signs"):
        written.add({"choices": [{"delta": {"content": "x" * (LIMIT_TEXT_CHARS + 1)}}]})


def chunk(**delta: object) -> dict[str, object]:
    return {"choices": [{"delta": delta, "finish_reason": None}]}


def part(index: int, arguments: str, id: str | None = None, name: str | None = None) -> dict[str, object]:
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}


def test_calls_that_come_in_pieces_are_put_together_by_their_index() -> None:
    written = Written()

    written.add(chunk(tool_calls=[part(1, "", "b", "read")]))
    written.add(chunk(tool_calls=[part(0, '{"query"', "a", "search"), part(1, '{"path": ')]))
    written.add(chunk(tool_calls=[part(0, ': "x"}', "a", "search")]))

    assert calls_in(written.calls) == (
        ToolCall(id="a", name="search", arguments='{"query": "x"}'),
        ToolCall(id="b", name="read", arguments='{"path": '),
    )


def test_calls_count_for_the_limit_and_more_than_there_may_be_are_none() -> None:
    written = Written()
    with pytest.raises(ValueError, match="less than 128"):
        written.add(chunk(tool_calls=[part(128, "")]))

    with pytest.raises(ValueError, match="a text of more than 4,000,000 signs"):
        written.add(chunk(tool_calls=[part(0, "x" * (LIMIT_TEXT_CHARS + 1))]))
