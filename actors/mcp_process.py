"""An MCP server that is a process of its own, spoken to by its pipes; see `process_guard` for what keeps it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.actors import process_guard
from regrow.actors.mcp_wire import Flooded, Lines, Printed, Sized

if TYPE_CHECKING:
    from regrow.actors.mcp_options import ServerOptions

READ_BYTES = 65_536
END_GRACE_S = 3.0
"""How long the guard may take to end what it keeps, and to say how that was; then its group is killed by force."""
MAX_REPORT_BYTES = 131_072
FOR_PYTHON = ("LD_LIBRARY_PATH",)
"""What the guard's own Python may need to start."""
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ")
"""Of the host's environment, beside what is named."""


class ServerProcess:
    """One process of a server, from its start to its end."""

    def __init__(self, options: ServerOptions, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._transport: asyncio.SubprocessTransport | None = None
        self._pipes: _Pipes | None = None
        self._to_guard: asyncio.StreamWriter | None = None
        self._from_guard: asyncio.StreamReader | None = None
        self._report: dict[str, Any] = {}

    @asynccontextmanager
    async def streams(self) -> AsyncGenerator[Any]:
        """Its messages and where to send some, as the SDK takes them. At the end nothing of it is left."""
        import anyio
        from mcp.shared.message import SessionMessage

        process = await self._started()  # from here on nothing waits until the end is sure to be seen to
        to_reader, reads = anyio.create_memory_object_stream[Any](0)
        writes, to_write = anyio.create_memory_object_stream[SessionMessage](0)
        pipes = [
            asyncio.ensure_future(self._read(process, to_reader)),
            asyncio.ensure_future(_write(process, to_write)),
        ]
        try:
            yield reads, writes
        finally:
            for stream in (reads, writes):
                stream.close()
            with anyio.CancelScope(shield=True):  # bounded; where that is broken into, the guard ends it all the same
                await self._end(process)
                for pipe in pipes:
                    pipe.cancel()
                await asyncio.gather(*pipes, return_exceptions=True)
            for stream in (to_reader, to_write):
                stream.close()

    def last_words(self) -> str:
        """How it ended, and the end of what it said on stderr; only at the end of `streams`."""
        report = self._report
        if "error" in report:
            return str(report["error"])
        how = "it was ended"
        if "exit" in report:
            how = f"it ended with exit code {report['exit']}"
        elif "signal" in report:
            number = int(report["signal"])
            name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
            how = f"it was ended by {name}"
        said = str(report.get("stderr", "")).strip()
        return f"{how}; its stderr: {said}" if said else how

    async def _started(self) -> asyncio.subprocess.Process:
        loop = asyncio.get_running_loop()
        ours, its = socket.socketpair()
        try:
            self._from_guard, self._to_guard = await asyncio.open_connection(sock=ours, limit=MAX_REPORT_BYTES)
            transport, protocol = await loop.subprocess_exec(
                lambda: _Pipes(limit=READ_BYTES, loop=loop),
                sys.executable,
                "-I",
                process_guard.__file__,
                str(its.fileno()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=(its.fileno(),),
                env={name: os.environ[name] for name in FOR_PYTHON if name in os.environ},
                start_new_session=True,  # so that Ctrl-C at the host is not for it, and it can be killed as a group
            )
        except BaseException:
            if self._to_guard is not None:
                self._to_guard.close()
            ours.close()
            raise
        finally:
            its.close()
        self._transport, self._pipes = transport, protocol
        order = {
            "command": self._options.command,
            "folder": str(self._folder),
            "environment": self._environment(),
        }
        self._to_guard.write(json.dumps(order).encode() + b"\n")
        return asyncio.subprocess.Process(transport, protocol, loop)

    def _environment(self) -> dict[str, str]:
        names = (*PASSED_ON, *self._options.environment)
        return {name: os.environ[name] for name in names if name in os.environ}

    async def _read(self, process: asyncio.subprocess.Process, to_reader: Any) -> None:
        import anyio
        from mcp.shared.message import SessionMessage
        from mcp.types import jsonrpc_message_adapter

        assert process.stdout is not None
        lines = Lines()
        try:
            async with to_reader:
                try:
                    while part := await process.stdout.read(READ_BYTES):
                        for line in lines.feed(part):
                            if not isinstance(line, bytes):
                                await to_reader.send(line)
                            elif line.strip():
                                try:
                                    message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                                    item: Sized | Printed = Sized(SessionMessage(message), len(line))
                                except ValueError:
                                    item = Printed(line)
                                await to_reader.send(item)
                except Flooded as error:
                    await to_reader.send(error)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError):
            pass  # the session is being closed

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Has the guard end it, if it has not ended, and hears how that was."""
        guard = self._to_guard
        assert process.stdin is not None and guard is not None and self._from_guard is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(END_GRACE_S):
                if guard.can_write_eof():
                    guard.write_eof()
                said = await self._from_guard.readline()
            self._report = json.loads(said) if said else {}
        except TimeoutError:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it keeps has its own SIGKILL from the kernel then
        except (OSError, ValueError):
            pass  # it is gone, and has said nothing
        finally:
            guard.close()
            assert self._transport is not None and self._pipes is not None
            await asyncio.wait((self._pipes.exited,), timeout=END_GRACE_S)  # else closing it would steal its exit code
            self._transport.close()


class _Pipes(asyncio.subprocess.SubprocessStreamProtocol):
    """The pipes to a process, and word of its exit, which does not wait until all has been read from them."""

    def __init__(self, *, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=limit, loop=loop)
        self.exited: asyncio.Future[None] = loop.create_future()

    def process_exited(self) -> None:
        super().process_exited()
        if not self.exited.done():
            self.exited.set_result(None)


async def _write(process: asyncio.subprocess.Process, to_write: Any) -> None:
    assert process.stdin is not None
    async with to_write:
        async for item in to_write:
            written = item.message.model_dump_json(by_alias=True, exclude_unset=True)
            try:
                process.stdin.write(written.encode() + b"\n")
                await process.stdin.drain()
            except (ConnectionError, RuntimeError):
                return  # it has ended, which its stdout says as well
