"""Host processes as the operating system knows them: who is there, and when is one really gone.

A host binds an abstract socket with its id. The kernel frees that name when the process ends, and not
before, even if it hangs or is stopped; so a new life of the guardian finds the hosts of the one before
it and ends them, and no agent runs twice. Linux only: elsewhere Ray alone ends them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

import structlog

from regrow.runtime import HostId

log = structlog.get_logger("regrow.keeper")

GONE_TIMEOUT_S = 10.0
"""How long a killed process may take to vanish from the process list before that is logged."""

LOOK_AT_PARENT_S = 0.5
"""How often a process looks whether its raylet is still there; Ray takes seconds longer to call a node dead."""
EXIT_WITHOUT_PARENT = 71
"""The exit code of a process whose raylet was gone: a failure of the system, as sysexits has it."""

_SOCKETS = Path("/proc/net/unix")
_PREFIX = "regrow-host/"
_CREDENTIALS = struct.Struct("3i")


def claim(owner: str, host: HostId) -> socket.socket | None:
    """Makes this process findable as a host of an owner; to be held as long as it lives. None where that is unknown."""
    if not _SOCKETS.exists():
        return None
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    held.bind(f"\0{_PREFIX}{owner}/{host}")
    held.listen(socket.SOMAXCONN)  # nobody accepts: each look takes a place, one for each life of the guardian
    return held


def end_with_parent() -> None:
    """From now on this process ends as soon as the one that started it is gone: for Ray's workers, their raylet.

    Ray means its workers to do so, but they wait for a parent with pid 1, which is not who adopts orphans everywhere.
    What lived on would run beside the next lives of its agents, since Ray calls all actors of a dead raylet dead.
    """
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_AT_PARENT_S)
        os._exit(EXIT_WITHOUT_PARENT)

    threading.Thread(target=look, name="regrow-parent", daemon=True).start()


def hosts_of(owner: str) -> dict[HostId, int]:
    """The hosts of an owner on this machine that belong to this user, with their pids."""
    if not _SOCKETS.exists():
        return {}
    start = f"@{_PREFIX}{owner}/"
    lines = _SOCKETS.read_text(encoding="utf-8", errors="replace").splitlines()
    names = [path for line in lines if (path := line.rpartition(" ")[2]).startswith(start)]
    found = {HostId(name.removeprefix(start)): _pid_behind(name) for name in names}
    return {host: pid for host, pid in found.items() if pid}


async def end_others(owner: str, life: HostId) -> None:
    """Ends the hosts of an owner's earlier lives; returns when the last is gone, however long that takes."""
    others = {host: pid for host, pid in hosts_of(owner).items() if not host.startswith(f"{life}.")}
    for host, pid in others.items():
        log.warning("a host of an earlier life of the guardian is ended", host=host, pid=pid)
        kill(pid)
    for pid in others.values():
        while not await gone(pid):
            pass  # logged; going on would have an agent run twice


async def end(owner: str, host: HostId, pid: int) -> bool:
    """Kills one host and waits until its process is gone; False when it does not vanish.

    Where hosts can be found by name, only a process that is still that host is killed: its number may be another's.
    """
    if _is_over(owner, host, pid):
        return True
    kill(pid)
    return await gone(pid)


def kill(pid: int) -> None:
    """Kills the process of a host that runs, or ran a moment ago."""
    with suppress(ProcessLookupError):  # then whoever watches it is about to say so
        os.kill(pid, signal.SIGKILL)


async def gone(pid: int) -> bool:
    """Waits until a process of this machine has ended; False, and a line in the log, when it does not."""
    try:
        watched = os.pidfd_open(pid)  # readable as soon as the process has ended
    except ProcessLookupError:
        return True
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(watched, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), GONE_TIMEOUT_S)
    except TimeoutError:
        log.warning("a killed host process does not vanish", pid=pid, after_s=GONE_TIMEOUT_S)
        return False
    finally:
        loop.remove_reader(watched)
        os.close(watched)
    return True


def _is_over(owner: str, host: HostId, pid: int) -> bool:
    """True where a host would be found by name, and this process is not it."""
    return _SOCKETS.exists() and hosts_of(owner).get(host) != pid


def _pid_behind(name: str) -> int:
    """The process that listens on an abstract socket, 0 when it is gone or another user's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        with suppress(OSError):
            asking.connect(f"\0{name.removeprefix('@')}")
            raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid, user, _ = _CREDENTIALS.unpack(raw)
            return int(pid) if user == os.getuid() else 0
    return 0
