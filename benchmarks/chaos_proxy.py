"""A proxy between an app and its Redis that knows the journal's scripts, and does harm at the moment that is wanted.

A *trap* waits for one script, of one agent if it is told so, on its way to Redis or on its way back. So a fault hits an
exact window without any hook in the product: a connection is cut when the script has been applied and its reply has
not arrived, a process is killed when what it did is not recorded. The app connects over a socket of the file system,
since there the kernel says which process is at the other end.

Runs on a thread and an event loop of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from time import monotonic

from resp import Frames, NotResp, parts

from regrow.cluster.journal_scripts import SCRIPTS
from regrow.runtime.address import ActorId
from regrow.runtime.journal_entries import partition_of

CHUNK_BYTES = 65_536
CREDENTIALS = struct.Struct("3i")
"""What the kernel says of the other end of a socket: pid, user, group."""
LIMIT_TRAPS = 1_000
LATE_WITHIN_S = 10.0

_NAMES = {script.sha.encode(): script.name for script in SCRIPTS.values()}
_BY_TEXT = {script.text.encode(): script.name for script in SCRIPTS.values()}


class Side(Enum):
    """When a trap springs."""

    BEFORE = "the script is on its way to Redis"
    AFTER = "it was applied, and its reply is on its way back"


class Act(Enum):
    """What a trap does."""

    CUT = "cuts the connection; before, Redis does not get the script"
    KILL = "kills the process at the other end by SIGKILL; before, Redis does not get the script"
    STOP = "stops that process by SIGSTOP; the script goes on to Redis"
    TWICE = "sends the script twice, and hands on the last reply"
    DELAY = "holds up this connection for a while"
    LATE = "kills that process, and keeps the script to send it later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A script that an app runs, as the proxy sees it."""

    name: str
    agent: str
    """Whose it is; empty where the script is for all agents of its partition."""
    command: str
    partition: int
    raw: bytes
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sprung:
    """A trap has done its harm."""

    call: Call
    at_s: float


@dataclass(slots=True, kw_only=True)
class Trap:
    """Waits for a script. It springs once; `sprung` has the result, and cancelling that disarms it."""

    script: str
    side: Side
    act: Act
    agent: str = ""
    fits: Callable[[bytes], bool] | None = None
    """Looks at the reply, on its way back."""
    delay_s: float = 0.0
    then: Trap | None = None
    """Is armed in the moment in which this one springs, so that it takes nothing that came before."""
    sprung: Future[Sprung] = field(default_factory=Future)

    def takes(self, call: Call, side: Side, reply: bytes = b"") -> bool:
        """Whether this is what it waits for; then it is taken."""
        if self.side is not side or self.script != call.name:
            return False
        if (
            self.agent
            and self.agent != call.agent
            and (call.agent or partition_of(ActorId(self.agent)) != call.partition)
        ):
            return False
        if self.fits is not None and not self.fits(reply):
            return False
        return self.sprung.set_running_or_notify_cancel()


class _Severed(Exception):
    """This connection is over."""


@dataclass(slots=True)
class _Sent:
    call: Call | None
    is_extra: bool = False
    """Its reply is kept back, since another one follows."""


