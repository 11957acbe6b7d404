"""The folder of a local Ray: where it may be, who still works in it, and its end. Needs no Ray.

Ray puts its logs and sockets there, and all of its processes have a file of it open. So who is left when
a Ray has ended is known by that, whoever its parent is by now.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

PREFIX = "regrow-ray-"
VARIABLE = "RAY_TMPDIR"
SOCKET_NAME_LIMIT = 107
"""Of Linux, in characters."""
SOCKET_BELOW = "/" + PREFIX + "{pid}-12345678/session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
"""How deep below the folder Ray puts its sockets."""
SWEEP_S = 0.02
"""Between two looks at who has not ended yet."""
SWEEP_LIMIT_S = 2.0
"""Who has not ended so long after a SIGKILL hangs in the kernel, and nobody can end it."""


def root() -> tuple[str, str]:
    """The folder below which a local Ray works, and what says so: `RAY_TMPDIR`, or else `TMPDIR`."""
    said = os.environ.get(VARIABLE)
    return (said, VARIABLE) if said else (tempfile.gettempdir(), "TMPDIR")


def trouble() -> str:
    """What keeps a local Ray from working below `root`, with what to do; empty when nothing does."""
    try:
        place, variable = root()
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        variable = VARIABLE if os.environ.get(VARIABLE) else "TMPDIR"
        place = os.environ.get(variable, "not set")
        told = error.strerror or str(error)
        return f"{variable} is {place}, which can not be used ({told}); make that folder, or set {VARIABLE} to another"
    limit = SOCKET_NAME_LIMIT - len(SOCKET_BELOW.format(pid=os.getpid()))
    if len(place) > limit:
        return (
            f"{variable} is {place}, too long a name for the sockets that Ray puts below it; "
            f"set {VARIABLE} to a folder of at most {limit} characters, such as /tmp"
        )
    return ""


def make() -> Path:
    """A new folder for a Ray of this process. Raises OSError."""
    # Short, since Ray puts sockets below it.
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=root()[0]))


def workers_in(folder: Path) -> list[int]:
    """The processes, other than this one, that have a file below a folder open."""
    below = f"{folder}/"
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            if any(str(opened.readlink()).startswith(below) for opened in (entry / "fd").iterdir()):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended while it was looked at, or is somebody else's
    return found


def end(folder: Path) -> None:
    """Ends who still works in a folder, and removes it. Blocks for milliseconds; two seconds at most."""
    limit_s = time.monotonic() + SWEEP_LIMIT_S
    while (left := workers_in(folder)) and time.monotonic() < limit_s:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        time.sleep(SWEEP_S)
    shutil.rmtree(folder, ignore_errors=True)


def janitor(folder: Path) -> subprocess.Popen[bytes]:
    """A shell that waits for this process to end, however it ends, and then removes the folder.

    It reads a pipe that only this process holds open. Where this process was killed, Ray's raylet ends
    by itself, but Ray's agents may not (they look for a parent that is process 1); so whoever still has
    a file of this folder open after a while is ended.
    """
    script = (
        '[ "$(cat)" = done ] || { sleep 3; for p in /proc/[0-9]*; do '
        'ls -l "$p/fd" 2>/dev/null | grep -q "$1/" && kill -9 "${p#/proc/}"; done; sleep 1; }; rm -rf "$1"'
    )
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "regrow-janitor", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
