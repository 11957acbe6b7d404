"""The embedded Redis of a local app: a real redis-server in the app's data folder, owned by one process.

It listens on loopback only, under a random password, and writes every change to its append-only file.
It dies with its owner, keeps its URL and its data over crashes, and a clean stop leaves only the data.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
from pathlib import Path

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError

from regrow.cluster.errors import PortInUse, RedisUnavailable
from regrow.cluster.redis_folder import Fsync, Identity, RedisFolder
from regrow.cluster.redis_process import RedisProcess, RedisProgram, find_redis, told
from regrow.runtime.errors import Closed
from regrow.supervisors.intensity import Intensity

START_TIMEOUT_S = 10.0
"""From the start of the process to its first answer."""

LOAD_TIMEOUT_S = 300.0
"""The same, once it answers that it is still reading its append-only file."""

STOP_TIMEOUT_S = 10.0
"""How long an ordered stop may write to the disk before SIGTERM, and then again before SIGKILL."""

KILL_TIMEOUT_S = 5.0
"""How long a death by SIGKILL may take; longer means a process stuck in its disk."""

CALL_TIMEOUT_S = 1.0
"""For one connection or command of ours; the limits above bound what they add up to."""

PAUSES_S = (0.005, 0.01, 0.02, 0.05)
"""Between two questions to a server that does not answer yet; the last one repeats."""

PORTS = range(20_000, 32_768)
"""Above Ray's worker ports and below the ports that Linux gives to outgoing connections: a client that
calls for a server on one of *those* can be connected to itself, and then holds the port."""

PORT_TRIES = 5
"""Somebody may take a port between our look at it and the server's."""

MAX_RESTARTS = 5
RESTARTS_WITHIN_S = 60.0
"""`keep` gives up when the server dies more than MAX_RESTARTS times in this time."""

_log = structlog.get_logger("regrow.cluster.redis_server")


