"""A Redis whose memory is full and has room again, over and over, while many batches are on their way to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import EnqueueVerdict
from regrow.runtime.journal_entries import Incoming, JournalLimits
from regrow.runtime.journal_errors import JournalFull
from tests.conformance.journals import Holder, Stand
from tests.conformance.redis_servers import embedded_program, redis_7_program, started, started_cluster, url_of

pytestmark = [pytest.mark.redis, pytest.mark.slow]

AGENTS = [ActorId(f"pool/{number}") for number in range(6)]
BATCHES = 20
EACH = 30
BODY = b"x" * 4_000  # so that a server reads a batch in several pieces, and does other things in between
LIMITS = JournalLimits(take_messages=BATCHES * EACH, take_bytes=BATCHES * EACH * len(BODY))


async def no_pause(ms: int) -> None:
    raise AssertionError("no test here waits for the store's clock")


@pytest.fixture(params=["6.2", "7", pytest.param("cluster", marks=pytest.mark.again)])
async def filling(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Stand, list[Redis]]]:
    """A journal and its servers, of this test's own."""
    folder = tmp_path_factory.mktemp("own")
    async with AsyncExitStack() as stack:
        if request.param == "cluster":
            urls = [url_of(node) for node in stack.enter_context(started_cluster(redis_7_program(), folder))]
        else:
            program = embedded_program() if request.param == "6.2" else redis_7_program()
            stack.enter_context(started(program, folder, "port 0"))
            urls = [f"unix://{folder}/redis.sock"]
        servers = [await stack.enter_async_context(Redis.from_url(url)) for url in urls]
        journal = RedisJournal.from_url(urls[0], app="desk", cluster=request.param == "cluster", limits=LIMITS)
        yield Stand(journal, no_pause), servers
        await journal.aclose()


async def sent(stand: Stand, holder: Holder, batch: list[Incoming]) -> int:
    """Sends a batch until it is stored; how often it was refused, each time with nothing of it stored."""
    before = await stand.journal.depth(holder.agent)
    for refused in range(100_000):
        try:
            answers = await stand.journal.enqueue(batch)
        except JournalFull:
            assert await stand.journal.depth(holder.agent) == before
        else:
            assert {answer.verdict for answer in answers} == {EnqueueVerdict.ACCEPTED}
            return refused
    raise AssertionError("the server was never seen with room")


async def test_a_batch_is_stored_whole_or_not_at_all_while_a_redis_fills_and_has_room_and_nothing_is_reordered(
    filling: tuple[Stand, list[Redis]],
) -> None:
    stand, servers = filling
    holders = [await stand.hold(agent) for agent in AGENTS]
    batches = {
        holder: [
            [
                Incoming(agent=holder.agent, command=await stand.command(), body=BODY, epoch=holder.epoch)
                for _ in range(EACH)
            ]
            for _ in range(BATCHES)
        ]
        for holder in holders
    }

    async def sends(holder: Holder) -> int:
        return sum([await sent(stand, holder, batch) for batch in batches[holder]])

    sending = asyncio.gather(*map(sends, holders))
    while not sending.done():
        for memory in (1, 0):
            await asyncio.gather(*(server.config_set("maxmemory", memory) for server in servers))

    assert sum(await sending) > BATCHES, "many batches met a full server"
    for holder in holders:
        assert await holder.pending() == [message.command for batch in batches[holder] for message in batch]
