"""A proxy between an app and its Redis that knows the journal's scripts, and does harm at the moment that is wanted.

A *trap* waits for one script, of one agent if it is told so, on its way to Redis or on its way back. So a fault hits an
exact window without any hook in the product: a connection is cut when the script has been applied and its reply has
not arrived, a process is killed when what it did is not recorded. Who is at the other end `chaos_peers` tells.

Runs on a thread and an event loop of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from time import monotonic

from chaos_peers import pid_of_peer
from resp import Frames, NotResp, parts

from regrow.cluster.journal_scripts import SCRIPTS
from regrow.runtime.address import ActorId
from regrow.runtime.journal_entries import partition_of

CHUNK_BYTES = 65_536
LIMIT_TRAPS = 1_000
LOOPBACK = "127.0.0.1"

Door = Path | int
"""Where an app connects: a socket of the file system, or a port of this machine."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sprung:
    """A trap has done its harm, to a process where that is what it does."""

    call: Call
    at_s: float
    pid: int


@dataclass(slots=True, kw_only=True)
class Trap:
    """Waits for a script. It springs once; `sprung` has the result, and cancelling that disarms it.

    The result is ProcessLookupError where the process that it was for had ended.
    """

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
    """Listens at doors, and carries what comes through each to the socket of the Redis that belongs to it."""

    def __init__(self, ways: Mapping[Door, Path]) -> None:
        self._ways = dict(ways)
        self._traps: deque[Trap] = deque()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="chaos-proxy", daemon=True)
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: OSError | None = None

    def start(self) -> None:
        """Returns when it listens. Raises OSError where it can not."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Cuts all connections; returns when the thread has ended. Harmless where it was not started."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        for door in self._ways:
            if isinstance(door, Path):
                door.unlink(missing_ok=True)

    def arm(self, trap: Trap) -> Future[Sprung]:
        """Sets a trap. From any thread."""
        assert len(self._traps) < LIMIT_TRAPS, "traps that do not spring are to be cancelled"
        self._traps.append(trap)
        return trap.sprung

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        servers: list[asyncio.Server] = []
        try:
            for door, redis_at in self._ways.items():
                servers.append(self._loop.run_until_complete(self._opened(door, redis_at)))
        except OSError as error:
            self._error = error
        self._ready.set()
        if self._error is None:
            self._loop.run_forever()
        for server in servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    def _opened(self, door: Door, redis_at: Path) -> Coroutine[None, None, asyncio.Server]:
        serve = partial(self._serve, redis_at)
        if isinstance(door, Path):
            return asyncio.start_unix_server(serve, door)
        return asyncio.start_server(serve, LOOPBACK, door)

    async def _serve(self, redis_at: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            upstream = await asyncio.open_unix_connection(redis_at)
            await _Connection(self, (reader, writer), upstream).carry()
        except (OSError, asyncio.CancelledError):
            pass  # as if nobody listened; or the proxy has been stopped
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


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """One connection of the app, and the one to Redis that belongs to it."""

    def __init__(self, proxy: RedisProxy, app: Stream, redis: Stream) -> None:
        self._proxy = proxy
        self._pid: int | None = None
        self._app = app
        self._redis = redis
        self._sent: deque[_Sent] = deque()

    async def carry(self) -> None:
        """Carries until one end has closed, or a trap has cut it."""
        ways = [asyncio.ensure_future(way) for way in (self._calls(), self._replies())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for _, writer in (self._app, self._redis):
                writer.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

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
        call = _seen(raw)
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
        try:
            if self._pid is None:
                self._pid = pid_of_peer(self._app[1].get_extra_info("socket"))
            await self._harm(trap)
        except ProcessLookupError as error:
            trap.sprung.set_exception(error)
            raise _Severed from error
        trap.sprung.set_result(Sprung(call=call, at_s=at_s, pid=self._pid))
        if trap.act in (Act.CUT, Act.KILL, Act.LATE):
            raise _Severed

    async def _harm(self, trap: Trap) -> None:
        assert self._pid is not None
        match trap.act:
            case Act.KILL | Act.LATE:
                os.kill(self._pid, signal.SIGKILL)  # it has this connection open, so it is who it was
            case Act.STOP:
                os.kill(self._pid, signal.SIGSTOP)
            case Act.DELAY:
                await asyncio.sleep(trap.delay_s)
            case _:
                pass


def _seen(raw: bytes) -> Call | None:
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
    return Call(name=name, agent=agent, command=command, partition=partition, raw=raw)