class RedisServer:
    """One embedded server; `start`, `stop`, `restart` and `keep` are for its owner alone.

    All of them belong to the event loop that called `start`.
    """

    def __init__(self, data_dir: Path, *, appendfsync: Fsync = "always", port: int | None = None) -> None:
        """Keeps the data in `<data_dir>/redis`. Without a `port` a free one is chosen."""
        self._folder = RedisFolder(data_dir / "redis")
        self._appendfsync: Fsync = appendfsync
        self._wanted_port = port
        self._identity: Identity | None = None
        self._program: RedisProgram | None = None
        self._process: RedisProcess | None = None
        self._turn = asyncio.Lock()

    @property
    def url(self) -> str:
        """`redis://…` with the password; the same over restarts. Raises Closed when it is not started."""
        if self._identity is None:
            raise _not_started()
        return self._identity.url

    @property
    def pid(self) -> int:
        """The process id of the present life. Raises Closed when it is not started."""
        if self._process is None:
            raise _not_started()
        return self._process.pid

    async def start(self) -> str:
        """Starts the server and returns its URL once it answers; at once when it is started already.

        A server that a killed owner left in the folder is ended first; its port and password are kept,
        so that clients find the new one.

        Raises FolderLocked, PortInUse for a port that was asked for, or RedisUnavailable. A start that
        fails or is cancelled leaves no process and no lock.
        """
        async with self._turn:
            if self._process is not None:
                return self.url
            self._program = await asyncio.to_thread(find_redis)
            self._folder.take()
            try:
                await self._folder.end_orphan()
                self._folder.check_format(self._program)
                await self._launch_somewhere(self._program)
            except BaseException:
                self._folder.forget_identity()
                self._let_go()
                raise
            if self._program.bundled:
                version = told(self._program.version)
                _log.warning("redis_for_development_only", version=version, advice="install redis or valkey")
            return self.url

    async def stop(self) -> None:
        """Ends the server in order: SHUTDOWN, at its limit SIGTERM, then SIGKILL. Idempotent.

        Nothing but the data is left. Raises RedisUnavailable when not even SIGKILL ended it.
        """
        async with self._turn:
            if self._process is None or self._identity is None:
                return
            await _end(self._process, self._identity)
            self._folder.forget_identity()
            self._let_go()

    async def restart(self) -> None:
        """Starts it again on the same port and folder, ending it first if it lives. A stopped one stays so.

        Raises PortInUse when somebody took the port meanwhile, or RedisUnavailable. The folder stays ours
        either way: call `restart` again, or `stop`.
        """
        async with self._turn:
            await self._restart()

    async def wait_exit(self) -> int:
        """Waits until the present process is dead; its exit code, or the negative signal number."""
        if self._process is None:
            raise _not_started()
        return await asyncio.shield(self._process.exited)

    async def keep(self) -> None:
        """Restarts the server whenever it dies; returns once it is stopped.

        Raises RedisUnavailable when it dies too often, or what `restart` raises.
        """
        window = Intensity(max_restarts=MAX_RESTARTS, within_s=RESTARTS_WITHIN_S)
        while (process := self._process) is not None:
            code = await asyncio.shield(process.exited)
            async with self._turn:
                if self._process is not process:
                    continue  # its end was ordered, by stop or restart
                verdict = window.record("redis", now_s=asyncio.get_running_loop().time())
                if verdict.escalates:
                    raise RedisUnavailable(
                        f"redis-server died {MAX_RESTARTS + 1} times within {RESTARTS_WITHIN_S:g} s, the last time "
                        f"with code {code} ({self._folder.last_words()}); look into {self._folder.log_path}"
                    )
                _log.warning("redis_died", pid=process.pid, code=code, next="it is started again")
                await self._restart()

    async def _restart(self) -> None:
        if self._process is None or self._identity is None or self._program is None:
            return
        await _end(self._process, self._identity)
        await self._launch(self._program, self._identity)

    async def _launch_somewhere(self, program: RedisProgram) -> None:
        """Launches on the port asked for, else on the one of the last life, else on a free one."""
        identity = self._folder.read_identity()
        if self._wanted_port is not None:
            password = identity.password if identity else secrets.token_urlsafe(32)
            await self._launch(program, Identity(self._wanted_port, password))
            return
        for _ in range(PORT_TRIES):
            try:
                await self._launch(program, identity or Identity(_free_port(), secrets.token_urlsafe(32)))
                return
            except PortInUse as error:
                _log.warning("redis_port_taken", port=error.port, next="another one is tried")
                identity = None
        raise RedisUnavailable(f"found no free port for redis-server in {PORT_TRIES} tries; start again")

    async def _launch(self, program: RedisProgram, identity: Identity) -> None:
        """Starts one process and waits until it answers; on failure no process is left."""
        folder = self._folder
        config = folder.config(identity, self._appendfsync)
        try:
            folder.write_identity(identity)
            with folder.open_log() as log:
                said_before = log.tell()
                process = await RedisProcess.start(program.path, config, folder=folder.path, log=log)
        except OSError as error:
            raise RedisUnavailable(f"redis-server could not be started in {folder.path}: {error}") from error
        self._identity, self._process = identity, process
        try:
            await self._wait_ready(process, identity, said_before)
        except BaseException:
            process.signal(signal.SIGKILL)
            await asyncio.shield(process.wait_exit(KILL_TIMEOUT_S))
            raise
        _log.info("redis_started", port=identity.port, pid=process.pid)

    async def _wait_ready(self, process: RedisProcess, identity: Identity, said_before: int) -> None:
        """Returns at the first answer; raises at once when the process dies."""
        loop = asyncio.get_running_loop()
        began_s, limit_s = loop.time(), START_TIMEOUT_S
        pauses_s = iter(PAUSES_S)
        async with _client(identity) as client:
            while loop.time() - began_s < limit_s:
                try:
                    # The port may belong to an older life of ours.
                    if (await client.info("server"))["process_id"] == process.pid:
                        await client.ping()  # which, unlike INFO, is refused while it loads
                        return
                except BusyLoadingError:
                    limit_s = LOAD_TIMEOUT_S
                except RedisError:
                    pass  # not listening yet, or another program has the port: then ours ends and says so
                if await process.wait_exit(next(pauses_s, PAUSES_S[-1])):
                    raise self._died_early(process, identity, said_before)
        raise RedisUnavailable(
            f"redis-server (pid {process.pid}) did not answer within {limit_s:g} s; look into {self._folder.log_path}"
        )

    def _died_early(self, process: RedisProcess, identity: Identity, said_before: int) -> Exception:
        words = self._folder.last_words(said_before)
        if "Address already in use" in words:
            return PortInUse(identity.port, "redis-server")
        return RedisUnavailable(
            f"redis-server ended at its start with code {process.exited.result()} ({words}); "
            f"look into {self._folder.log_path}"
        )

    def _let_go(self) -> None:
        self._process = self._identity = None
        self._folder.let_go()


async def _end(process: RedisProcess, identity: Identity) -> None:
    """SHUTDOWN by client, then SIGTERM, then SIGKILL. Returns when it is dead."""
    if process.exited.done():
        return
    try:
        async with _client(identity) as client:
            # NOSAVE is about snapshots; the append-only file is written and synced all the same.
            await client.shutdown(nosave=True)
    except RedisError:
        pass  # one that does not answer meets the signals below
    if await process.wait_exit(STOP_TIMEOUT_S):
        return
    for number, limit_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, KILL_TIMEOUT_S)):
        _log.warning("redis_does_not_stop", pid=process.pid, next=number.name)
        process.signal(number)
        if await process.wait_exit(limit_s):
            return
    raise RedisUnavailable(f"redis-server (pid {process.pid}) did not end, not even by SIGKILL; its disk may hang")


def _client(identity: Identity) -> Redis:
    # No retries: what follows a failure is decided here, not in the client.
    return Redis(
        host="127.0.0.1",
        port=identity.port,
        password=identity.password,
        socket_connect_timeout=CALL_TIMEOUT_S,
        socket_timeout=CALL_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def _free_port() -> int:
    for _ in range(100):
        port = secrets.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RedisUnavailable(f"no port between {PORTS.start} and {PORTS.stop} is free; name a running Redis by redis.url")


def _not_started() -> Closed:
    return Closed("this Redis server is not started; call start() first")
