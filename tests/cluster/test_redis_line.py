"""Lines to a Redis: answers in order, servers that end or fall silent, and connections that are given back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from regrow.cluster import redis_line
from regrow.cluster.journal_scripts import framed
from regrow.cluster.redis_journal import LIMIT_CONNECTIONS, RedisJournal
from regrow.cluster.redis_line import RedisLine
from regrow.runtime.address import ActorId
from regrow.runtime.journal_errors import JournalUnknown
from tests.memory.redis_server import RunningRedis, running_redis

pytestmark = pytest.mark.redis

CLERK = ActorId("desk/clerk")
CUTS = 3 * LIMIT_CONNECTIONS
ONE = framed(b"INCR", b"n")
SILENT_S = 0.2


class Heard:
    """What came on a line, and how it ended."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.ends: list[BaseException] = []
        self.ended = asyncio.Event()
        self.more = asyncio.Event()

    def lost(self, error: BaseException) -> None:
        self.ends.append(error)
        self.ended.set()

    def pass_over(self, answer: Any) -> None:
        self.answers.append(answer)

    def answer(self, answer: Any) -> None:
        self.answers.append(answer)
        self.more.set()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    with running_redis(tmp_path_factory.mktemp("line")) as redis:
        yield redis


@pytest.fixture
async def open_line(server: RunningRedis) -> AsyncIterator[tuple[RedisLine, Heard, BlockingRedis]]:
    path = server.url.rpartition("@")[2]
    connection = UnixDomainSocketConnection(path=path, password=server.password, protocol=2)
    await connection.connect()
    heard = Heard()
    line = RedisLine(connection, lost=heard.lost)
    with BlockingRedis.from_url(server.url) as client:
        client.flushall()
        yield line, heard, client
    line.close()
    await connection.disconnect(nowait=True)


async def test_answers_come_in_the_order_of_what_was_sent_and_errors_among_them(
    open_line: tuple[RedisLine, Heard, BlockingRedis],
) -> None:
    line, heard, _ = open_line

    line.send(ONE + ONE, heard.pass_over, heard.pass_over)
    line.send(framed(b"NONSENSE"), heard.pass_over)
    line.send(ONE, heard.answer)
    await heard.more.wait()

    first, second, refused, third = heard.answers
    assert (first, second, third) == (1, 2, 3)
    assert isinstance(refused, ResponseError) and "NONSENSE" in str(refused)
    assert heard.ends == []


async def test_a_server_that_ends_a_line_is_told_once(open_line: tuple[RedisLine, Heard, BlockingRedis]) -> None:
    _, heard, client = open_line

    client.client_kill_filter(_type="normal", skipme=True)
    await heard.ended.wait()

    (error,) = heard.ends
    assert isinstance(error, RedisConnectionError)


async def test_a_server_that_says_nothing_though_it_was_asked_is_away(
    open_line: tuple[RedisLine, Heard, BlockingRedis], monkeypatch: pytest.MonkeyPatch
) -> None:
    line, heard, client = open_line
    monkeypatch.setattr(redis_line, "ANSWER_TIMEOUT_S", SILENT_S)

    line.send(framed(b"BLPOP", b"nothing", b"0"), heard.answer)
    await heard.ended.wait()

    (error,) = heard.ends
    assert isinstance(error, RedisTimeoutError)
    assert (heard.answers, client.get("n")) == ([], None)


async def test_an_answer_that_nobody_asked_for_ends_the_line(
    open_line: tuple[RedisLine, Heard, BlockingRedis],
) -> None:
    line, heard, client = open_line

    line.send(framed(b"SUBSCRIBE", b"news"), heard.answer)
    await heard.more.wait()
    client.publish("news", "today")
    await heard.ended.wait()

    (error,) = heard.ends
    assert isinstance(error, RedisError)


async def test_a_journal_that_is_cut_again_and_again_gives_its_connections_back(server: RunningRedis) -> None:
    journal = RedisJournal.from_url(server.url, app=f"app-{uuid.uuid4().hex}")
    with BlockingRedis.from_url(server.url) as client:
        for _ in range(CUTS):
            await journal.read(CLERK)
            client.client_kill_filter(_type="normal", skipme=True)
            assert (await _read_again(journal)).version == 0
        assert len(client.client_list()) <= 1 + LIMIT_CONNECTIONS
    await journal.aclose()


async def _read_again(journal: RedisJournal) -> Any:
    while True:
        try:
            return await journal.read(CLERK)
        except JournalUnknown:
            continue  # it had left before the cut was seen


async def test_scripts_that_a_server_has_dropped_are_brought_again(server: RunningRedis) -> None:
    journal = RedisJournal.from_url(server.url, app=f"app-{uuid.uuid4().hex}")
    with BlockingRedis.from_url(server.url) as client:
        await journal.read(CLERK)
        client.script_flush()

        rows = await asyncio.gather(*(journal.read(ActorId(f"desk/{number}")) for number in range(20)))

    assert [row.version for row in rows] == [0] * 20
    await journal.aclose()


async def test_who_closes_waits_for_what_is_under_way(server: RunningRedis) -> None:
    journal = RedisJournal.from_url(server.url, app=f"app-{uuid.uuid4().hex}")
    await journal.read(CLERK)

    reading = asyncio.create_task(_read_again(journal))
    await asyncio.sleep(0)
    await journal.aclose()

    assert (await reading).version == 0
