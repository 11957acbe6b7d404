"""The folder in which an embedded Redis lives: its lock, its identity, its log, its configuration.

`lock` is held by the owner while it lives. `.gitignore` keeps all of it out of repositories and out of what
`ray job submit --working-dir` uploads. `server.json` keeps port and password, so that a server
started after a crash has the same URL; a clean stop removes it. `redis.pid` is written and removed by
the server itself. All of them are readable by their user alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Literal

import structlog

from regrow.cluster.errors import FolderLocked, RedisUnavailable
from regrow.cluster.redis_process import RedisProgram, end_orphan, told

LOG_LIMIT_BYTES = 5_000_000
"""At a start a longer log is put aside as redis.log.1, replacing the earlier one."""

LAST_WORDS_BYTES = 4_096
"""How much of the log's end is read to learn why a server ended."""

ORPHAN_GRACE_S = 10.0
"""How long a server left by a killed owner may write to the disk before SIGKILL."""

ORPHAN_KILL_S = 5.0
"""How long its death by SIGKILL may take; longer means a process stuck in its disk."""

Fsync = Literal["always", "everysec"]

_log = structlog.get_logger("regrow.cluster.redis_folder")


@dataclass(frozen=True, slots=True)
class Identity:
    """What clients know of the server; it outlives restarts and crashes, and ends with a clean stop."""

    port: int
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """`redis://…`, password included: not for a log."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


class RedisFolder:
    """One data folder. Its methods block for a moment on the disk, at starts and stops only."""

    def __init__(self, path: Path) -> None:
        # Resolved, since the kernel tells the folder of a process in that form.
        self.path = path.resolve()
        self.log_path = self.path / "redis.log"
        self._pid_path = self.path / "redis.pid"
        self._identity_path = self.path / "server.json"
        self._lock: IO[str] | None = None

    def take(self) -> None:
        """Makes the folder and locks it. The kernel frees the lock when the owner dies, however it dies.

        Raises FolderLocked when it has another owner, RedisUnavailable when it can not be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Never removed: of two owners, each could then hold a file of this name.
            lock = (self.path / "lock").open("a+")
            (self.path / ".gitignore").write_text("*\n")
        except OSError as error:
            raise RedisUnavailable(
                f"the data folder {self.path} can not be written ({error.strerror}); "
                "make it writable, or set another data_dir"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read(32).strip()
            lock.close()
            raise FolderLocked(self.path, int(owner) if owner.isdigit() else None) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def let_go(self) -> None:
        """Frees the lock; does nothing without one."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def end_orphan(self) -> None:
        """Ends a server that a killed owner left here. Call it with the lock held.

        It is not adopted: nothing would end it when its new owner is killed. Raises RedisUnavailable
        when it does not end.
        """
        try:
            pid = int(self._pid_path.read_text())
        except (FileNotFoundError, ValueError):
            return
        if not await end_orphan(pid, self.path, grace_s=ORPHAN_GRACE_S, kill_s=ORPHAN_KILL_S):
            raise RedisUnavailable(
                f"process {pid} seems to be an old redis-server in {self.path} and did not end; "
                f"end it by hand, or delete {self._pid_path} if it is something else"
            )
        self._pid_path.unlink(missing_ok=True)

    def check_format(self, program: RedisProgram) -> None:
        """Raises RedisUnavailable when the program is too old for the data here."""
        # Since 7.0 the append-only file is a folder. An older server does not see it and would serve no data.
        if program.version < (7, 0, 0) and (self.path / "appendonlydir").exists():
            raise RedisUnavailable(
                f"{self.path} was written by Redis 7 or newer, and {program.path} is {told(program.version)}; "
                "put the newer redis-server on the PATH, or set another data_dir"
            )

    def read_identity(self) -> Identity | None:
        """The identity of the last life; None after a clean stop, or when a crash spoiled it."""
        try:
            kept = json.loads(self._identity_path.read_text())
            return Identity(port=int(kept["port"]), password=str(kept["password"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            _log.warning("redis_identity_unreadable", file=str(self._identity_path), effect="clients need the new URL")
            return None

    def write_identity(self, identity: Identity) -> None:
        """Keeps the identity; a crash meanwhile leaves the old one or the new one."""
        draft = self._identity_path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(identity)))
        draft.replace(self._identity_path)

    def forget_identity(self) -> None:
        """Lets the next start choose port and password anew."""
        self._identity_path.unlink(missing_ok=True)

    def config(self, identity: Identity, appendfsync: Fsync) -> str:
        """The redis.conf of a server here."""
        settings = {
            "bind": "127.0.0.1",
            "port": str(identity.port),
            "requirepass": _quoted(identity.password),
            "dir": _quoted(str(self.path)),
            "pidfile": _quoted(str(self._pid_path)),
            "logfile": _quoted(str(self.log_path)),
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "save": '""',  # the append-only file is the truth; snapshots beside it would only cost
            "maxmemory-policy": "noeviction",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def open_log(self) -> IO[bytes]:
        """The log, to be written at its end; one that grew too long is put aside first."""
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT_BYTES:
            self.log_path.replace(self.log_path.with_name("redis.log.1"))
        return self.log_path.open("ab")

    def last_words(self, since_byte: int = 0) -> str:
        """The last two lines logged after that place, without their times."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(since_byte, self.log_path.stat().st_size - LAST_WORDS_BYTES))
                text = log.read().decode(errors="replace")
        except OSError as error:
            return f"its log can not be read: {error}"
        lines = [_LOG_PREFIX.sub("", line).strip() for line in text.splitlines()]
        return "; ".join([line for line in lines if line][-2:]) or "it logged nothing"


_LOG_PREFIX = re.compile(r"^\d+:[A-Z] \d.*?\d{3} [#*.-] ")


def _quoted(text: str) -> str:
    """A value in the quoting of redis.conf."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
