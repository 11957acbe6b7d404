"""The Redis of a chaos run: a server of its own, which is killed, stopped and filled, and keeps what it said it has."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from pathlib import Path
from time import monotonic

from msgpack import unpackb
from redis import Redis
from redis.exceptions import RedisError
from resp import parts

from regrow.cluster.redis_process import find_redis, told

START_LIMIT_S = 30.0
END_LIMIT_S = 10.0
LOOK_S = 0.02
FULL_BYTES = 1
"""A `maxmemory` below what any server uses, so that it refuses every write that needs memory."""


class ChaosRedis:
    """A redis-server in a folder, with everything on disk before it answers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
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

    def has_done(self, commit: bytes) -> bool:
        """Whether the journal has done this very commit: its process had sent it before, and had no answer."""
        with self.client() as client:
            return is_done(client, commit)

    def close(self) -> None:
        """Ends it, also where it is stopped: SIGKILL does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(END_LIMIT_S)

    def _spawn(self) -> None:
        config = self._folder / "redis.conf"
        config.write_text(
            f'dir {self._folder}\nunixsocket {self.socket}\nport 0\nsave ""\nappendonly yes\nappendfsync always\n'
        )
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


def is_done(client: Redis, commit: bytes) -> bool:
    """Whether the mark of the message that a call of the commit's script is about names the operation of that call."""
    _, _, number, *words = parts(commit)
    mark = next(key for key in words[: int(number)] if key.partition(b"}:")[2].startswith(b"mark:"))
    kept = client.get(mark)
    return kept is not None and unpackb(kept, raw=True)[1] == unpackb(words[int(number)], raw=True)[b"op"]
