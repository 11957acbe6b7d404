"""Runs a tool in a process of its own, and leaves nothing of it: see `tool_child` for what is on the other side."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from regrow.actors.skill import SKILL_MODULES
from regrow.actors.tool_errors import ToolFailed
from regrow.actors.tool_folders import new_folder, remove
from regrow.actors.tool_order import END, READ_BYTES, Order
from regrow.actors.tool_result import Written, failed, invalid, too_large
from regrow.actors.tool_sandbox import sandbox
from regrow.runtime.immutable import importable_module

if TYPE_CHECKING:
    from regrow.actors.step import Step
    from regrow.actors.tool import Tool

END_GRACE_S = 2.0
"""How long the outer process may take to kill what is below it; then its group is killed by force."""
KEPT_OUTPUT_BYTES = 8_192
"""Of what a tool prints, the last so many are kept for the log; all else is read and dropped."""
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV")

log = structlog.get_logger("regrow.tools")


class Talk(asyncio.SubprocessProtocol):
    """What comes from the process, bounded while it is read."""

    def __init__(self, limit_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self._limit = limit_bytes
        self.answer = bytearray()
        self.tail = b""
        self.printed_bytes = 0
        self.answered: asyncio.Future[None] = loop.create_future()
        """Done when all of the answer is there, or more than there may be."""
        self.exited: asyncio.Future[None] = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self.answer += data[: self._limit + 1 - len(self.answer)]
            if len(self.answer) > self._limit:
                _done(self.answered)
        else:
            self.printed_bytes += len(data)
            self.tail = (self.tail + data)[-KEPT_OUTPUT_BYTES:]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            _done(self.answered)

    def process_exited(self) -> None:
        _done(self.exited)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def run_apart(tool: Tool[Any], arguments: str, step: Step | None) -> Written:
    """The result of a tool's function, run in a process of its own. Cancelled, it ends that with all below it.

    Raises ToolError.
    """
    folder = new_folder()
    try:
        command = [*await sandbox(folder), sys.executable, "-m", "regrow.actors.tool_child"]
        talk = await _talked(command, folder, tool, _order(tool, arguments, step))
    finally:
        await remove(folder)
    if talk.printed_bytes:
        log.debug(
            "a tool has printed", tool=tool.name, bytes=talk.printed_bytes, last=talk.tail.decode(errors="replace")
        )
    return _read(tool, talk)


async def _talked(command: list[str], folder: str, tool: Tool[Any], order: Order) -> Talk:
    loop = asyncio.get_running_loop()
    transport, talk = await loop.subprocess_exec(
        lambda: Talk(order.result_bytes + READ_BYTES),
        *command,
        cwd=folder,
        env=_environment(tool, folder),
        start_new_session=True,  # so that Ctrl-C at the host is not for it, and it can be killed as a group
    )
    try:
        to_child: Any = transport.get_pipe_transport(0)
        to_child.write(order.line())
        await talk.answered
        return talk
    finally:
        await _end(transport, talk)


async def _end(transport: asyncio.SubprocessTransport, talk: Talk) -> None:
    """Ends the process, if it has not: by its pipe, so that it kills what is below it; then by force."""
    pid = transport.get_pid()
    try:
        to_child: Any = transport.get_pipe_transport(0)
        if to_child is not None:
            to_child.write(END)
            to_child.close()
        await asyncio.wait((talk.exited,), timeout=END_GRACE_S)
    finally:
        if not talk.exited.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        transport.close()


def _order(tool: Tool[Any], arguments: str, step: Step | None) -> Order:
    limits, module = tool.limits, tool.function.__module__
    return Order(
        module=importable_module(module),
        file=str(sys.modules[module.partition(".")[0]].__file__) if module.startswith(SKILL_MODULES) else "",
        qualname=tool.function.__qualname__,
        hash=tool.hash,
        arguments=arguments,
        step=(step.key, step.epoch) if step is not None else None,
        result_bytes=tool.result_bytes,
        memory_bytes=limits.memory_bytes,
        cpu_s=limits.cpu_s if limits.cpu_s is not None else math.ceil(tool.timeout_s) + 1,
        file_bytes=limits.file_bytes,
        files=limits.files,
        processes=limits.processes,
    )


def _environment(tool: Tool[Any], folder: str) -> dict[str, str]:
    """Nothing that is secret: what is needed to run Python here, and what the tool's author has named."""
    names = (*PASSED_ON, *tool.limits.environment)
    found = {name: os.environ[name] for name in names if name in os.environ}
    found.update(
        HOME=folder,
        TMPDIR=folder,
        PYTHONPATH=os.pathsep.join(path for path in sys.path if path),
        PYTHONSAFEPATH="1",
        PYTHONDONTWRITEBYTECODE="1",
    )
    return found


def _read(tool: Tool[Any], talk: Talk) -> Written:
    """What the answer means. Raises ToolError."""
    line, newline, result = bytes(talk.answer).partition(b"\n")
    if not newline:
        raise ToolFailed(f"{tool.name} failed: its process ended without an answer", tool=tool.name)
    match json.loads(line):
        case {"result": True}:
            return Written(result.decode())
        case {"failed": str(kind), "text": str(text)}:
            raise failed(tool, kind, text)
        case {"invalid": str(why), "gave": str(gave)}:
            raise invalid(tool, why, gave)
        case {"too_large": True}:
            raise too_large(tool, f"more than {tool.result_bytes:,} bytes")
        case {"processes": int(limit)}:
            raise ToolFailed(f"{tool.name} failed: it started more than {limit} processes (processes)", tool=tool.name)
        case {"signal": int(number)}:
            raise ToolFailed(f"{tool.name} failed: its process was ended by {_named(number)}", tool=tool.name)
        case other:
            raise ToolFailed(f"{tool.name} failed: its process ended ({other})", tool=tool.name)


def _named(number: int) -> str:
    match number:
        case signal.SIGXCPU:
            return "the limit of its time of the processor (cpu_s)"
        case signal.SIGKILL:
            return "SIGKILL: by itself, or since memory or time of the processor ran out"
        case _:
            return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
