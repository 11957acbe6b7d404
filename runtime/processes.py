"""Which process a number means: when it was started, and what numbers processes here.

A number comes again: a process is told from a later one of the same number by when it was started, and from one of
another machine or container by what numbers processes there.
"""

from __future__ import annotations

from pathlib import Path

_STARTED_FIELD = 22
"""Of /proc/PID/stat, counted from one: when the process was started."""


def started_at(pid: int) -> str | None:
    """When a process of this machine was started, in ticks since the machine was; None where none runs."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    # One that has ended and was not looked at by its parent runs nothing any more.
    return None if state in "ZX" else fields[_STARTED_FIELD - 4]


def pid_space() -> str:
    """What numbers the processes here: this start of the machine, and the container; empty where nothing tells."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
