"""Where the control sockets of this user's apps lie, and how to ask one of them something.

The protocol is one JSON line each way. `{"v": 1, "do": "tree"}` is answered by `{"v": 1, "ok": …}` or
by `{"v": 1, "error": {"type": …, "text": …, "exit_code": …}}`; what may be asked is in `control`. Only
this user gets in: the folder and its sockets belong to one user and are closed to all others.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from regrow.cluster.errors import AppNotRunning, ControlError
from regrow.runtime.errors import Bug, Misuse, RegrowError, TooLate, WorldBroke

PROTOCOL_VERSION = 1

REQUEST_LIMIT_BYTES = 1_048_576
"""A question typed at a prompt is far below; a document belongs into a folder that an agent reads."""

ANSWER_LIMIT_BYTES = 16_777_216
"""The tree of some ten thousand agents."""

PATH_LIMIT_BYTES = 107
"""What the kernel takes for the path of a socket."""

PROBE_TIMEOUT_S = 2.0
"""For what an app answers at once, however busy its agents are."""

TREE_TIMEOUT_S = 10.0
"""For asking every host what its agents do."""

TIMEOUT_LIMIT_S = 86_400.0
"""How long one request may be told to wait; a day is a batch job's answer."""

VERBS_WITH_TIMEOUT = frozenset({"ask", "stop", "kill", "restart"})
"""What a person may wait for as long as `--timeout` says; the other verbs have no such option."""

VERBS_OF_ITS_CLOCK = frozenset({"ask"})
"""What the app itself ends in time, by a clock that stands while a debugger has it."""

LOOK_S = 0.25
"""How often who waits for an answer looks whether a debugger has the process of the app."""

READ_SIZE_BYTES = 65_536

SUFFIX = ".sock"

EXIT_REFUSED = 2
"""The exit code of everything that the user can mend."""

EXIT_BUG = 70
"""The exit code of what the user can only report (EX_SOFTWARE of sysexits.h)."""


def exit_code_of(error: BaseException) -> int:
    """With which code a program ends because of this error."""
    if isinstance(error, ControlError):
        return error.exit_code
    # Whether an agent said no, failed or was late: the command was in order, and somebody has to do something.
    return EXIT_REFUSED if isinstance(error, RegrowError) and not isinstance(error, Bug) else EXIT_BUG


def runtime_dir() -> Path:
    """The folder of this user's sockets: in XDG_RUNTIME_DIR, else in the folder for temporary files."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    # After `su` it may still name the folder of another user, which the specification says to ignore.
    folder = Path(given)
    if folder.is_absolute() and folder.is_dir() and folder.stat().st_uid == os.getuid():
        return folder / "regrow"
    return Path(tempfile.gettempdir()) / f"regrow-{os.getuid()}"


def make_runtime_dir() -> Path:
    """The folder, made if it is not there. Raises WorldBroke when it is not ours alone or can not be made."""
    folder = runtime_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WorldBroke(
            f"the folder for control sockets {folder} can not be made ({error.strerror}); "
            "make it writable, or set XDG_RUNTIME_DIR to a folder of yours"
        ) from error
    _check_ours(folder, stat.S_ISDIR)
    folder.chmod(0o700)
    return folder


def socket_path(app: str) -> Path:
    """Where the socket of an app lies. Raises Misuse when the kernel would not take so long a path."""
    path = runtime_dir() / f"{app}{SUFFIX}"
    if len(os.fsencode(path)) > PATH_LIMIT_BYTES:
        raise Misuse(
            f"the control socket {path} has too long a path (the kernel takes {PATH_LIMIT_BYTES} bytes); "
            "shorten the app's name, or set XDG_RUNTIME_DIR to a shorter folder"
        )
    return path


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Held for an instant by whoever makes or removes sockets, so that nobody removes one just being made."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def owner_of(path: Path) -> int | None:
    """The process that listens at a socket, 0 where the system does not tell; None when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except (BlockingIOError, TimeoutError):
            return 0  # somebody listens who is too busy to let us in
        return _peer_pid(probe)


def remove_stale(path: Path) -> int | None:
    """Removes a socket at which nobody listens any more; else the listener's pid. Call it under the lock."""
    owner = owner_of(path)
    if owner is None:
        path.unlink(missing_ok=True)
    return owner


def running_apps() -> list[str]:
    """The names of the apps that run here as this user. Removes what killed processes left."""
    return list(running_pids())


def running_pids() -> dict[str, int]:
    """The same with the process of each app, 0 where the system does not tell."""
    folder = runtime_dir()
    if not folder.is_dir():
        return {}
    _check_ours(folder, stat.S_ISDIR)
    with folder_lock(folder):
        paths = sorted(folder.glob(f"*{SUFFIX}"))
        return {path.name.removesuffix(SUFFIX): pid for path in paths if (pid := remove_stale(path)) is not None}


def mark_held(path: Path, *, by_debugger: bool) -> None:
    """Says by the mode of a socket, which goes with it, whether a debugger has the process that listens there."""
    path.chmod(0o600 | (stat.S_ISVTX if by_debugger else 0))  # means nothing for a socket, and no umask sets it


def is_held(path: Path) -> bool:
    """Whether a debugger has the process that listens at this socket, as it says itself."""
    try:
        return bool(path.stat().st_mode & stat.S_ISVTX)
    except FileNotFoundError:
        return False


