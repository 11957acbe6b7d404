"""Whether a Redis Cluster can be used: it serves all slots, and each master is new enough and takes writes."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from regrow.cluster.errors import RedisUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT_TRIES: Final = 1_000
"""How many keys are tried until each master has one; with a hundred masters some hundred are needed."""


@dataclass(frozen=True, slots=True)
class Master:
    """One master of a cluster: where it is, and what it tells of itself."""

    address: str
    told: Mapping[str, Any]


@asynccontextmanager
async def cluster_at(url: str, *, timeout_s: float) -> AsyncIterator[RedisCluster]:
    """A client of the cluster for one look at it. Raises RedisError and OSError."""
    client = RedisCluster.from_url(
        url,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=True,
    )
    opened: Any = client
    try:
        await opened.initialize()
        yield client
    finally:
        await client.aclose()


async def masters(client: RedisCluster, section: str) -> list[Master]:
    """What each master tells in a section of INFO."""
    whole: Any = client
    nodes = sorted(whole.get_primaries(), key=lambda node: str(node.name))
    return [Master(node.name, await whole.info(section, target_nodes=node)) for node in nodes]


async def check_state(node: Any, shown: str, *, mode: str) -> None:
    """Raises RedisUnavailable where a node belongs to no cluster, or to one that does not serve."""
    if mode != "cluster":
        raise RedisUnavailable(
            f"Redis at {shown} is no node of a Redis Cluster (it runs {mode or 'in no known mode'}); take "
            "redis.cluster = true out, or correct redis.url"
        )
    found: Any = await node.execute_command("CLUSTER INFO")
    told = found if isinstance(found, dict) else _fields(found)
    if told.get("cluster_state") != "ok":
        raise RedisUnavailable(
            f"the Redis Cluster at {shown} does not serve (cluster_state {told.get('cluster_state')}, "
            f"{told.get('cluster_slots_ok')} of 16384 slots); see that each slot has a living master: "
            "redis-cli --cluster check"
        )


async def check_writable(client: RedisCluster, *, kept_ms: int) -> None:
    """Writes and removes a key on each master. Raises what the first says that refuses."""
    whole: Any = client
    left = {node.name for node in whole.get_primaries()}
    run = uuid.uuid4().hex
    for number in range(LIMIT_TRIES):
        key = f"regrow:check:{run}:{{{number}}}"
        name = whole.get_node_from_key(key).name
        if name in left:
            left.discard(name)
            await whole.set(key, "", px=kept_ms)
            await whole.delete(key)
        if not left:
            return


def _fields(found: object) -> dict[str, str]:
    text = found.decode() if isinstance(found, bytes) else str(found)
    return dict(line.split(":", 1) for line in text.split() if ":" in line)
