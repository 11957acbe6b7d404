"""Processes that are harmed together, held so that no later one with the same pid is meant."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


class Processes:
    """Those that were there when this was made, in the order in which they get a signal."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._held: dict[int, int] = {}
        """By what the kernel has given for it, the pid of each."""
        for pid in pids:
            with suppress(ProcessLookupError):
                self._held[os.pidfd_open(pid)] = pid

    @classmethod
    def with_children(cls, pid: int) -> Self:
        """A process, and all that it has started and that still run, children of children behind them."""
        return cls([pid, *children_of(pid)])

    def send(self, number: signal.Signals) -> None:
        """Sends each a signal; who has ended gets none."""
        for process in self._held:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)

    def left(self) -> list[int]:
        """The pids of those that have not ended."""
        ended = select.select(list(self._held), [], [], 0)[0]
        return [pid for process, pid in self._held.items() if process not in ended]

    def __enter__(self) -> Self:
        """Holds them until the end."""
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Lets go of them."""
        for process in self._held:
            os.close(process)


def children_of(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """All processes below one, the nearest first."""
    parents: dict[int, int] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended while it was looked at
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, above = [], {pid}
    while above := {child for child, parent in parents.items() if parent in above}:
        found += sorted(above)
    return found