def call(app: str, do: str, *, wait_s: float, **fields: object) -> Any:
    """What an app answers to one request, which has these fields.

    The time in which a debugger has the process of the app does not count for VERBS_OF_ITS_CLOCK. Raises AppNotRunning,
    ControlError with the app's own error, TooLate when no answer came in time, Misuse for a request over
    REQUEST_LIMIT_BYTES.
    """
    line = json.dumps({"v": PROTOCOL_VERSION, "do": do, **fields}, allow_nan=False).encode() + b"\n"
    if len(line) > REQUEST_LIMIT_BYTES:
        raise Misuse(f"the request has {len(line):,} bytes and at most {REQUEST_LIMIT_BYTES:,} are taken; send less")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        patience = _Patience(wait_s, socket_path(app) if do in VERBS_OF_ITS_CLOCK else None)
        _connect(connection, app, wait_s)
        try:
            answer = _exchanged(connection, line, patience)
        except TimeoutError:
            raise _too_late(app, do, wait_s, _peer_pid(connection)) from None
    return _opened(app, answer)


def _connect(connection: socket.socket, app: str, wait_s: float) -> None:
    path = socket_path(app)
    connection.settimeout(min(wait_s, PROBE_TIMEOUT_S))
    try:
        _check_ours(path.parent, stat.S_ISDIR)
        _check_ours(path, stat.S_ISSOCK)
        connection.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError):
        others = [name for name in running_apps() if name != app]
        known = f", only {', '.join(others)}" if others else ""
        text = f"no app {app!r} is running here{known}; start it with: regrow run MODULE:APP"
        raise AppNotRunning(app, text) from None
    except (BlockingIOError, TimeoutError):
        raise TooLate(f"{app} lets nobody in: its process hangs, or too many ask at once; try again") from None
    except PermissionError as error:
        raise WorldBroke(f"the control socket {path} can not be used ({error.strerror}); check its owner") from error


class _Patience:
    """How long an answer is waited for; longer by what a debugger takes, where the socket of the app is given."""

    def __init__(self, wait_s: float, path: Path | None) -> None:
        self._looked_s = time.monotonic()
        self._deadline_s = self._looked_s + wait_s
        self._path = path

    def left_s(self) -> float:
        """How long to wait before asking again. Raises TimeoutError when there is none left."""
        now_s = time.monotonic()
        if self._path is not None and is_held(self._path):
            self._deadline_s += now_s - self._looked_s
        self._looked_s = now_s
        if now_s >= self._deadline_s:
            raise TimeoutError
        return min(self._deadline_s - now_s, LOOK_S)


def _too_late(app: str, do: str, wait_s: float, pid: int) -> TooLate:
    if is_held(socket_path(app)):
        return TooLate(
            f"{app} did not answer within {wait_s:g} s, since a debugger has its process {pid or ''}".rstrip()
            + "; let it go on there, and try again"
        )
    advice = "or wait longer with --timeout" if do in VERBS_WITH_TIMEOUT else "and try again"
    process = f"process {pid}" if pid else "process"
    return TooLate(f"{app} did not answer within {wait_s:g} s; look at what its {process} does, {advice}")


def _exchanged(connection: socket.socket, line: bytes, patience: _Patience) -> bytes:
    """The answer; what came of it where the other side closed early. Raises TimeoutError."""
    answer = bytearray()
    try:
        connection.sendall(line)
    except ConnectionError:
        pass  # it may have answered before it had read everything
    try:
        while not answer.endswith(b"\n") and len(answer) <= ANSWER_LIMIT_BYTES:
            connection.settimeout(patience.left_s())
            try:
                part = connection.recv(READ_SIZE_BYTES)
            except TimeoutError:
                continue  # not yet; whether it may still come is for `left_s` to say
            if not part:
                break
            answer += part
    except ConnectionError:
        pass  # it closed, which an answer without an end shows as well
    return bytes(answer)


def _opened(app: str, line: bytes) -> Any:
    """What a whole answer says. Raises ControlError with the app's own error, AppNotRunning for half an answer."""
    if not line.endswith(b"\n"):
        raise AppNotRunning(app, f"{app} closed the connection without an answer: it ended or failed; see its log")
    try:
        answer = json.loads(line)
        told = answer.get("error")
        if told is None:
            return answer["ok"]
        raise ControlError(str(told["text"]), type_name=str(told["type"]), exit_code=int(told["exit_code"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Bug(f"{app} answered what is no answer: {line[:200]!r}") from error


def _check_ours(path: Path, is_kind: Any) -> None:
    """Raises FileNotFoundError, or WorldBroke for a path that another user may have planted."""
    found = path.lstat()
    if not is_kind(found.st_mode) or found.st_uid != os.getuid():
        raise WorldBroke(
            f"{path} is not what it should be, or belongs to another user; remove it, or set XDG_RUNTIME_DIR to a "
            "folder of yours"
        )


def peer_principal(connection: socket.socket) -> str:
    """Who is at the other end, as the system knows it: `user:ada`, by number where she has no name; empty if untold."""
    credentials = _peer(connection)
    if credentials is None:
        return ""
    try:
        return f"user:{pwd.getpwuid(credentials[1]).pw_name}"
    except KeyError:
        return f"user:{credentials[1]}"


def _peer_pid(connection: socket.socket) -> int:
    """The process that listened at the other end when this connection was made; 0 where nobody tells."""
    credentials = _peer(connection)
    return 0 if credentials is None else credentials[0]


def _peer(connection: socket.socket) -> tuple[int, int] | None:
    """Process and user at the other end; None where nobody tells."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return pid, uid
