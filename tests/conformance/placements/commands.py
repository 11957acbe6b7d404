"""What a person sees of a stage: `regrow ps`, a process of its own, through a socket like that of `regrow run`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile

import pytest

from regrow.cluster.control import ControlSocket
from tests.conformance.placements.stage import Stage
from tests.integration.shells import REGROW

LIMIT_S = 60.0
"""Far beyond what the command takes on a busy machine."""


async def ps(stage: Stage) -> str:
    """What `regrow ps stage` prints."""
    engine = "ray" if stage.placement.on_ray else "inline"
    with tempfile.TemporaryDirectory(prefix="rg") as short, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", short)
        patch.setenv("COLUMNS", "120")
        async with ControlSocket("stage", engine=engine, request_stop=_nobody_stops) as control:
            control.attach(stage.running)
            done = await asyncio.to_thread(_ran, dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout


async def line_of(stage: Stage, agent: str) -> list[str]:
    """The words of the line about an agent that is named by the last part of its id."""
    printed = await ps(stage)
    lines = [line.split() for line in printed.splitlines()]
    return next((words for words in lines if agent in words), [f"{agent} is not in:", printed])


def _ran(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", REGROW, "ps", "stage"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def _nobody_stops() -> None:
    raise AssertionError("`regrow ps` asks for no stop")
