"""Tools that run in processes of their own, and do there what a test wants."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from regrow.actors.step import Step
from regrow.actors.tool import tool
from regrow.actors.tool_options import ProcessLimits

MARK = "TOOLS_TEST_MARK"
"""The variable by which a test finds all processes that a tool has started."""
MARKED = ProcessLimits(environment=(MARK,))
FEW = ProcessLimits(environment=(MARK,), processes=4)
SMALL = ProcessLimits(environment=(MARK,), memory_bytes=536_870_912)
SHORT = ProcessLimits(environment=(MARK,), cpu_s=1)
LITTLE = ProcessLimits(environment=(MARK,), file_bytes=1_000_000)


@tool(isolation="process", limits=MARKED, timeout_s=60)
def join(words: list[str], step: Step, times: int = 1) -> str:
    """Joins words."""
    return f"{' '.join(words * times)} {step.key.partition('#')[0]}"


@tool(isolation="process", limits=MARKED, timeout_s=60)
async def later() -> tuple[int, str]:
    """Gives something after an await."""
    await asyncio.sleep(0)
    return os.getpid(), str(Path.cwd())


@tool(isolation="process", limits=MARKED, timeout_s=60)
def surroundings() -> dict[str, str]:
    """Tells its environment."""
    return dict(os.environ)


@tool(isolation="process", limits=MARKED, timeout_s=60)
def give(size: int) -> str:
    """Gives much."""
    return "x" * size


@tool(isolation="process", limits=MARKED, timeout_s=60)
def flood(size: int) -> str:
    """Prints much."""
    sys.stdout.write("x" * size)
    sys.stderr.write("y" * size)
    return "printed"


@tool(isolation="process", limits=MARKED, timeout_s=60)
def wrong() -> list[int]:
    """Gives something else."""
    return ["x"]  # type: ignore[list-item]


@tool(isolation="process", limits=MARKED, timeout_s=60)
def end(how: str) -> str:
    """Ends as it is told."""
    match how:
        case "raise":
            raise ValueError("no such shop")
        case "exit":
            sys.exit(3)
        case "at once":
            os._exit(3)
        case _:
            os.kill(os.getpid(), signal.SIGSEGV)
    return ""


@tool(isolation="process", limits=MARKED, timeout_s=60)
def leave(children: int, waits: bool = False) -> str:
    """Starts processes that leave its group, and that nobody waits for."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(children):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                signal.pause()
            os._exit(0)
    if waits:
        signal.pause()
    return "left"


@tool(isolation="process", limits=FEW, timeout_s=60)
def spread() -> str:
    """Starts more processes than it may."""
    for _ in range(30):
        if os.fork() == 0:
            signal.pause()
    signal.pause()
    return ""


@tool(isolation="process", limits=MARKED, timeout_s=4)
def deaf() -> str:
    """Ignores what it is told, for ever."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        signal.pause()


@tool(isolation="process", limits=SMALL, timeout_s=60)
def eat() -> int:
    """Eats memory."""
    eaten = []
    while True:
        eaten.append(bytearray(50_000_000))


@tool(isolation="process", limits=SHORT, timeout_s=60)
def spin() -> int:
    """Is busy for ever."""
    while True:
        pass


@tool(isolation="process", limits=LITTLE, timeout_s=60)
def write(size: int, folder: str = "") -> int:
    """Writes a file."""
    with tempfile.NamedTemporaryFile(dir=folder or None) as file:
        return file.write(b"x" * size)


@tool(isolation="process", limits=MARKED, timeout_s=60)
def connect(port: int) -> str:
    """Connects to a port of this machine."""
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return "connected"
