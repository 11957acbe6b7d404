"""What the process list says of Ray's workers below this process, by which a benchmark sees a spare host."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from time import monotonic

HOST_TITLE = b"ray::RayHost"
"""Ray names a worker's process for the class of its actor."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LOOK_S = 0.25
BUSY_SHARE = 0.1
"""A host that uses less of a core than this has nothing left to import."""


async def wait_hosts_rest(wanted: int, *, limit_s: float) -> bool:
    """Waits until that many host processes are there and none of them is busy; False when it took too long."""
    deadline = monotonic() + limit_s
    before: dict[int, float] = {}
    while monotonic() < deadline:
        now = {pid: spent for pid in descendants() if (spent := _host_cpu_s(pid)) is not None}
        if len(now) >= wanted and now.keys() == before.keys():
            if all(spent - before[pid] < BUSY_SHARE * LOOK_S for pid, spent in now.items()):
                return True
        before = now
        await asyncio.sleep(LOOK_S)
    return False


def descendants() -> set[int]:
    """The processes that this one started, and what they started."""
    parents = {pid: parent for pid in _all_pids() if (parent := _parent(pid)) is not None}
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[1])


def _host_cpu_s(pid: int) -> float | None:
    """The processor time that a host has used; None for another process."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return None
    fields = _stat(pid)
    if fields is None or not title.startswith(HOST_TITLE):
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name, which may hold blanks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
