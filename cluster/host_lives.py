"""Which lives of hosts may hold durable agents, noted in a file, so that whoever comes after a crash knows of them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterator
from functools import partial
from pathlib import Path

import structlog

from regrow.cluster.blocking_calls import BlockingCalls
from regrow.cluster.high_water import write_whole
from regrow.runtime.journal_entries import HostEpoch
from regrow.runtime.processes import pid_space, started_at

log = structlog.get_logger("regrow.journal")

UNKNOWN = ""
"""In place of what this system does not tell; nothing is known of a process then."""


class HostLives:
    """The lives of hosts of this machine that were not revoked yet."""

    def __init__(self, file: Path) -> None:
        """Reads what an earlier owner has left; a file that can not be read tells nothing."""
        self._file = file
        self._place = pid_space()
        self._writes = BlockingCalls()
        self._lives: dict[HostEpoch, tuple[int, str, str]] = {}
        """By number: pid, when it was started, and where its pid counts."""
        if file.exists():
            try:
                noted = json.loads(file.read_text())
                self._lives = {HostEpoch(int(epoch)): (int(p), str(s), str(w)) for epoch, (p, s, w) in noted.items()}
            except (ValueError, TypeError, AttributeError) as error:
                log.warning("a note of hosts can not be read; their leases tell when they are over", reason=str(error))

    def earlier(self) -> Iterator[tuple[HostEpoch, bool]]:
        """The lives that are noted, and whether their processes are over for certain."""
        for epoch, (pid, started, place) in list(self._lives.items()):
            known = UNKNOWN not in (started, place) and place == self._place
            yield epoch, known and started_at(pid) != started

    def note(self, epoch: HostEpoch, pid: int) -> Awaitable[None]:
        """A process has begun a life under this number; what is returned waits until the file says so."""
        self._lives[epoch] = (pid, started_at(pid) or UNKNOWN, self._place)
        return self._writes.do(partial(self._write, json.dumps(self._lives)))

    def forget(self, epoch: HostEpoch) -> None:
        """That life was revoked; the file says so a little later, and a number that stays in it harms nobody."""
        if self._lives.pop(epoch, None) is not None:
            _ = self._writes.do(partial(self._let_go, json.dumps(self._lives) if self._lives else ""))

    async def written(self, *, within_s: float | None = None) -> bool:
        """Waits until the file says all that was noted and forgotten; False where the disk takes longer."""
        return await self._writes.done(within_s=within_s)

    def _let_go(self, text: str) -> None:
        try:
            self._write(text)
        except OSError as error:
            log.warning("the note of a host that is gone stays; the next start looks at it", reason=error.strerror)

    def _write(self, text: str) -> None:
        if text:
            write_whole(self._file, text)
        else:
            self._file.unlink(missing_ok=True)
