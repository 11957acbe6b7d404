"""What belongs to a test: its processes, its files, its named Ray actors. Used to see that nothing is left.

Other Rays may run on the machine, so a process counts only when it works in the test's own folder: its
current directory or one of its open files lies below it. Redis and all of Ray's processes do so.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

IDLE_RAY = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Workers that Ray keeps in stock, and its own agents; they come and go with the Ray and not with an app."""

DATA_LEFT = frozenset(
    (
        ".gitignore",
        "lock",
        "redis.log",
        "appendonly.aof",
        "appendonlydir",
        "journal",
        "spans.sqlite",
        "incidents.sqlite",
    )
)
"""What a stopped app may leave: its data, the log of the server, and the lock's file, which must never be removed."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it was when it was seen."""

    pid: int
    title: str = field(compare=False)

    @property
    def lives(self) -> bool:
        """False once it has ended, reaped or not."""
        return alive(self.pid)

    def kill(self) -> None:
        """Ends it by SIGKILL; harmless when it is gone."""
        send(self.pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether there is a process of that number that has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def send(pid: int, number: signal.Signals) -> None:
    """Sends a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def processes_in(folder: Path) -> list[Process]:
    """The living processes that work below a folder, this one aside."""
    found: list[Process] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and _works_in(entry, str(folder)):
            pid = int(entry.name)
            title = _title(entry)
            if title and alive(pid):
                found.append(Process(pid, title))
    return found


def app_processes(folder: Path) -> list[Process]:
    """Those of `processes_in` that belong to an app: its guardian, its hosts, its Redis."""
    return [p for p in processes_in(folder) if is_of_app(p)]


def is_of_app(process: Process) -> bool:
    """True for a guardian, a host or a redis-server."""
    title = process.title
    return "redis-server" in title or (title.startswith("ray::") and not title.startswith(IDLE_RAY))


def files_in(folder: Path) -> set[str]:
    """Every file below a folder that is no data of a stopped app."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() and not DATA_LEFT.intersection(path.parts)
    }


def _title(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _works_in(entry: Path, folder: str) -> bool:
    try:
        if _below((entry / "cwd").readlink(), folder):
            return True
        return any(_below(opened.readlink(), folder) for opened in (entry / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # it ended while it was looked at, or is somebody else's


def _below(path: Path, folder: str) -> bool:
    return str(path) == folder or str(path).startswith(f"{folder}/")
