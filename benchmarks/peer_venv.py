"""Peers that would not fit beside Regrow: each in a venv of its own, driven over its standard input.

A peer process waits for one line, `{"count": …, "window": …}`, measures, and answers with one line.
So it takes turns with us, costs nothing meanwhile, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from measure import Options

HERE = Path(__file__).parent
INSTALL_LIMIT_S = 120
INSTALL_LIMIT_QUICK_S = 25
ANSWER_LIMIT_S = 60
STOP_LIMIT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A package, the version that is measured, and the script that drives it."""

    package: str
    version: str
    script: str


AUTOGEN = Peer(package="autogen-core", version="0.7.5", script="peer_autogen.py")
XOSCAR = Peer(package="xoscar", version="0.12.2", script="peer_xoscar.py")


class PeerMissing(Exception):
    """A peer could not be installed or started; the text says why."""


class PeerProcess:
    """A peer that is ready to measure."""

    def __init__(self, process: asyncio.subprocess.Process, version: str) -> None:
        self._process = process
        self.version = version

    @classmethod
    async def started(cls, peer: Peer, options: Options) -> Self:
        """Installs the peer if need be and starts it. Raises PeerMissing."""
        python = await asyncio.to_thread(_installed, peer, options)
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        process = await asyncio.create_subprocess_exec(
            str(python),
            str(HERE / peer.script),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**outside, "PYTHONPATH": str(HERE)},  # for the processes that a peer starts
        )
        started = cls(process, "")
        started.version = str((await started._answer())["version"])
        return started

    async def rate(self, count: int, window: int) -> float:
        """What the peer measured for so many messages, at most `window` in flight."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"count": count, "window": window}).encode() + b"\n")
        return float((await self._answer())["rate"])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_LIMIT_S)
        except TimeoutError:
            line = b""
        if not line:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            raise PeerMissing("its process ended or did not answer; what it said stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _installed(peer: Peer, options: Options) -> Path:
    """The interpreter of the peer's venv, which is made on first use and kept in the cache folder."""
    pydantic = version("pydantic")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regrow" / "benchmarks"
    home = cache / f"{peer.package}-{peer.version}-pydantic-{pydantic}-py{sys.version_info[0]}{sys.version_info[1]}"
    if not home.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as making:
            made = Path(making) / "venv"
            venv.create(made, symlinks=True, with_pip=False)
            limit_s = INSTALL_LIMIT_QUICK_S if options.quick else INSTALL_LIMIT_S
            _install(made, f"{peer.package}=={peer.version}", f"pydantic=={pydantic}", limit_s=limit_s)
            if not home.exists():  # another run may have been faster
                made.rename(home)
    return home / "bin" / "python"


def _install(home: Path, *wanted: str, limit_s: float) -> None:
    python = str(home / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet"]
    command = [*pip, "--no-compile", "--retries", "1", "--timeout", "10", *wanted]
    # A session of its own, since pip runs a second pip with the other interpreter and both must end.
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, said = process.communicate(timeout=limit_s)
    except BaseException as error:  # also an interrupt: pip must not go on without us
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise PeerMissing(f"pip did not install {wanted[0]} within {limit_s} s") from None
    if process.returncode:
        lines = [line for line in said.splitlines() if "ERROR" in line] or said.splitlines()
        raise PeerMissing(f"pip could not install {wanted[0]}: {lines[-1] if lines else process.returncode}")
