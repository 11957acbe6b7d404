"""Durable agents on Ray and a Redis of the config: a cluster, and one that takes no writes for a while."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from regrow import ActorRef, AskTimeout, Running
from regrow.actors.durable_errors import NotStored
from regrow.cluster.config import RedisSettings, Settings
from regrow.cluster.control_client import EXIT_REFUSED, exit_code_of
from regrow.runtime.command_ids import new_command_id
from regrow.runtime.errors import MessageTooLarge
from tests.conformance.redis_servers import embedded_program, redis_7_program, started, started_cluster, url_of
from tests.integration.apps import ledger
from tests.integration.apps.ledger import Add, AddSlowly, Entry, Seen, Where
from tests.integration.killing import kill
from tests.integration.lives import lives
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.redis]

PATIENCE_S = 60.0
"""For one message, on a busy machine."""
SOON_S = 6.0
"""For an ask that is to hear why nothing is stored."""
KEEPS = ("appendonly yes", "appendfsync always")


@asynccontextmanager
async def started_on(root: Path, redis: RedisSettings) -> AsyncIterator[Running]:
    settings = Settings(data_dir=Path(tempfile.mkdtemp(prefix="data-redis-", dir=root)), redis=redis)
    async with ledger.again.start(engine="ray", settings=settings) as running:
        yield running


@pytest.mark.again  # the journal on a cluster has its own tests, the kill those on one server
async def test_a_durable_agent_on_a_redis_cluster_outlives_the_kill_of_its_host(
    local_ray: Path, root: Path, tmp_path: Path
) -> None:
    with started_cluster(redis_7_program(), tmp_path / "three", *KEEPS) as nodes:
        redis = RedisSettings(url=SecretStr(url_of(nodes[0])), cluster=True)
        async with started_on(root, redis) as running:
            book, command = running.ref("book"), new_command_id()
            assert await book.ask(Add(number=2)) == 2
            pid = await book.ask(Where())
            slow = AddSlowly(number=5, begun=str(tmp_path / "begun"), go=str(tmp_path / "go"))
            asking = asyncio.create_task(book.ask(slow, timeout_s=PATIENCE_S, command_id=command))
            await until((tmp_path / "begun").exists, "the turn has begun")

            await kill(running, "again/book")
            (tmp_path / "go").touch()

            assert await asking == 7
            assert await book.ask(Where()) != pid
            assert await book.ask(slow, command_id=command) == 7, "the record, not a third run"
            for number in range(20):
                await book.tell(Entry(number=number))
            assert await book.ask(Seen()) == tuple(range(20))


@pytest.mark.parametrize(
    ("refuse", "serve", "said"),
    [
        (
            lambda it: it.config_set("maxmemory", 1),
            lambda it: it.config_set("maxmemory", 0),
            r"is full \(OOM command .*\'\); raise its maxmemory",
        ),
        pytest.param(
            lambda it: it.replicaof("127.0.0.1", "9"),
            lambda it: it.replicaof("NO", "ONE"),
            r"takes no writes \(READONLY [^@]*\): .*primary",
            marks=pytest.mark.again,
        ),
    ],
    ids=["full", "replica"],
)
async def test_a_redis_that_takes_no_writes_for_a_while_ends_nobody_and_who_asks_hears_why(
    local_ray: Path,
    root: Path,
    tmp_path: Path,
    refuse: Callable[[Redis], object],
    serve: Callable[[Redis], object],
    said: str,
) -> None:
    socket = f"{tmp_path}/redis.sock"
    with (
        started(embedded_program(), tmp_path, "port 0", *KEEPS),
        Redis(unix_socket_path=socket) as admin,
    ):
        async with started_on(root, RedisSettings(url=SecretStr(f"unix://{socket}"))) as running:
            book = running.ref("book")
            assert await book.ask(Add(number=2)) == 2
            alive_before = await lives(running)
            slow = AddSlowly(number=5, begun=str(tmp_path / "begun"), go=str(tmp_path / "go"))
            in_turn = asyncio.create_task(book.ask(slow, timeout_s=PATIENCE_S))
            await until((tmp_path / "begun").exists, "the turn has begun")

            refuse(admin)
            (tmp_path / "go").touch()
            refused = await until(lambda: refusal_of(book, Add(number=100)), "who asks hears why")
            waiting = asyncio.create_task(book.ask(Add(number=3), timeout_s=PATIENCE_S))
            serve(admin)

            assert await in_turn == 7
            assert await waiting == 10
            assert await lives(running) == alive_before
            assert re.search(rf"again/book has not taken Add: unix://\S+ {said}", str(refused)), refused
            assert exit_code_of(refused) == EXIT_REFUSED


async def refusal_of(book: ActorRef, request: Add) -> NotStored | None:
    """Why it was not stored; nothing where a busy machine brings that word too late."""
    with suppress(AskTimeout):
        with pytest.raises(NotStored) as refused:
            await book.ask(request, timeout_s=SOON_S)
        return refused.value
    return None


async def test_a_message_over_its_limit_is_refused_to_a_sender_in_another_process(
    local_ray: Path, root: Path, tmp_path: Path
) -> None:
    async with started_on(root, RedisSettings()) as running:
        book = running.ref("book")
        large = AddSlowly(number=1, begun="b" * 300_000, go="")

        with pytest.raises(MessageTooLarge, match=r"AddSlowly takes 300,\d\d\d bytes, .* of up to 262,144"):
            await book.ask(large, timeout_s=PATIENCE_S)
        with pytest.raises(MessageTooLarge):
            await book.tell(large)

        assert await book.ask(Add(number=2)) == 2
