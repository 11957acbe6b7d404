"""What every Provider keeps: the scripted twin, the extractive model, and the OpenAI adapter over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from regrow.router.catalog import ModelCard, extractive_card
from regrow.router.errors import ProviderFailed, RateLimited
from regrow.router.extractive_provider import LIMIT_INPUT_CHARS, ExtractiveProvider
from regrow.router.openai_provider import OpenAIProvider
from regrow.router.provider import Provider, ScriptedProvider
from regrow.router.request import FinishReason, ModelRequest, Passage, Tier, Work
from regrow.runtime.errors import Closed, Refused
from tests.router.chat_server import ChatServer, chat_server

ANSWER = "The mailbox of each actor is bounded."
CARD = ModelCard(name="m", provider="p", tier=Tier.LARGE)
QUESTION = ModelRequest(
    work=Work.SYNTHESIZE,
    prompt="What is bounded in each actor?",
    context=(Passage(text=f"{ANSWER} Weather is not.", source="box.md"),),
)


KINDS = ("scripted", "extractive", pytest.param("openai", marks=pytest.mark.slow))


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChatServer]:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with chat_server() as chat:
        yield chat


@pytest.fixture(params=KINDS)
async def provider(request: pytest.FixtureRequest, server: ChatServer) -> AsyncIterator[Provider]:
    """A provider that will answer QUESTION with ANSWER, as often as it is asked."""
    server.says(ANSWER)
    made = of_kind(request.param, ScriptedProvider([ANSWER], repeat_last=True), server)
    yield made
    await made.aclose()


@pytest.fixture(params=KINDS)
async def failing(request: pytest.FixtureRequest, server: ChatServer) -> AsyncIterator[Provider]:
    """A provider that will refuse a request which is too long."""
    server.refuses(400)
    made = of_kind(request.param, ScriptedProvider([RateLimited("no")]), server)
    yield made
    await made.aclose()


def of_kind(kind: str, scripted: ScriptedProvider, server: ChatServer) -> Provider:
    if kind == "scripted":
        return scripted
    return ExtractiveProvider() if kind == "extractive" else OpenAIProvider(api_key="k", base_url=server.url)


async def _nowhere(piece: str) -> None:
    pass


async def test_a_completion_has_text_and_an_honest_end(provider: Provider) -> None:
    reply = await provider.complete(QUESTION, CARD)

    assert reply.text == ANSWER
    assert reply.finish is FinishReason.STOP


async def test_streamed_the_pieces_together_are_the_text_of_the_same_reply(
    provider: Provider, server: ChatServer
) -> None:
    server.writes(*ANSWER.partition(" "))
    pieces: list[str] = []

    async def emit(piece: str) -> None:
        pieces.append(piece)

    reply = await provider.stream(QUESTION, CARD, emit)

    assert "".join(pieces) == reply.text == ANSWER
    assert (reply.finish, set(reply.sources) <= {"box.md"}) == (FinishReason.STOP, True)


async def test_usage_is_counted_estimated_and_said_so_or_unknown(provider: Provider) -> None:
    usage = (await provider.complete(QUESTION, CARD)).usage

    assert usage is None or usage.estimated
    assert usage is None or usage.output_tokens > 0


async def test_quotes_stand_in_the_passages(provider: Provider) -> None:
    reply = await provider.complete(QUESTION, CARD)

    assert all(quote.text in QUESTION.context[0].text for quote in reply.quotes)
    assert set(reply.sources) <= {"box.md"}


async def test_calls_at_once_each_get_their_reply(provider: Provider) -> None:
    replies = await asyncio.gather(*(provider.complete(QUESTION, CARD) for _ in range(8)))

    assert [reply.text for reply in replies] == [ANSWER] * 8


async def test_a_closed_provider_says_so_and_may_be_closed_again(provider: Provider) -> None:
    await provider.aclose()
    await provider.aclose()

    with pytest.raises(Closed):
        await provider.complete(QUESTION, CARD)
    with pytest.raises(Closed):
        await provider.stream(QUESTION, CARD, _nowhere)


async def test_a_failure_is_of_the_family_and_refuses(failing: Provider) -> None:
    too_much = ModelRequest(work=Work.SUMMARIZE, prompt="x" * (LIMIT_INPUT_CHARS + 1))

    with pytest.raises(ProviderFailed) as caught:
        await failing.complete(too_much, extractive_card(Tier.SMALL))

    assert isinstance(caught.value, Refused)
    assert str(caught.value)


async def test_a_failure_of_a_stream_is_of_the_family_too(failing: Provider) -> None:
    too_much = ModelRequest(work=Work.SUMMARIZE, prompt="x" * (LIMIT_INPUT_CHARS + 1))

    async def emit(piece: str) -> None:
        raise AssertionError(f"{piece!r} of an answer that there is not")

    with pytest.raises(ProviderFailed):
        await failing.stream(too_much, extractive_card(Tier.SMALL), emit)


async def test_a_used_up_script_says_which_request_was_too_many() -> None:
    provider = ScriptedProvider(["one"])
    await provider.complete(QUESTION, CARD)

    with pytest.raises(ProviderFailed, match="request 2"):
        await provider.complete(QUESTION, CARD)


async def test_a_script_may_answer_by_the_request() -> None:
    provider = ScriptedProvider([lambda request: request.prompt.upper()])

    reply = await provider.complete(ModelRequest(work=Work.GENERATE, prompt="loud"), CARD)

    assert reply.text == "LOUD"
    assert provider.requests[0].prompt == "loud"
