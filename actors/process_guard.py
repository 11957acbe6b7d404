"""Keeps a process that is not ours, and all that it starts: `python -I process_guard.py FD`, started by a host.

Between host and process stands this one, which runs our code alone. When its socket closes (the host wants the process
ended, or was killed) or the process ends, it kills all that is left below, also what has left its group: orphans come
back to it, since it is their subreaper. What the process says on stderr it reads, and keeps the end of it.

It is run as a file and imports the standard library alone, so that a guard that lives for days is small.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

READ_BYTES = 65_536
MAX_ORDER_BYTES = 4_194_304
MAX_ROUNDS = 200
"""How often it kills all that it finds; what forks faster than that is killed with the namespace, or not at all."""
ROUND_S = 0.005
CLOSE_S = 0.5
"""How long a process may take to end once its stdin was closed; then it is told to."""
STOP_S = 1.0
"""How long it may take once it was told to; then it is killed."""
LAST_WORDS_S = 0.2
"""How long it waits for what an ended process has said on stderr; what it started may keep that open."""
KEPT_BYTES = 8_192
"""Of what a process says on stderr, the last so many are kept."""


def main() -> NoReturn:
    """Starts what the host orders, watches it, and reports how it ended. Never returns."""
    host = socket.socket(fileno=int(sys.argv[1]))
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # It stays pending and is looked for: a handler could break into the very killing of what is left.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    report: dict[str, Any] = {}
    try:
        order = _order(host)
        if order is not None:
            report = Watch(host).over(order)
    finally:
        kill_all_below()
    with suppress(OSError):  # of a host that is gone
        host.sendall(json.dumps(report).encode() + b"\n")
    os._exit(0)  # at once: there is nothing here that would have to be put in order


def _order(host: socket.socket) -> dict[str, Any] | None:
    read = b""
    while not read.endswith(b"\n"):
        part = host.recv(READ_BYTES)
        if not part or len(read) > MAX_ORDER_BYTES:
            return None
        read += part
    found: dict[str, Any] = json.loads(read)
    return found


class Watch:
    """One process from its start to its end."""

    def __init__(self, host: socket.socket) -> None:
        self._host = host
        self._said = b""
        self._status: int | None = None
        # A child that ends wakes the select: nothing here looks at the clock while all is well.
        self._woken, wakes = os.pipe()
        for end in (self._woken, wakes):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)

    def over(self, order: dict[str, Any]) -> dict[str, Any]:
        """Runs the order to its end, and says how that was."""
        said, says = os.pipe()
        os.set_blocking(said, False)
        try:
            started = subprocess.Popen(
                order["command"],
                cwd=order["folder"],
                env=order["environment"],
                stdin=0,
                stdout=1,
                stderr=says,
                preexec_fn=_before_exec,  # noqa: PLW1509 # there is one thread
            )
        except (OSError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        os.close(says)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)  # its pipes to the host are its own alone, so that each sees when the other has gone
        os.dup2(nothing, 1)
        while self._status is None:
            if self._host_is_gone(self._look(said, None)):
                self._stop(started.pid, said)
                break
            self._reap(started.pid)
        deadline = time.monotonic() + LAST_WORDS_S
        while (left := deadline - time.monotonic()) > 0 and self._read(said):
            self._look(said, left)
        return self._report()

    def _look(self, said: int, timeout_s: float | None) -> list[Any]:
        watched: list[Any] = [self._host, said, self._woken]
        ready, _, _ = select.select(watched, [], [], timeout_s)
        if self._woken in ready:
            with suppress(BlockingIOError):
                os.read(self._woken, READ_BYTES)
        if said in ready and not self._read(said) and timeout_s is None:
            # Closed while its process lives: a pipe of our own takes its place, which is never ready.
            os.dup2(os.pipe()[0], said)
            os.set_blocking(said, False)
        return ready

    def _host_is_gone(self, ready: list[Any]) -> bool:
        return self._host in ready or signal.SIGTERM in signal.sigpending()  # nothing more is said there: it was closed

    def _read(self, said: int) -> bool:
        """Reads what is there; False at its end."""
        try:
            part = os.read(said, READ_BYTES)
        except BlockingIOError:
            return True
        self._said = (self._said + part)[-KEPT_BYTES:]
        return bool(part)

    def _reap(self, pid: int) -> None:
        """Buries whoever has ended, orphans as well."""
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == pid:
                    self._status = found[1]

    def _stop(self, pid: int, said: int) -> None:
        for patience_s, told in ((CLOSE_S, None), (STOP_S, signal.SIGTERM)):
            if told is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, told)
            deadline = time.monotonic() + patience_s
            while self._status is None and (left := deadline - time.monotonic()) > 0:
                select.select([self._woken], [], [], left)
                with suppress(BlockingIOError):
                    os.read(self._woken, READ_BYTES)
                self._read(said)
                self._reap(pid)
            if self._status is not None:
                return

    def _report(self) -> dict[str, Any]:
        report: dict[str, Any] = {"stderr": self._said.decode("utf-8", "replace")}
        if self._status is not None:
            code = os.waitstatus_to_exitcode(self._status)
            report["signal" if code < 0 else "exit"] = abs(code)
        return report


def _before_exec() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()  # so that a signal to the group of the host, such as Ctrl-C, is not for it


# ---- what is below a process ---------------------------------------------------------------------


def below(pid: int) -> list[int]:
    """The processes below this one, those that it started and those that they did."""
    found: list[int] = []
    pending = [pid]
    while pending:
        parent = pending.pop()
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                children = [int(child) for child in (task / "children").read_text().split()]
                found += children
                pending += children
    return found


def kill_all_below() -> None:
    """Kills whatever is below this process, until nothing is."""
    for _ in range(MAX_ROUNDS):
        found = below(os.getpid())
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that none of them starts another meanwhile
            for pid in found:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not found:
            return
        time.sleep(ROUND_S)


def prctl(option: int, value: int) -> None:
    """Sets one of Linux' options of a process."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