class RedisProxy:
    """Listens at one socket and carries all to another."""

    def __init__(self, listens_at: Path, redis_at: Path) -> None:
        self._listens_at = listens_at
        self._redis_at = redis_at
        self._traps: deque[Trap] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="chaos-proxy", daemon=True)
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Returns when it listens."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Cuts all connections; returns when the thread has ended."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._listens_at.unlink(missing_ok=True)

    def arm(self, trap: Trap) -> Future[Sprung]:
        """Sets a trap. From any thread."""
        assert len(self._traps) < LIMIT_TRAPS, "traps that do not spring are to be cancelled"
        self._traps.append(trap)
        return trap.sprung

    def send_late(self, raw: bytes) -> bytes:
        """Sends a script that was kept, on a connection of its own; gives Redis' answer. From another thread.

        Raises OSError while there is no Redis, and TimeoutError where it says nothing.
        """
        sending = asyncio.run_coroutine_threadsafe(self._send_late(raw), self._loop)
        try:
            return sending.result(LATE_WITHIN_S)
        finally:
            sending.cancel()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_unix_server(self._serve, self._listens_at))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        credentials = writer.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size
        )
        try:
            upstream = await asyncio.open_unix_connection(self._redis_at)
            await _Connection(self, CREDENTIALS.unpack(credentials)[0], (reader, writer), upstream).carry()
        except OSError:
            pass  # as if nobody listened
        finally:
            writer.close()
            self._tasks.discard(task)

    def find(self, call: Call, side: Side, reply: bytes = b"") -> Trap | None:
        """The trap that springs here, if there is one; those that were cancelled go."""
        for trap in list(self._traps):
            if trap.sprung.cancelled():
                self._traps.remove(trap)
            elif trap.takes(call, side, reply):
                self._traps.remove(trap)
                return trap
        return None

    async def _send_late(self, raw: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._redis_at)
        try:
            writer.write(raw)
            frames = Frames()
            while data := await reader.read(CHUNK_BYTES):
                if replies := frames.feed(data):
                    return replies[0]
            return b""
        finally:
            writer.close()


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """One connection of the app, and the one to Redis that belongs to it."""

    def __init__(self, proxy: RedisProxy, pid: int, app: Stream, redis: Stream) -> None:
        self._proxy = proxy
        self._pid = pid
        self._app = app
        self._redis = redis
        self._sent: deque[_Sent] = deque()

    async def carry(self) -> None:
        """Carries until one end has closed, or a trap has cut it."""
        ways = [asyncio.ensure_future(way) for way in (self._calls(), self._replies())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for _, writer in (self._app, self._redis):
                writer.close()

    async def _calls(self) -> None:
        frames = Frames()
        while data := await self._app[0].read(CHUNK_BYTES):
            for raw in frames.feed(data):
                await self._call(raw)
            await self._redis[1].drain()

    async def _replies(self) -> None:
        frames = Frames()
        while data := await self._redis[0].read(CHUNK_BYTES):
            for reply in frames.feed(data):
                await self._reply(reply)
            await self._app[1].drain()

    async def _call(self, raw: bytes) -> None:
        call = _seen(raw, self._pid)
        trap = None
        if call is not None:
            trap = self._proxy.find(call, Side.BEFORE)
        if trap is not None and call is not None:
            await self._spring(trap, call)
            if trap.act is Act.TWICE:
                self._redis[1].write(raw)
                self._sent.append(_Sent(call, is_extra=True))
        self._redis[1].write(raw)
        self._sent.append(_Sent(call))

    async def _reply(self, reply: bytes) -> None:
        sent = self._sent.popleft() if self._sent else _Sent(None)
        if sent.is_extra:
            return
        if sent.call is not None and (trap := self._proxy.find(sent.call, Side.AFTER, reply)) is not None:
            await self._spring(trap, sent.call)
        self._app[1].write(reply)

    async def _spring(self, trap: Trap, call: Call) -> None:
        at_s = monotonic()
        if trap.then is not None:
            self._proxy.arm(trap.then)
        match trap.act:
            case Act.KILL | Act.LATE:
                os.kill(self._pid, signal.SIGKILL)  # it has this connection open, so it is who it was
            case Act.STOP:
                os.kill(self._pid, signal.SIGSTOP)
            case Act.DELAY:
                await asyncio.sleep(trap.delay_s)
            case _:
                pass
        trap.sprung.set_result(Sprung(call=call, at_s=at_s))
        if trap.act in (Act.CUT, Act.KILL, Act.LATE):
            raise _Severed


def _seen(raw: bytes, pid: int) -> Call | None:
    """The script that a call runs; None for any other command."""
    if raw[:1] != b"*" or b"EVAL" not in raw[:24]:
        return None
    try:
        verb, script, number, *words = parts(raw)
    except (ValueError, NotResp):
        return None
    name = _NAMES.get(script) if verb == b"EVALSHA" else _BY_TEXT.get(script)
    if name is None:
        return None
    agent = command = ""
    partition = -1
    for key in words[: int(number)]:
        place, _, rest = key.partition(b"}:")
        tag = place.rpartition(b"{")[2]
        partition = int(tag) if tag.isdigit() else -1
        kind, _, whose = rest.partition(b":")
        if kind == b"row":
            agent = whose.decode()
        elif kind == b"mark":
            agent, _, command = whose.decode().partition("\0")
    return Call(name=name, agent=agent, command=command, partition=partition, raw=raw, pid=pid)
