"""What the host of a tool tells the process in which it is to run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

FOLDER_PREFIX = "regrow-tool-"
"""Begins the name of the folder in which it is run; see tool_folders."""
END = b"end\n"
"""What a host says behind the order when the call is to end; closed without it, the pipe says that the host is gone."""
READ_BYTES = 65_536
"""As much is read at a time; and so much more than its result may a process answer, to say how it went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be run, and within which limits. `hash` is the tool's, as its host knows it.

    `file` is that of the module which must be imported by its place before: that of a skill. Empty for all others.
    """

    module: str
    file: str
    qualname: str
    hash: str
    arguments: str
    step: tuple[str, int] | None
    result_bytes: int
    memory_bytes: int
    cpu_s: int
    file_bytes: int
    files: int
    processes: int

    def line(self) -> bytes:
        """The order on its way into the process."""
        return json.dumps(asdict(self)).encode() + b"\n"
