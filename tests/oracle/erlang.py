"""Finds Erlang/OTP, or fetches Debian's package of it: the oracle's own machine.

`erl` on the PATH is taken when it is there. Else `apt-get download erlang-base` is unpacked into
`.venv/erlang`, which needs neither root nor an installation; it is kept there for the next time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FETCHED = ROOT / ".venv" / "erlang"
"""Beside what pip has installed: `make clean` removes both."""

SOURCE = Path(__file__).with_name("otp_oracle.erl")
BEAM = "otp_oracle.beam"
FETCH_LIMIT_S = 120.0
COMPILE_LIMIT_S = 60.0


class NoErlang(Exception):
    """There is no Erlang here and none can be had; the text says what was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erlang:
    """How to start a virtual machine."""

    command: str
    environment: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def env(self) -> dict[str, str]:
        """The environment it needs, on top of our own."""
        return {**os.environ, **self.environment}


def find_erlang() -> Erlang:
    """The Erlang of this machine, or else the one in `.venv/erlang`, fetched if need be. Raises NoErlang."""
    installed = shutil.which("erl")
    if installed is not None:
        return Erlang(command=installed)
    if not _unpacked(FETCHED):
        _fetch(FETCHED)
    (erts,) = _unpacked(FETCHED)
    # The script `erl` has the folder it was packaged for written into it; what it starts takes it from these.
    places = {"ROOTDIR": str(erts.parent), "BINDIR": str(erts / "bin"), "EMU": "beam", "PROGNAME": "erl"}
    return Erlang(command=str(erts / "bin" / "erlexec"), environment=places)


def compiled(erlang: Erlang) -> Path:
    """The folder with the compiled oracle; compiled again only when its source has changed."""
    digest = hashlib.sha256(SOURCE.read_bytes() + erlang.command.encode()).hexdigest()[:16]
    folder = ROOT / ".venv" / "oracle" / digest
    if not (folder / BEAM).exists():
        folder.mkdir(parents=True, exist_ok=True)
        # The compiler removes what was there before it writes, under the hands of another run: moved as a whole.
        with tempfile.TemporaryDirectory(dir=folder) as waiting:
            options = f'[{{outdir, "{waiting}"}}, report]'
            compile_it = f'case compile:file("{SOURCE}", {options}) of {{ok, _}} -> halt(0); _ -> halt(1) end.'
            command = [erlang.command, "-noshell", "-noinput", "-eval", compile_it]
            subprocess.run(command, env=erlang.env, check=True, timeout=COMPILE_LIMIT_S)
            (Path(waiting) / BEAM).replace(folder / BEAM)
    return folder


def _unpacked(folder: Path) -> list[Path]:
    """The folder of the machine itself, none before it is unpacked."""
    return [path for path in folder.glob("usr/lib/erlang/erts-*") if (path / "bin" / "erlexec").exists()][:1]


def _fetch(folder: Path) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise NoErlang(f"there is no `erl` here and no {tool} to fetch Debian's erlang-base with")
    waiting = folder.with_name(f"erlang.{os.getpid()}")  # moved as a whole, so that two runs never share a half
    waiting.mkdir(parents=True, exist_ok=True)
    try:
        if not _downloaded(waiting):
            # A fresh container has no package lists; only root may fetch them.
            subprocess.run(["apt-get", "--quiet", "update"], capture_output=True, check=False, timeout=FETCH_LIMIT_S)
            if not _downloaded(waiting):
                raise NoErlang(
                    "there is no `erl` here, and `apt-get download erlang-base` gives none: is there a network?"
                )
        (package,) = waiting.glob("erlang-base_*.deb")
        subprocess.run(["dpkg-deb", "--extract", package.name, "."], cwd=waiting, check=True, timeout=FETCH_LIMIT_S)
        package.unlink()
        try:
            waiting.rename(folder)
        except OSError:  # another run was here first
            if not _unpacked(folder):
                raise
    except subprocess.TimeoutExpired as error:
        raise NoErlang(f"there is no `erl` here, and {error.cmd} did not end within {error.timeout:g} s") from error
    finally:
        shutil.rmtree(waiting, ignore_errors=True)


def _downloaded(folder: Path) -> bool:
    command = ["apt-get", "--quiet", "download", "erlang-base"]
    subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=FETCH_LIMIT_S)
    return any(folder.glob("erlang-base_*.deb"))
