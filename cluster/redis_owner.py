"""The Redis of one app: the one that the config names, or an embedded one, started on first use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from regrow.cluster.config import Settings
from regrow.cluster.errors import ConfigError, PortInUse, RedisUnavailable

if TYPE_CHECKING:
    from regrow.cluster.redis_server import RedisServer

log = structlog.get_logger("regrow.redis_owner")


class RedisOwner:
    """Gives the URL of a Redis that works, and ends what it started."""

    def __init__(self, app: str, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._url: asyncio.Task[str] | None = None
        self._server: RedisServer | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def url(self) -> str:
        """The URL; empty where the config keeps memory in the process. Raises RedisUnavailable, ConfigError."""
        return "" if self._settings.memory.store == "memory" else await self.server()

    async def server(self) -> str:
        """The URL, also where memories are kept elsewhere. Raises RedisUnavailable, ConfigError."""
        if self._url is None or (self._url.done() and self._url.exception() is not None):
            self._url = asyncio.get_running_loop().create_task(self._start())
        return await asyncio.shield(self._url)

    async def server_if_any(self) -> str:
        """The same for what can do without; empty, with a line in the log that says so, where there is none."""
        try:
            return await self.server()
        except (RedisUnavailable, PortInUse, ConfigError) as error:
            log.warning(
                "there is no Redis, so each host counts the calls of tools in its memory, and forgets them if it dies",
                reason=str(error),
            )
            return ""

    async def check(self) -> None:
        """Looks at once at a Redis that the config names, so that a wrong URL ends the start and not a later ask.

        Raises RedisUnavailable, ConfigError.
        """
        if self._settings.redis.url is not None:
            await self.url()

    async def stop(self) -> None:
        """Ends an embedded server; its data stays in the app's folder."""
        if self._url is not None and not self._url.done():
            self._url.cancel()
            await asyncio.wait([self._url])
        if self._server is not None:
            await self._server.stop()
        if self._keeper is not None:
            await asyncio.wait([self._keeper])

    @property
    def pid(self) -> int | None:
        """The process of the embedded server, while there is one."""
        return self._server.pid if self._server is not None else None

    async def _start(self) -> str:
        # Here, since an app without a memory needs no redis, whose import every host and command would pay for.
        from regrow.cluster.redis_check import check_redis
        from regrow.cluster.redis_server import RedisServer

        external = self._settings.redis.url
        if external is not None:
            url = external.get_secret_value()
            await check_redis(url, cluster=self._settings.redis.cluster)
            return url
        redis = self._settings.redis
        folder = self._settings.data_dir_of(self._app)
        self._server = RedisServer(folder, appendfsync=redis.appendfsync, port=redis.port)
        url = await self._server.start()
        self._keeper = asyncio.get_running_loop().create_task(self._server.keep())
        self._keeper.add_done_callback(_gave_up)
        return url


def _gave_up(keeping: asyncio.Task[None]) -> None:
    """Says at once that the server died too often to be started again; who needs it next gets the error."""
    if not keeping.cancelled() and (error := keeping.exception()) is not None:
        log.error("the embedded Redis is gone", reason=str(error))
