"""Whether the Redis behind a URL can be used, told before anything depends on it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from regrow.cluster.errors import ConfigError, RedisUnavailable
from regrow.cluster.redis_cluster_check import check_state, check_writable, cluster_at, masters
from regrow.cluster.redis_process import VERSION_ADVISED, VERSION_FLOOR, Version, parse_version, told

CHECK_TIMEOUT_S = 5.0
"""For the whole check, however many addresses the name has."""

KEPT_MS = 10_000
"""How long the key of a check whose end was cut off stays."""

_SCHEMES = ("redis", "rediss", "unix")

_log = structlog.get_logger("regrow.cluster.redis_check")


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What a usable Redis says about itself; `shown_url` has no password."""

    shown_url: str
    server: str
    version: Version

    @property
    def dated(self) -> bool:
        """True below the version that is advised; it works all the same."""
        return self.version < VERSION_ADVISED


async def _check_writable(client: Redis) -> None:
    """Writes and removes one key: better a refusal now than one in the middle of the work."""
    key = f"regrow:check:{uuid.uuid4().hex}"
    await client.set(key, "", px=KEPT_MS)
    await client.delete(key)


async def check_redis(url: str, *, cluster: bool = False, timeout_s: float = CHECK_TIMEOUT_S) -> RedisFacts:
    """Connects, signs in, reads the version and writes a key; logs a warning for a dated one.

    Of a `cluster` each master is asked, and whether all slots are served. Raises ConfigError for text that is no Redis
    URL, and RedisUnavailable when it can not be reached, refuses the password or a write, is no Redis, is a cluster
    where none is expected or the other way round, or is older than 6.2. No text contains the password.
    """
    shown = shown_url(url)
    try:
        # Protocol 2, since servers too old for us do not know protocol 3, and would not get to tell their version.
        client = Redis.from_url(
            url, socket_connect_timeout=timeout_s, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0), protocol=2
        )
    except ValueError:
        raise _no_url(shown) from None
    try:
        async with asyncio.timeout(timeout_s), client:
            told_by_server = await client.info("server")
            facts = _checked(_facts(shown, told_by_server))
            mode = str(told_by_server.get("redis_mode", ""))
            if cluster:
                await check_state(client, shown, mode=mode)
                facts = await _check_masters(url, shown, timeout_s=timeout_s)
            elif mode == "cluster":
                raise RedisUnavailable(
                    f"Redis at {shown} is a node of a Redis Cluster; set redis.cluster = true, or correct redis.url"
                )
            else:
                await _check_writable(client)
    except (RedisError, OSError, TimeoutError, ValueError) as error:
        cause = error.__cause__  # over a unix socket redis-py says of a refusal that the connection failed
        told_of = cause if isinstance(cause, AuthenticationError | ResponseError) else error
        raise RedisUnavailable(_reason(shown, told_of, timeout_s)) from error
    if facts.dated:
        _log.warning("redis_dated", url=shown, version=told(facts.version), advised=told(VERSION_ADVISED))
    return facts


async def _check_masters(url: str, shown: str, *, timeout_s: float) -> RedisFacts:
    """What is to be said of a whole cluster: its oldest version counts."""
    async with cluster_at(url, timeout_s=timeout_s) as client:
        found = await masters(client, "server")
        each = [_checked(_facts(f"{shown}, master {master.address},", master.told)) for master in found]
        await check_writable(client, kept_ms=KEPT_MS)
    oldest = min(each, key=lambda facts: facts.version)
    return RedisFacts(f"{shown} (a cluster of {len(each)} masters)", oldest.server, oldest.version)


def _checked(facts: RedisFacts) -> RedisFacts:
    if facts.version < VERSION_FLOOR:
        raise RedisUnavailable(
            f"{facts.shown_url} runs {facts.server} {told(facts.version)}, and Regrow needs {told(VERSION_FLOOR)} or "
            "newer; upgrade it, or leave redis.url out to use the embedded one"
        )
    return facts


def shown_url(url: str) -> str:
    """The URL without user, password and query, for texts and logs. Raises ConfigError when it is none."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        raise _no_url("the given text") from None
    if parts.scheme not in _SCHEMES or not (parts.hostname or parts.path):
        raise _no_url(f"{parts.scheme}://…" if "://" in url else "the given text")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _no_url(shown: str) -> ConfigError:
    # The text itself is not shown: a URL that can not be read may hold a password anywhere.
    return ConfigError(
        f"redis.url is no Redis URL ({shown}); write redis://[:password@]host:port/0, rediss://… or unix://…",
        source="redis.url",
        key="redis.url",
    )


def _facts(shown: str, told_by_server: Mapping[str, object]) -> RedisFacts:
    # Valkey keeps telling the Redis version that it is compatible with; that is the one our scripts need.
    version = parse_version(str(told_by_server.get("redis_version", "")))
    if version is None:
        raise RedisUnavailable(f"what answers at {shown} tells no Redis version; give the URL of a Redis or Valkey")
    return RedisFacts(shown, str(told_by_server.get("server_name", "redis")), version)


def _reason(shown: str, error: Exception, timeout_s: float) -> str:
    """One sentence on what is wrong and what to do."""
    match error:
        # redis-py derives these from ConnectionError, so they come first.
        case AuthenticationError() | AuthorizationError():
            return f"Redis at {shown} refuses the password ({error}); put the right one into redis.url"
        case NoPermissionError():
            return (
                f"the user of redis.url may not do what Regrow does at {shown} ({error}); give it the rights for that"
            )
        case BusyLoadingError():
            return f"Redis at {shown} is still loading its data; try again when it has finished"
        case OutOfMemoryError():
            return f"Redis at {shown} is full ({error}); raise its maxmemory, or remove data"
        case ReadOnlyError():
            return f"Redis at {shown} takes no writes ({error}): it is a replica; name its primary in redis.url"
        case RedisClusterException() | ClusterError():
            return f"the Redis Cluster at {shown} does not serve ({error}); see: redis-cli --cluster check"
        case TimeoutError() | RedisTimeoutError():
            return f"Redis at {shown} did not answer within {timeout_s:g} s; check the address and the network"
        case RedisConnectionError() | OSError():
            return f"Redis at {shown} can not be reached ({error}); start it, or correct redis.url"
        case ResponseError():
            return f"Redis at {shown} refuses ({error}); correct redis.url, or what that Redis allows"
        case _:
            return f"what answers at {shown} does not speak Redis ({error}); correct redis.url"
