"""A bounded SQLite file in the data folder: one writer, any number of readers, and what goes wrong with its disk.

Its loss is records and never work: a write raises what went wrong, what was in it is lost, and the next one is tried
anew. Readers open it for themselves, while it is written and when nobody writes any more.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

TRIM_SHARE = 0.1
"""How much of the rows is deleted when the file has reached its limit, so that this is done seldom."""
PAGE_BYTES = 4_096
WAL_BYTES = 4_000_000
"""How large the write-ahead log may stay; it goes when the file is closed."""
BUSY_S = 2.0
"""How long a write waits for somebody who reads or copies the file."""

log = structlog.get_logger("regrow.records")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is in a file: `script` makes its tables. A file of another version is put aside.

    `trimmed` is the table of which the oldest rows go, those with the smallest `id`.
    """

    version: int
    script: str
    trimmed: str


class SqliteFile:
    """The writer of a file. Whoever writes holds up nobody but others who write."""

    def __init__(self, path: Path, layout: Layout, *, limit_bytes: int) -> None:
        self.path = path
        self._layout = layout
        self._limit_bytes = limit_bytes
        self._connection: sqlite3.Connection | None = None
        self._writes = threading.Lock()
        self._is_left = False

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, after which the file is within its limit again.

        Raises sqlite3.Error or OSError, such as for a full disk or a folder that can not be written.
        """
        with self._writes:
            try:
                connection = self._opened()
                with connection:
                    yield connection
                    self._trim(connection)
            except sqlite3.DatabaseError as error:
                if _is_broken(error):
                    self._put_aside(error)
                raise
        if self._is_left:
            self.close()

    def close(self) -> None:
        """Lets go of the file; where a write is under way, as on a disk that hangs, that one does when it ends."""
        self._is_left = True
        if self._writes.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._writes.release()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):  # somebody reads, or the disk is full: then the log stays beside the file
                connection.execute("PRAGMA journal_mode = DELETE")
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None and not self.path.exists():
            self._let_go()  # somebody has removed the folder; what is written there would be read by nobody
        if self._connection is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.path.parent / ".gitignore").write_text("*\n")
            try:
                self._connection = _connected(self.path, self._layout)
            except sqlite3.DatabaseError as error:
                if not _is_broken(error):
                    raise
                self._put_aside(error)
                self._connection = _connected(self.path, self._layout)
        return self._connection

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        self._let_go()
        aside = self.path.with_suffix(".broken")
        log.warning("a file can not be read, and is put aside", file=str(aside), reason=str(error))
        for ending in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{ending}").replace(f"{aside}{ending}")

    def _trim(self, connection: sqlite3.Connection) -> None:
        (pages,), (free,) = (connection.execute(f"PRAGMA {of}").fetchone() for of in ("page_count", "freelist_count"))
        if (pages - free) * PAGE_BYTES <= self._limit_bytes:
            return
        of = self._layout.trimmed
        first, last = connection.execute(f"SELECT min(id), max(id) FROM {of}").fetchone()
        connection.execute(f"DELETE FROM {of} WHERE id <= ?", (first + int((last - first) * TRIM_SHARE),))


def rows_in(path: Path, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """What a file answers to a query, opened for reading alone: nothing while it is made. Raises sqlite3.Error."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if not version:
            return []
        return connection.execute(query, values).fetchall()


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    """Whether it says that the file is none of ours or damaged; its subclasses say that something could not be done."""
    return type(error) is sqlite3.DatabaseError


def _connected(path: Path, layout: Layout) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    try:
        path.chmod(0o600)  # it may hold what people have written
        # Records are no money: what the last seconds before a power failure have told may be lost.
        for pragma in ("journal_mode = WAL", "synchronous = OFF", f"journal_size_limit = {WAL_BYTES}"):
            connection.execute(f"PRAGMA {pragma}")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, layout.version):
            raise sqlite3.DatabaseError(f"it is of version {version}, and this is version {layout.version}")
        # As one, so that whoever reads meanwhile finds a version and all that belongs to it, or no version.
        connection.executescript(f"BEGIN IMMEDIATE; {layout.script}; PRAGMA user_version = {layout.version}; COMMIT;")
    except BaseException:
        connection.close()
        raise
    return connection
