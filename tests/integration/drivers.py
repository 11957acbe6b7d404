"""Programs of a user that run an app, each as a process of its own in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.belongings import Process, files_in, processes_in, send
from tests.integration.waiting import until_none, until_now

BEGIN_S = 120.0
"""Until a program that starts a Ray has its app running, on a busy machine."""

END_S = 60.0
"""Until a program that was told to stop has ended."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A program that runs. All that it starts works below `folder`."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def said(self) -> str:
        """What it has printed so far, errors included."""
        return (self.folder / "said").read_text(encoding="utf-8", errors="replace")

    def wait_said(self, text: str) -> str:
        """Waits until it has printed a text; gives all that it has printed."""
        __tracebackhide__ = True

        def look() -> bool:
            return text in self.said or self.process.poll() is not None

        until_now(look, f"it prints {text!r}", within_s=BEGIN_S)
        assert text in self.said, f"it ended with {self.process.returncode}:\n{self.said}"
        return self.said

    def wait_runs(self, app: str) -> None:
        """Waits until `regrow ps` says that its app runs; what agents print may come earlier."""
        __tracebackhide__ = True
        command = [sys.executable, "-c", "from regrow.cluster.entry import main; main()", "ps", app, "--json"]
        env = environment(self.folder)

        def look() -> bool:
            if not any(self.folder.glob("regrow-*/*.sock")) and self.process.poll() is None:
                return False  # nobody to ask yet
            seen = subprocess.run(command, capture_output=True, text=True, env=env, timeout=BEGIN_S, check=False)
            return '"state": "running"' in seen.stdout.split('"tree"')[0] or self.process.poll() is not None

        until_now(look, f"{app} runs", within_s=BEGIN_S)
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.said}"

    def wait_end(self, *, within_s: float = END_S) -> int:
        """Waits until it has ended; gives its exit code."""
        __tracebackhide__ = True
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end; it said:\n{self.said}") from None

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def processes(self) -> list[Process]:
        """What runs in its folder, itself included."""
        return processes_in(self.folder)

    def wait_nothing_left(self, *, within_s: float, but: str = "?") -> None:
        """Waits until no process of it is left, and no file but its own, the data, and what begins with `but`."""
        __tracebackhide__ = True
        until_none(self.processes, "after its end", within_s=within_s)
        until_none(lambda: self._more_files(but), "of its files", within_s=within_s)

    def _more_files(self, but: str) -> list[str]:
        own = {"said", *(f"work/{path.name}" for path in (self.folder / "work").iterdir() if path.suffix in KEPT)}
        if self.process.returncode == -signal.SIGKILL:
            # Who was killed leaves its control socket, which the next command removes (test_cli_inline.py)
            own |= {path.relative_to(self.folder).as_posix() for path in self.folder.glob("regrow-*/*.sock")}
        more = files_in(self.folder) - own
        return sorted(name for name in more if "__pycache__" not in name and not name.startswith(but))


KEPT = {".py", ".txt", ".toml"}
"""What a program has in its own folder, or writes there on purpose."""


@contextmanager
def driver(files: dict[str, str], *command: str, **variables: str) -> Iterator[Driver]:
    """Writes a program's files into a new folder and runs a command there; ends what is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # short, for the sockets of a Ray
    work = folder / "work"
    work.mkdir()
    for name, text in files.items():
        (work / name).write_text(text, encoding="utf-8")
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=work,
            env=environment(folder, **variables),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Driver(folder, process)
    try:
        yield running
    finally:
        for left in (*running.processes(), Process(process.pid, "the program")):
            send(left.pid, signal.SIGKILL)
        process.wait(END_S)
        shutil.rmtree(folder, ignore_errors=True)


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """The variables for a program whose files are all to be below a folder."""
    ours = ("REGROW_", "RAY_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    places = {"TMPDIR": str(folder), "RAY_TMPDIR": str(folder), "REGROW_DATA_DIR": str(folder / "data")}
    return kept | places | {"PYTHONUNBUFFERED": "1"} | variables
