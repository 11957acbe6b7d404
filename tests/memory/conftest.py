"""What the memory tests share: one redis-server for all of them."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.memory.redis_server import RunningRedis, running_redis


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RunningRedis]:
    """One server for the session; each test takes an app name of its own."""
    with running_redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis
