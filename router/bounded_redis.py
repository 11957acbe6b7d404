"""A client of Redis that retries nothing and opens a bounded number of connections: to a server, or to a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

CONNECT_TIMEOUT_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 5.0
"""A script here runs in well under a millisecond; a server that takes longer is in trouble."""


def client_at(url: str, *, cluster: bool, connections: int) -> Redis | RedisCluster:
    """Of the server of that URL (redis://, rediss:// or unix://) or of its cluster; connects on first use."""
    shared: dict[str, Any] = {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
    }
    if cluster:
        return RedisCluster.from_url(url, max_connections=connections, **shared)
    pool = BlockingConnectionPool.from_url(
        url, retry_on_error=[], max_connections=connections, timeout=ANSWER_TIMEOUT_S, **shared
    )
    return Redis.from_pool(pool)


class BoundedRedis:
    """A client, and the places that it has for calls. Closes the client."""

    def __init__(self, client: Redis | RedisCluster, *, connections: int) -> None:
        """`client` should not retry: only one layer does, and it is not this one. `client_at` makes such a one."""
        self.client: Any = client  # of the two, each command is declared with a type of its own
        self._is_cluster = isinstance(client, RedisCluster)
        self._places = asyncio.Semaphore(connections)
        self._first = asyncio.Lock()

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """For one call. The wait for it is the caller's, and says nothing about the server: of the clients, that of
        a cluster refuses when all connections of a node are in use, and the other one when it has waited for one."""
        async with self._places:
            if self._is_cluster:  # whose client is not to be initialised twice
                async with self._first:
                    await self.client.initialize()
            yield

    async def aclose(self) -> None:
        """Closes the client."""
        await self.client.aclose()
