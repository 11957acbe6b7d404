"""The four stores of the journal's suite. Servers are shared; each test has an app of its own in them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime.journal_entries import JournalLimits
from regrow.runtime.memory_journal import MemoryJournal
from tests.conformance.journals import Stand
from tests.conformance.redis_servers import embedded_program, redis_7_program, started, started_cluster, url_of

NOW_MS = 1_764_000_000_000
EMBEDDED = pytest.param("embedded", marks=pytest.mark.redis, id="redis-6.2")
REDIS_7 = pytest.param("redis_7", marks=pytest.mark.redis, id="redis-7")
CLUSTER = pytest.param("cluster", marks=[pytest.mark.redis, pytest.mark.slow], id="cluster")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("six")
    with started(embedded_program(), folder, "port 0"):
        yield f"unix://{folder}/redis.sock"


@pytest.fixture(scope="session")
def redis_7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("seven")
    with started(redis_7_program(), folder, "port 0"):
        yield f"unix://{folder}/redis.sock"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started_cluster(redis_7_program(), tmp_path_factory.mktemp("three")) as nodes:
        yield url_of(nodes[0])


@pytest.fixture
def limits() -> JournalLimits:
    """A test that needs small bounds has a fixture of this name of its own."""
    return JournalLimits()


@pytest.fixture(params=["memory", EMBEDDED, REDIS_7, CLUSTER])
async def stand(request: pytest.FixtureRequest, limits: JournalLimits) -> AsyncIterator[Stand]:
    if request.param == "memory":
        clock = [NOW_MS]

        async def pass_time(ms: int) -> None:
            clock[0] += ms

        yield Stand(MemoryJournal(now_ms=lambda: clock[0], limits=limits), pass_time)
        return
    url: str = request.getfixturevalue(request.param)
    app = f"app-{uuid.uuid4().hex}"
    journal = RedisJournal.from_url(url, app=app, cluster=request.param == "cluster", limits=limits)

    async def wait(ms: int) -> None:
        async with Redis.from_url(url) as client:
            await client.wait(1, ms + 1)  # the server's own pause: it has no replica to wait for

    yield Stand(journal, wait)
    await journal.aclose()
