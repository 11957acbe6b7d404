"""A client that repeats by itself is found by what it sends over a real wire, and refused (decision 0039)."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic

import pytest
from httpx2 import ConnectError
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, InternalServerError

from regrow.router.errors import ProviderBroke
from regrow.router.hidden_retries import GRACE
from regrow.router.openai_provider import OpenAIProvider
from regrow.router.request import ModelRequest
from regrow.router.wire_attempts import WireWatch
from regrow.runtime.guard_errors import HiddenRetries, RunsUnreachable
from regrow.runtime.guards import Guards, Rung
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.run_store import WireCounts
from tests.router.chat_server import ChatServer
from tests.router.test_openai_provider import CARD, QUESTION

pytestmark = pytest.mark.slow  # making a client of the SDK alone takes 50 ms


@pytest.fixture
def closed_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Counting(MemoryRuns):
    """A store that knows how often it was told of what was sent."""

    told = 0

    async def sent(self, address: str, counts: WireCounts) -> WireCounts:
        self.told += 1
        return await super().sent(address, counts)


class Away(MemoryRuns):
    """A store that does not answer."""

    async def sent(self, address: str, counts: WireCounts) -> WireCounts:
        raise RunsUnreachable("away")


async def asked(provider: OpenAIProvider, request: ModelRequest = QUESTION) -> type[Exception]:
    try:
        await provider.complete(request, CARD)
    except (ProviderBroke, HiddenRetries) as error:
        return type(error)
    raise AssertionError("the server refuses all")


async def test_the_client_of_a_provider_repeats_nothing(server: ChatServer) -> None:
    server.refuses(500)
    provider = OpenAIProvider(api_key="k", base_url=server.url)

    said = [await asked(provider) for _ in range(12)]
    await provider.aclose()

    assert said == [ProviderBroke] * 12
    assert len(server.sent) == 12


@pytest.mark.heavy  # the client pauses between what it repeats
async def test_a_client_that_repeats_in_hiding_is_refused_what_passes_the_budget(server: ChatServer) -> None:
    server.refuses(500, retry_after_ms="1")
    server.headers["retry-after-ms"] = "1"
    provider = OpenAIProvider(api_key="k", base_url=server.url)
    provider._client.max_retries = 2  # as one that is built without the word about it # pyright: ignore[reportPrivateUsage]

    said = [await asked(provider) for _ in range(6)]
    await provider.aclose()

    assert said[0] is ProviderBroke
    assert said[-1] is HiddenRetries
    assert len(server.sent) == 6 + GRACE


async def test_below_refuse_it_is_only_told(server: ChatServer) -> None:
    server.refuses(500)
    server.headers["retry-after-ms"] = "1"
    provider = OpenAIProvider(api_key="k", base_url=server.url, guards=Guards(top=Rung.WARN))
    provider._client.max_retries = 2  # pyright: ignore[reportPrivateUsage]

    said = [await asked(provider) for _ in range(4)]
    await provider.aclose()

    assert said == [ProviderBroke] * 4
    assert len(server.sent) == 12


async def test_any_client_of_an_sdk_is_watched_by_its_hooks_without_a_call_that_is_declared(server: ChatServer) -> None:
    server.refuses(500)
    server.headers["retry-after-ms"] = "1"
    watch = WireWatch(Guards(), monotonic)
    http = DefaultAsyncHttpxClient(event_hooks=watch.event_hooks)
    client = AsyncOpenAI(api_key="k", base_url=server.url, http_client=http, max_retries=9)

    with pytest.raises(HiddenRetries):
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
    await client.close()

    assert len(server.sent) == 1 + GRACE


async def test_a_next_life_of_the_process_has_what_is_left_of_the_budget_and_no_new_one(server: ChatServer) -> None:
    server.refuses(500)
    server.headers["retry-after-ms"] = "1"
    runs = Counting(monotonic)

    for _ in range(3):
        http = DefaultAsyncHttpxClient(event_hooks=WireWatch(Guards(), monotonic, runs).event_hooks)
        client = AsyncOpenAI(api_key="k", base_url=server.url, http_client=http, max_retries=9)
        with pytest.raises(HiddenRetries):
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
        await client.close()

    assert len(server.sent) == (1 + GRACE) + 1 + 1
    assert runs.told == GRACE + 3


async def test_where_the_store_is_away_a_process_goes_by_what_it_knows_itself(server: ChatServer) -> None:
    server.refuses(500)
    server.headers["retry-after-ms"] = "1"
    http = DefaultAsyncHttpxClient(event_hooks=WireWatch(Guards(), monotonic, Away(monotonic)).event_hooks)
    client = AsyncOpenAI(api_key="k", base_url=server.url, http_client=http, max_retries=9)

    with pytest.raises(HiddenRetries):
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
    await client.close()

    assert len(server.sent) == 1 + GRACE


async def test_declared_attempts_are_told_to_nobody(server: ChatServer) -> None:
    server.refuses(500)
    runs = Counting(monotonic)
    provider = OpenAIProvider(api_key="k", base_url=server.url, runs=runs)

    said = [await asked(provider) for _ in range(5)]
    await provider.aclose()

    assert (said, runs.told) == ([ProviderBroke] * 5, 0)


async def test_what_repeats_attempts_that_got_no_response_is_found_as_well(closed_port: int) -> None:
    client = DefaultAsyncHttpxClient(event_hooks=WireWatch(Guards(), monotonic).event_hooks)

    async def tried() -> type[Exception]:
        try:
            await client.post(f"http://127.0.0.1:{closed_port}/", json={"say": "hello"})
        except (ConnectError, HiddenRetries) as error:
            return type(error)
        raise AssertionError("nobody listens there")

    at_once = await asyncio.gather(*(tried() for _ in range(3 * GRACE)))
    one_by_one = [await tried() for _ in range(2 + GRACE)]
    await client.aclose()

    assert at_once == [ConnectError] * (3 * GRACE)
    assert one_by_one == [ConnectError] * (1 + GRACE) + [HiddenRetries]


async def test_a_guard_that_is_off_has_no_hooks(server: ChatServer) -> None:
    server.refuses(500)
    server.headers["retry-after-ms"] = "1"
    watch = WireWatch(Guards(retry_share=None), monotonic)
    hooks = watch.event_hooks
    client = AsyncOpenAI(
        api_key="k", base_url=server.url, http_client=DefaultAsyncHttpxClient(event_hooks=hooks), max_retries=9
    )

    with watch.call("here"), pytest.raises(InternalServerError):
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
    await client.close()

    assert hooks == {}
    assert len(server.sent) == 10
