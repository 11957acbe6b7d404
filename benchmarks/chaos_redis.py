"""The Redis of a chaos run: servers of its own, which are killed, stopped and filled, and keep what they have said.

Here is one server alone; `chaos_cluster` has several that form a Redis Cluster.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Protocol

from chaos_late import sent_late
from chaos_proxy import RedisProxy
from pydantic import SecretStr
from redis import Redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisError

from regrow.cluster.config import RedisSettings
from regrow.cluster.redis_journal import RedisJournal
from regrow.cluster.redis_process import find_redis, told

START_LIMIT_S = 30.0
END_LIMIT_S = 10.0
LOOK_S = 0.02
FULL_BYTES = 1
"""A `maxmemory` below what any server uses, so that it refuses every write that needs memory."""
ALONE = ("port 0",)


class ChaosServer:
    """A redis-server in a folder, with everything on disk before it answers. `settings` are lines of its config."""

    def __init__(self, folder: Path, settings: Sequence[str] = ALONE) -> None:
        self._folder = folder
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._program = find_redis()
        self.socket = folder / "redis.sock"
        folder.mkdir()

    @property
    def version(self) -> str:
        """What it is."""
        return told(self._program.version)

    async def start(self) -> None:
        """Starts it, or starts it again after a kill; returns when it answers."""
        await asyncio.to_thread(self._spawn)
        deadline = monotonic() + START_LIMIT_S
        while not await asyncio.to_thread(self._answers):
            if monotonic() > deadline:
                raise SystemExit(f"redis-server did not start; its log says:\n{(self._folder / 'log').read_text()}")
            await asyncio.sleep(LOOK_S)

    def client(self) -> Redis:
        """A connection to it, past the proxy."""
        return Redis(unix_socket_path=str(self.socket), socket_timeout=END_LIMIT_S)

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal; not once it has ended."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """Ends it by SIGKILL."""
        self.send(signal.SIGKILL)
        assert self._process is not None
        await asyncio.to_thread(self._process.wait)

    def fill(self) -> None:
        """Lets it refuse all writes for want of memory."""
        with self.client() as client:
            client.config_set("maxmemory", FULL_BYTES)

    def make_room(self) -> None:
        """Takes that back."""
        with self.client() as client:
            client.config_set("maxmemory", 0)

    def close(self) -> None:
        """Ends it, also where it is stopped: SIGKILL does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(END_LIMIT_S)

    def _spawn(self) -> None:
        config = self._folder / "redis.conf"
        lines = (f"dir {self._folder}", f"unixsocket {self.socket}", *self._settings)
        config.write_text("\n".join([*lines, 'save ""', "appendonly yes", "appendfsync always", ""]))
        self.socket.unlink(missing_ok=True)  # it is left by one that was killed
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program.path, config], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except (RedisError, OSError):
            return False


class ChaosStore(Protocol):
    """All servers of a run, and the proxy through which the app reaches them."""

    proxy: RedisProxy
    servers: tuple[ChaosServer, ...]

    @property
    def settings(self) -> RedisSettings:
        """Where the app finds it."""
        ...

    async def start(self) -> None:
        """Starts it with its proxy; returns when it serves."""
        ...

    def client(self) -> Redis | RedisCluster:
        """A client of it, past the proxy."""
        ...

    def journal(self, app: str) -> RedisJournal:
        """The journal of an app there, past the proxy."""
        ...

    def send_late(self, script: bytes) -> bytes:
        """What the server that has its keys answers to a script that was kept. See `sent_late`."""
        ...

    def close(self) -> None:
        """Ends it all."""
        ...


class ChaosRedis:
    """One server, behind a socket of the file system."""

    def __init__(self, folder: Path) -> None:
        """The folder is there."""
        self._server = ChaosServer(folder / "redis")
        self._door = folder / "proxy.sock"
        self.servers: tuple[ChaosServer, ...] = (self._server,)
        self.proxy = RedisProxy({self._door: self._server.socket})

    @property
    def settings(self) -> RedisSettings:
        """See ChaosStore."""
        return RedisSettings(url=SecretStr(f"unix://{self._door}"))

    async def start(self) -> None:
        """See ChaosStore."""
        await self._server.start()
        self.proxy.start()

    def client(self) -> Redis:
        """See ChaosStore."""
        return self._server.client()

    def journal(self, app: str) -> RedisJournal:
        """See ChaosStore."""
        return RedisJournal.from_url(f"unix://{self._server.socket}", app=app)

    def send_late(self, script: bytes) -> bytes:
        """See ChaosStore."""
        return sent_late(script, self._server.socket)

    def close(self) -> None:
        """See ChaosStore."""
        self.proxy.stop()
        self._server.close()
