"""Whether a Redis keeps what durable agents are told is kept, looked at before the first of them starts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from regrow.cluster.errors import ConfigError, RedisUnavailable
from regrow.cluster.redis_check import CHECK_TIMEOUT_S, shown_url
from regrow.cluster.redis_cluster_check import cluster_at, masters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regrow.cluster.config import RedisSettings

log = structlog.get_logger("regrow.journal")

_KEEPS_ALL = "noeviction"


def check_asked(redis: RedisSettings) -> None:
    """Raises ConfigError for settings of Redis that durable agents can not have."""
    if redis.url is None and redis.replicas:
        raise ConfigError(
            f"redis.replicas is {redis.replicas}, and the embedded Redis has none; name a Redis with replicas in "
            "redis.url, or leave redis.replicas out",
            source="redis.replicas",
            key="redis.replicas",
        )
    if redis.appendfsync == "everysec" and not redis.replicas:
        log.warning("up to a second of what durable agents acknowledged is lost when the power fails", why="everysec")


async def check_keeps(url: str, redis: RedisSettings, *, timeout_s: float = CHECK_TIMEOUT_S) -> None:
    """Asks a Redis of the config how it keeps its data. Raises RedisUnavailable where durable agents would lose theirs.

    What its maker does not let us see, as managed ones do not, is warned of.
    """
    shown = shown_url(url)
    try:
        async with asyncio.timeout(timeout_s):
            each = await (_of_masters if redis.cluster else _of_one)(url, shown, timeout_s)
    except (RedisError, OSError, TimeoutError) as error:
        raise RedisUnavailable(
            f"Redis at {shown} did not say how it keeps its data ({error}); durable agents need a Redis that does"
        ) from error
    for server, told in each.items():
        if trouble := unkept(told, fsync=redis.appendfsync, replicas=redis.replicas):
            raise RedisUnavailable(f"Redis at {server} {trouble}")
        if not told["appendfsync"] and not redis.replicas:
            log.warning("a Redis does not say whether it syncs to its disk before it answers", url=server)


async def _of_one(url: str, shown: str, timeout_s: float) -> dict[str, Mapping[str, object]]:
    client = Redis.from_url(
        url,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        decode_responses=True,
    )
    async with client:
        told = {**await client.info("persistence"), **await client.info("memory")}
        return {shown: {**told, "appendfsync": await _appendfsync(client)}}


async def _of_masters(url: str, shown: str, timeout_s: float) -> dict[str, Mapping[str, object]]:
    async with cluster_at(url, timeout_s=timeout_s) as client:
        kept, memory = await masters(client, "persistence"), await masters(client, "memory")
        told: dict[str, Mapping[str, object]] = {}
        for one, other in zip(kept, memory, strict=True):
            node = client.get_node(node_name=one.address)
            fsync = await _appendfsync(client, target_nodes=node)
            told[f"{shown}, master {one.address},"] = {**one.told, **other.told, "appendfsync": fsync}
        return told


def unkept(told: Mapping[str, object], *, fsync: Literal["always", "everysec"], replicas: int) -> str:
    """How a Redis that says this of itself would break a promise to durable agents, and the mend; else nothing."""
    policy = str(told.get("maxmemory_policy", _KEEPS_ALL))
    if policy != _KEEPS_ALL and int(str(told.get("maxmemory", 0))):
        return (
            f"may drop what durable agents keep when it is full (maxmemory-policy {policy}); "
            f"set maxmemory-policy {_KEEPS_ALL}"
        )
    if replicas:
        return ""  # what is acknowledged is in so many memories
    if not int(str(told.get("aof_enabled", 0))):
        return (
            "forgets at its end what it had acknowledged to durable agents (appendonly no); set appendonly yes and "
            "appendfsync always there, or have replicas and say how many in redis.replicas"
        )
    found = told.get("appendfsync")
    if found == "no" or (found == "everysec" and fsync == "always"):
        return (
            f"acknowledges before it has written to its disk (appendfsync {found}); set appendfsync always there, "
            'or accept the loss of a second with redis.appendfsync = "everysec", or say in redis.replicas how many '
            "replicas are to have it"
        )
    return ""


async def _appendfsync(client: Any, **where: Any) -> str:
    """Its appendfsync; empty where it does not tell."""
    try:
        told = await client.config_get("appendfsync", **where)
    except ResponseError:  # renamed away, or not for this user
        return ""
    return str(told.get("appendfsync") or "")
