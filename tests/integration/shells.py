"""A shell for tests of the command line: real processes in a folder of their own, on the inline engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

LIMIT_S = 120.0
"""For a command that is expected to end; a busy machine takes seconds for the start of Python alone."""

RUNS = "look at it with: regrow ps"
"""The last line that `regrow run` prints once the app runs."""

REGROW = "from regrow.cluster.entry import main; main()"
"""The entry point, since its script may not be on the PATH of whoever runs the tests."""


@dataclass(frozen=True, slots=True)
class Shell:
    """A folder with apps in it, and an environment without anything of ours."""

    folder: Path
    env: dict[str, str]

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def regrow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python("-c", REGROW, *arguments)

    def sockets(self) -> list[str]:
        """The control sockets that lie there, whether somebody listens or not."""
        return sorted(path.name for path in Path(self.env["XDG_RUNTIME_DIR"]).rglob("*.sock"))

    def json(self, *arguments: str) -> Any:
        """The one JSON value that a command that ends well prints."""
        done = self.regrow(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


class Lines:
    """What a process writes to one stream, read as it comes so that the process never waits for us."""

    def __init__(self, stream: IO[str] | None) -> None:
        assert stream is not None
        self._stream = stream
        self._seen: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait(self, text: str) -> list[str]:
        """The lines up to the one that holds the text."""

        def found() -> int:
            return next((number for number, line in enumerate(self._seen, start=1) if text in line), 0)

        with self._more:
            self._more.wait_for(lambda: found() or self._ended, LIMIT_S)
            assert found(), f"it has not said {text!r}; it said: {''.join(self._seen)}"
            return self._seen[: found()]

    def whole(self) -> str:
        """Everything, once the process has ended."""
        self._reader.join(LIMIT_S)
        self._stream.close()
        return "".join(self._seen)

    def _read(self) -> None:
        for line in self._stream:
            with self._more:
                self._seen.append(line)
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()


class Program:
    """A Python program in the background."""

    def __init__(self, shell: Shell, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=shell.folder,
            env=shell.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)

    def wait_end(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        code = self.process.wait(LIMIT_S)
        return code, self.out.whole(), self.err.whole()

    def kill(self) -> None:
        """Whatever state it is in, it is gone afterwards."""
        self.process.kill()
        self.wait_end()


class Run(Program):
    """A `regrow run` in the background."""

    def __init__(self, shell: Shell, *arguments: str) -> None:
        super().__init__(shell, "-c", REGROW, "run", *arguments)


@contextmanager
def a_shell(folder: Path, files: dict[str, str]) -> Iterator[Shell]:
    """A shell in a folder with these files; afterwards no control socket may be left."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("REGROW_", "OPENAI_", "RAY_"))}
    with tempfile.TemporaryDirectory(prefix="rg") as short:
        yield Shell(folder, {**env, "XDG_RUNTIME_DIR": short, "COLUMNS": "120"})
        assert list(Path(short).rglob("*.sock")) == [], "a socket was left"
