"""`regrow top` in a terminal of its own, that somebody types at and draws larger or smaller, for tests."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

COMMAND = (sys.executable, "-c", "from regrow.cluster.entry import main; main()", "top")
PATIENCE_S = 30.0
LOOK_S = 0.05
READ_BYTES = 100_000
HOME = "\x1b[H"
"""With which each frame begins."""
STEERING = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class TopProgram:
    """The program and its terminal; enter it."""

    def __init__(self, app: str, *, rows: int, columns: int, environment: Mapping[str, str] | None = None) -> None:
        self._main, end = pty.openpty()
        self.size_bytes = 0
        """How much it has drawn."""
        self.size(rows=rows, columns=columns)
        os.set_blocking(self._main, False)
        names = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment = {**names, "TERM": "xterm"} if environment is None else environment
        self.program = subprocess.Popen([*COMMAND, app], stdin=end, stdout=end, stderr=end, env=environment)
        os.close(end)
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def size(self, *, rows: int, columns: int) -> None:
        """Somebody draws the window larger or smaller."""
        termios.tcsetwinsize(self._main, (rows, columns))

    def press(self, keys: str) -> None:
        """Somebody presses these; what was shown before is forgotten."""
        self.read()
        self._shown = ""
        os.write(self._main, keys.encode())

    def shows(self, *texts: str) -> None:
        """Waits until all this has been shown since the last key."""
        until_s = time.monotonic() + PATIENCE_S
        while not all(text in self.read() for text in texts):
            assert time.monotonic() < until_s, f"{texts} is not shown, but {self._shown[-2_000:]!r}"
            select.select([self._main], [], [], LOOK_S)

    def frame(self) -> list[str]:
        """The lines of the last frame that is drawn to its end, as people read them; empty where there is none yet."""
        frames = self.read().split(HOME)
        return STEERING.sub("", frames[-2]).split("\r\n") if len(frames) > 2 else []

    def read(self) -> str:
        """What was shown since the last key."""
        try:
            drawn = os.read(self._main, READ_BYTES)
            self.size_bytes += len(drawn)
            self._shown += drawn.decode(errors="replace")
        except OSError:  # nothing new, or the program has ended
            pass
        return self._shown

    def close(self) -> None:
        """Whatever state it is in, it is gone afterwards."""
        self.program.kill()
        self.program.wait()
        os.close(self._main)
