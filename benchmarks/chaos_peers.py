"""Which process is at the other end of a connection of this machine."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from pathlib import Path

CREDENTIALS = struct.Struct("3i")
"""What the kernel says of the other end of a socket of the file system: pid, user, group."""
LOCAL, REMOTE, INODE = 1, 2, 9
"""Columns of /proc/net/tcp."""


def pid_of_peer(connection: socket.socket, proc: Path = Path("/proc")) -> int:
    """The process at the other end. Raises ProcessLookupError where it has closed that, or is another user's.

    A socket of the file system tells it; of one over TCP it is looked for among all that processes have open, which
    takes some ten milliseconds.
    """
    if connection.family == socket.AF_UNIX:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        return int(CREDENTIALS.unpack(credentials)[0])
    theirs, ours = _written(connection.getpeername()), _written(connection.getsockname())
    for line in (proc / "net" / "tcp").read_text().splitlines():
        columns = line.split()
        if columns[LOCAL : REMOTE + 1] == [theirs, ours]:
            return _pid_with(f"socket:[{columns[INODE]}]", proc)
    raise ProcessLookupError(f"nobody has the other end of {connection}")


def _written(address: tuple[str, int]) -> str:
    """An address as /proc/net/tcp has it: the four bytes as this machine orders those of a number."""
    host, port = address
    (number,) = struct.unpack("=I", socket.inet_aton(host))
    return f"{number:08X}:{port:04X}"


def _pid_with(opened: str, proc: Path) -> int:
    for entry in proc.iterdir():
        if entry.name.isdigit() and opened in _open_in(entry):
            return int(entry.name)
    raise ProcessLookupError(f"no process has {opened} open")


def _open_in(entry: Path) -> set[str]:
    """What a process has open; nothing where it ended while it was looked at, or is another user's."""
    found: set[str] = set()
    with suppress(OSError):
        for link in (entry / "fd").iterdir():
            with suppress(OSError):  # this one was closed meanwhile, which says nothing of the others
                found.add(str(link.readlink()))
    return found
