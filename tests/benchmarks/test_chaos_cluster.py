"""The Redis Cluster of a chaos run: its clients pass through the proxy, and what is done to it loses nothing."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from chaos_cluster import ChaosCluster
from chaos_proxy import Act, Side, Trap

from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime import ActorId
from regrow.runtime.command_ids import new_command_id
from regrow.runtime.journal_answers import EnqueueVerdict
from regrow.runtime.journal_entries import Incoming, partition_of
from regrow.runtime.journal_errors import JournalAway, JournalUnknown

pytestmark = [pytest.mark.slow, pytest.mark.redis]

CLERK = ActorId("desk/clerk")
SLOT_OF_CLERK = f"{{{partition_of(CLERK)}}}"
BACK_LIMIT_S = 60.0
"""A master that was started again serves only when the others have heard of it, seconds later on a busy machine."""

Answer = TypeVar("Answer")


@asynccontextmanager
async def clustered() -> AsyncIterator[tuple[ChaosCluster, RedisJournal]]:
    """A cluster, and a journal that finds it as an app does."""
    with tempfile.TemporaryDirectory(prefix="c-", dir="/tmp") as name:  # short, for the sockets
        cluster = ChaosCluster(Path(name))
        try:
            await cluster.start()
            assert cluster.settings.url is not None
            journal = RedisJournal.from_url(cluster.settings.url.get_secret_value(), app="desk", cluster=True)
            try:
                yield cluster, journal
            finally:
                await journal.aclose()
        finally:
            cluster.close()


async def until_answered(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Makes the same call again until the store answers, as a host does."""
    async with asyncio.timeout(BACK_LIMIT_S):
        while True:
            try:
                return await call()
            except (JournalAway, JournalUnknown):
                continue


def mail() -> Incoming:
    return Incoming(agent=CLERK, command=new_command_id(), body=b"body", epoch=None)


def cut_at_enqueue(side: Side) -> Trap:
    return Trap(script="enqueue", side=side, act=Act.CUT, agent=CLERK)


async def test_scripts_pass_through_the_proxy_also_behind_a_slot_that_has_moved_with_all_that_was_in_it() -> None:
    async with clustered() as (cluster, journal):
        dice, messages = random.Random(1), [mail() for _ in Side]
        await journal.enqueue(messages)

        for side in Side:
            await cluster.move(SLOT_OF_CLERK, dice)
            [again] = await until_answered(lambda: journal.enqueue(messages[:1]))
            assert again.verdict is EnqueueVerdict.PENDING
            sprung = cluster.proxy.arm(cut_at_enqueue(side))
            with pytest.raises(JournalUnknown):
                await journal.enqueue(messages[1:])
            assert sprung.result(0).pid == os.getpid()

        assert await until_answered(lambda: journal.depth(CLERK)) == len(messages)


async def test_a_master_that_was_killed_is_back_with_what_it_has_acknowledged() -> None:
    async with clustered() as (cluster, journal):
        await journal.enqueue([mail(), mail()])

        for server in cluster.servers:
            await server.kill()
            await server.start()

        assert await until_answered(lambda: journal.depth(CLERK)) == 2


async def test_a_late_script_is_said_to_the_master_that_has_its_slot_by_then() -> None:
    async with clustered() as (cluster, journal):
        message = mail()
        sprung = cluster.proxy.arm(cut_at_enqueue(Side.BEFORE))
        with pytest.raises(JournalUnknown):
            await journal.enqueue([message])
        await cluster.move(SLOT_OF_CLERK, random.Random(2))

        assert b"accepted" in cluster.send_late(sprung.result(0).call.raw)

        with cluster.client() as client:
            assert [key for key in client.scan_iter() if CLERK.encode() in key]
