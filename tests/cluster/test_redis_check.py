"""What is said about a Redis URL before anything depends on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from regrow.cluster.errors import ConfigError, RedisUnavailable
from regrow.cluster.redis_check import check_redis, shown_url
from regrow.cluster.redis_server import RedisServer


@asynccontextmanager
async def listener(answer: Callable[[bytes], bytes]) -> AsyncGenerator[str]:
    """Serves on a port of its own: `answer` is asked for each command, by its name."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A command comes as `*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n`.
        while (count := await reader.readline()).startswith(b"*"):
            words = [(await reader.readline(), await reader.readline())[1].strip() for _ in range(int(count[1:]))]
            writer.write(answer(words[0].upper()))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"redis://:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


def silence(command: bytes) -> bytes:
    return b""


def web_server(command: bytes) -> bytes:
    return b"HTTP/1.1 400 Bad Request\r\n\r\n"


def redis_of(*info: str) -> Callable[[bytes], bytes]:
    """Answers as a Redis that tells this about itself, and that is too old to know HELLO."""
    text = "\r\n".join(info).encode()

    def answer(command: bytes) -> bytes:
        if command == b"INFO":
            return b"$%d\r\n%s\r\n" % (len(text), text)
        return b"-ERR unknown command\r\n" if command == b"HELLO" else b"+OK\r\n"

    return answer


@pytest.mark.parametrize(
    "url",
    ["", "localhost:6379", "http://localhost:6379", "redis://", "redis://host:port/0", "redis://:secret@host:99999/0"],
)
async def test_text_that_is_no_redis_url_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError, match=r"redis\.url is no Redis URL .* write redis://") as caught:
        await check_redis(url)

    assert caught.value.key == "redis.url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@db.example:6380/2?ssl_cert_reqs=none", "redis://db.example:6380/2"),
        ("rediss://:secret@[::1]:6379", "rediss://[::1]:6379"),
        ("unix://:secret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
        ("redis://db.example", "redis://db.example"),
    ],
)
def test_a_shown_url_has_neither_user_nor_password_nor_options(url: str, shown: str) -> None:
    assert shown_url(url) == shown


async def test_a_port_where_nobody_listens_is_told() -> None:
    async with listener(silence) as url:
        pass

    with pytest.raises(RedisUnavailable, match=r"redis://127\.0\.0\.1:\d+/0 can not be reached .*; start it, or"):
        await check_redis(url)


async def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    async with listener(silence) as url:
        with pytest.raises(RedisUnavailable, match=r"did not answer within 0\.02 s"):
            await check_redis(url, timeout_s=0.02)


async def test_something_that_is_no_redis_is_told() -> None:
    async with listener(web_server) as url:
        with pytest.raises(RedisUnavailable, match=r"does not speak Redis .*; correct redis\.url"):
            await check_redis(url)


async def test_a_redis_below_the_floor_is_refused_with_its_version() -> None:
    async with listener(redis_of("redis_version:5.0.7")) as url:
        with pytest.raises(RedisUnavailable, match=r"runs redis 5\.0\.7, and Regrow needs 6\.2\.0 or newer"):
            await check_redis(url)


async def test_a_valkey_is_judged_by_the_redis_version_it_is_compatible_with() -> None:
    async with listener(redis_of("redis_version:7.2.4", "server_name:valkey", "valkey_version:9.0.0")) as url:
        facts = await check_redis(url)

    assert (facts.server, facts.version, facts.dated) == ("valkey", (7, 2, 4), False)


async def test_a_dated_redis_works_and_is_warned_about() -> None:
    async with listener(redis_of("redis_version:6.2.14")) as url:
        with capture_logs() as logs:
            facts = await check_redis(url)

    assert facts.dated
    assert [(line["event"], line["version"]) for line in logs] == [("redis_dated", "6.2.14")]
    assert "secret" not in str(logs)


@pytest.mark.redis
@pytest.mark.slow
@pytest.mark.parametrize("credentials", ["", ":wrong@", "nobody:wrong@"])
async def test_a_wrong_password_is_told_without_showing_it(tmp_path: Path, credentials: str) -> None:
    server = RedisServer(tmp_path)
    url = await server.start()
    try:
        assert (await check_redis(url)).server == "redis"
        with pytest.raises(RedisUnavailable, match="refuses the password") as caught:
            await check_redis(f"redis://{credentials}{url.split('@')[1]}")
    finally:
        await server.stop()

    assert "wrong" not in str(caught.value).replace("wrong number", "").split("(")[0]
