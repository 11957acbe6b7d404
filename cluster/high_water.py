"""The highest mark that was seen in a store of the journal, which tells a store that has gone back.

The store counts the renewals of all hosts. Who has seen a higher count than it tells knows that it was wiped, or
restored from an older copy; what it took on since then is lost, and writing on would hide that.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from regrow.cluster.blocking_calls import BlockingCalls
from regrow.runtime.journal_errors import InvalidEntry, JournalRestored

log = structlog.get_logger("regrow.journal")


class HighWater:
    """One process's high-water mark; with a file it outlives the process."""

    def __init__(self, file: Path | None = None, *, seen: int = 0) -> None:
        """Reads the file, if there is one; `seen` is what another process has seen.

        Raises InvalidEntry where the file holds no mark.
        """
        self._file = file
        self._is_kept = True
        self._writes = BlockingCalls()
        self.seen, self._kept = seen, 0
        if file is not None and file.exists():
            text = file.read_text().strip()
            if not text.isdecimal():
                raise InvalidEntry(f"{file} holds {text[:40]!r} in place of a high-water mark; delete it to start anew")
            self._kept = int(text)
            self.seen = max(seen, self._kept)

    def rise(self, mark: int, *, asked_at: int, address: str) -> None:
        """Takes in the store's mark, which it was asked for when `asked_at` had been seen.

        Raises JournalRestored for a mark below that.
        """
        # Not below `seen`: of two answers, the later may have been taken in first.
        if mark < asked_at:
            kept = f", or delete {self._file} and start anew on what there is" if self._file else ""
            raise JournalRestored(
                f"{address} has mark {mark}, and {asked_at} was seen in it before: "
                f"it was wiped or restored from an older copy. Bring the newer data back{kept}"
            )
        self.seen = max(self.seen, mark)

    async def keep(self) -> None:
        """Returns when the file has what was seen, or can not have it; the event loop is not held meanwhile."""
        if self._file is not None and self._kept < self.seen:
            await self._writes.do(self._keep)

    async def written(self, *, within_s: float | None = None) -> bool:
        """Waits until no write of the file is under way, also one whose caller has gone; False where it takes longer.

        Before that nobody else may open the file: both would write the same draft, and the older mark might come last.
        """
        return await self._writes.done(within_s=within_s)

    def _keep(self) -> None:
        """A disk without room takes nothing from those who work; what is not noticed then is said once."""
        file, mark = self._file, self.seen
        if file is None or mark <= self._kept:
            return  # the write before this one had it already
        try:
            write_whole(file, str(mark))
        except OSError as error:
            if self._is_kept:
                log.error(
                    "the mark of the store can not be kept, so that a store which goes back is not noticed by the next "
                    "start of the app; it is tried again at each renewal",
                    file=str(file),
                    reason=error.strerror,
                )
            self._is_kept = False
        else:
            self._kept, self._is_kept = mark, True


def write_whole(file: Path, text: str) -> None:
    """Replaces a file's text: after a crash or a power loss in the middle it is the old one or the new one."""
    draft = file.with_name(f"{file.name}.new")
    with draft.open("w") as writing:
        writing.write(text)
        writing.flush()
        os.fsync(writing.fileno())
    draft.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
