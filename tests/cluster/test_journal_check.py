"""Whether a Redis keeps what durable agents are told is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from regrow.cluster.config import RedisSettings
from regrow.cluster.errors import ConfigError, RedisUnavailable
from regrow.cluster.journal_check import check_asked, check_keeps, unkept
from tests.conformance.redis_servers import redis_7_program, started

GOOD = {"aof_enabled": 1, "appendfsync": "always", "maxmemory": 0, "maxmemory_policy": "noeviction"}


@pytest.mark.parametrize(
    ("said", "fsync", "replicas", "trouble"),
    [
        ({}, "always", 0, ""),
        ({"aof_enabled": 0}, "always", 0, "set appendonly yes"),
        ({"aof_enabled": 0}, "everysec", 0, "set appendonly yes"),
        ({"aof_enabled": 0}, "always", 1, ""),
        ({"appendfsync": "everysec"}, "always", 0, "set appendfsync always"),
        ({"appendfsync": "everysec"}, "everysec", 0, ""),
        ({"appendfsync": "no"}, "everysec", 0, "set appendfsync always"),
        ({"appendfsync": ""}, "always", 0, ""),
        ({"maxmemory": 100, "maxmemory_policy": "allkeys-lru"}, "always", 1, "set maxmemory-policy noeviction"),
        ({"maxmemory": 0, "maxmemory_policy": "allkeys-lru"}, "always", 0, ""),
    ],
)
def test_a_redis_that_would_break_a_promise_is_told_with_the_mend(
    said: dict[str, object], fsync: Literal["always", "everysec"], replicas: int, trouble: str
) -> None:
    found = unkept({**GOOD, **said}, fsync=fsync, replicas=replicas)

    assert trouble in found and bool(trouble) == bool(found)


def test_replicas_of_the_embedded_redis_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"replicas is 1, and the embedded Redis has none"):
        check_asked(RedisSettings(replicas=1))
    check_asked(RedisSettings(replicas=1, url=SecretStr("redis://db:6379/0")))


def test_the_loss_of_a_second_that_was_accepted_is_told() -> None:
    with capture_logs() as logs:
        check_asked(RedisSettings(appendfsync="everysec"))

    assert "up to a second" in logs[0]["event"]


@pytest.mark.redis
@pytest.mark.slow
async def test_a_real_redis_is_asked_how_it_keeps_its_data(tmp_path: Path) -> None:
    redis = RedisSettings()
    url = f"unix://{tmp_path}/redis.sock"

    with started(redis_7_program(), tmp_path, "port 0"):
        with pytest.raises(RedisUnavailable, match=r"appendonly no.*set appendonly yes"):
            await check_keeps(url, redis)
        await check_keeps(url, RedisSettings(replicas=1))
    with started(redis_7_program(), tmp_path, "port 0", "appendonly yes"):
        with pytest.raises(RedisUnavailable, match=r"appendfsync everysec"):
            await check_keeps(url, redis)
    with started(redis_7_program(), tmp_path, "port 0", "appendonly yes", "appendfsync always"):
        await check_keeps(url, redis)


@pytest.mark.redis
@pytest.mark.slow
async def test_a_redis_that_does_not_say_all_is_warned_of(tmp_path: Path) -> None:
    with started(redis_7_program(), tmp_path, "port 0", "appendonly yes", 'rename-command CONFIG ""'):
        with capture_logs() as logs:
            await check_keeps(f"unix://{tmp_path}/redis.sock", RedisSettings())

    assert "does not say whether it syncs" in logs[-1]["event"]
