"""What a test's process holds beside its app: tasks, threads and child processes, to see what outlives the app."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from regrow.cluster.errors import LeftRunning

POOLS = ("asyncio_", "regrow-", "ThreadPoolExecutor", "OtelBatchSpan", "ray_", "raylet", "pydevd")
"""Begin the names of threads that wait for work, or belong to Ray, a debugger or telemetry, and are no leak."""


@dataclass(frozen=True, slots=True)
class Belongings:
    """What there is at one moment."""

    tasks: frozenset[asyncio.Task[Any]]
    threads: frozenset[threading.Thread]
    processes: frozenset[int]

    @classmethod
    def none(cls) -> Self:
        """Nothing."""
        return cls(frozenset(), frozenset(), frozenset())

    @classmethod
    def now(cls) -> Self:
        """What there is now, in the process whose loop runs."""
        return cls(frozenset(asyncio.all_tasks()), frozenset(threading.enumerate()), frozenset(_children()))

    def check_same(self, app: str) -> None:
        """Raises LeftRunning with what has come since."""
        now = type(self).now()
        left = [_told(task) for task in now.tasks - self.tasks]
        left += [f"thread {thread.name}" for thread in now.threads - self.threads if not thread.name.startswith(POOLS)]
        left += [f"process {pid} ({name})" for pid, name in _children().items() if pid not in self.processes]
        if left:
            raise LeftRunning(app, sorted(left))


def _told(task: asyncio.Task[Any]) -> str:
    """A task with the coroutine that it runs, and the line on which that waits."""
    coroutine: Any = task.get_coro()
    frame = getattr(coroutine, "cr_frame", None)
    place = f" at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame is not None else ""
    return f"task {task.get_name()} in {getattr(coroutine, '__qualname__', coroutine)}{place}"


def _children() -> dict[int, str]:
    """The living child processes of this one with their names; none where the system does not tell."""
    found: dict[int, str] = {}
    for pid in _pids(Path(f"/proc/{os.getpid()}/task")):
        try:
            name = Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
            state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
        except OSError:
            continue  # it has ended meanwhile
        if state != "Z":
            found[pid] = name
    return found


def _pids(tasks: Path) -> Iterator[int]:
    for children in tasks.glob("*/children"):
        try:
            yield from map(int, children.read_text("utf-8").split())
        except OSError:
            continue  # that thread has ended meanwhile
