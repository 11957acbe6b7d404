"""The control socket of a running app: who may look at it, ask, kill and restart its agents, and stop it.

    async with ControlSocket("desk", engine="inline", request_stop=…) as control, app.start() as running:
        control.attach(running)

Entered before the app starts, it claims the app's name for this user on this machine, so that a second
app of the same name does not even begin. Left after the app has stopped, its end is what `stop` waits
for. The protocol and the client are in `control_client`; nothing is pickled and no code is named.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from regrow.cluster import answers, past_turns, set_aside
from regrow.cluster.cli_ask import message_for, plain_value, request_class
from regrow.cluster.config import Settings
from regrow.cluster.control_client import (
    ANSWER_LIMIT_BYTES,
    PROTOCOL_VERSION,
    READ_SIZE_BYTES,
    REQUEST_LIMIT_BYTES,
    exit_code_of,
    folder_lock,
    make_runtime_dir,
    mark_held,
    peer_principal,
    remove_stale,
    socket_path,
)
from regrow.cluster.control_orders import (
    AboutOrder,
    AnyOrder,
    ApproveOrder,
    AskOrder,
    DeadLettersOrder,
    DecideOrder,
    DeedOrder,
    HistoryOrder,
    ListedOrder,
    MessagesOrder,
    MetricsOrder,
    StopOrder,
    TreeOrder,
    parsed,
)
from regrow.cluster.deeds import Deed
from regrow.cluster.errors import AppAlreadyRunning, AppNotRunning, NoSuchAgent
from regrow.cluster.letters import letters_told
from regrow.cluster.pausable_loop import PausableLoop
from regrow.cluster.tree import written
from regrow.runtime.address import ActorId
from regrow.runtime.errors import Closed, Misuse, RegrowError
from regrow.runtime.lifecycle import ExitReason, Shutdown
from regrow.runtime.redaction import Redaction, cut_without
from regrow.supervisors.children import REASON_LIMIT_CHARS

if TYPE_CHECKING:
    from regrow.cluster.app import Running

CONNECTIONS_LIMIT = 32
"""How many may be served at once; the next is told so."""

READ_TIMEOUT_S = 10.0
"""How long a client may take to write its one line."""

WRITE_TIMEOUT_S = 10.0
"""How long a client may take to read its answer."""

REASONS_KEPT = 1_000
"""So many reasons are remembered with their secrets taken out, for each look finds most of them again."""


class ControlSocket:
    """The socket of one app, from before its start until after its stop; enter it, or `open` and `aclose`."""

    def __init__(
        self, app: str, *, engine: str, request_stop: Callable[[], None], settings: Settings | None = None
    ) -> None:
        """`request_stop` begins an orderly stop at once and may be called more than once; settings are the app's."""
        known = settings if settings is not None else Settings()
        self.app = app
        self._engine = engine
        self._data_dir = known.data_dir_of(app)
        self._redact = Redaction(known.tracing.redact)
        self._reason = lru_cache(REASONS_KEPT)(partial(cut_without, self._redact, limit_chars=REASON_LIMIT_CHARS))
        self._request_stop = request_stop
        self._started_at = datetime.now(UTC)
        self._path = Path()
        self._inode = 0
        self._listener: socket.socket | None = None
        self._running: Running | None = None
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[ExitReason] = self._loop.create_future()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def open(self) -> None:
        """Claims the name and listens. Raises AppAlreadyRunning, or WorldBroke without a folder of ours."""
        self._listener = await asyncio.to_thread(self._bind)
        self._loop.add_reader(self._listener, self._accept, self._listener)
        if isinstance(self._loop, PausableLoop):
            self._loop.watch.tell(self._held)

    def attach(self, running: Running) -> None:
        """The app has started: from now on its tree can be seen and its agents be asked."""
        self._running = running

    def ended(self, reason: ExitReason) -> None:
        """The app has stopped, and why; whoever waits for its stop is told so."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def aclose(self) -> None:
        """Gives the name free; those who wait for an answer get it first. Idempotent."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        self._loop.remove_reader(listener)
        if isinstance(self._loop, PausableLoop):
            self._loop.watch.untell(self._held)
        listener.close()
        self.ended(Shutdown(detail="the app was stopped"))
        await asyncio.to_thread(self._remove)
        if self._serving:
            _, late = await asyncio.wait(self._serving, timeout=WRITE_TIMEOUT_S)
            for task in late:
                task.cancel()

    def _held(self, by_debugger: bool) -> None:
        """Called by the thread that looks for debuggers: who asks waits as long as one has this process."""
        with suppress(FileNotFoundError):  # somebody has emptied the folder, so nobody asks here
            mark_held(self._path, by_debugger=by_debugger)

    def _bind(self) -> socket.socket:
        path = self._path = socket_path(self.app)
        with folder_lock(make_runtime_dir()):
            if path.exists() and (pid := remove_stale(path)) is not None:
                raise AppAlreadyRunning(self.app, pid)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listener.bind(os.fspath(path))
                path.chmod(0o600)
                # Within the lock: at a socket that does not listen yet, others would think nobody is there.
                listener.listen(CONNECTIONS_LIMIT)
                listener.setblocking(False)
            except BaseException:
                listener.close()
                raise
            self._inode = path.stat().st_ino
        return listener

    def _remove(self) -> None:
        """Removes the socket, unless it is meanwhile another one's: somebody may have emptied the folder."""
        try:
            with folder_lock(self._path.parent):
                if self._path.stat().st_ino == self._inode:
                    self._path.unlink()
        except FileNotFoundError:
            pass

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # the client has gone already
        connection.setblocking(False)
        crowded = len(self._serving) >= CONNECTIONS_LIMIT
        task = self._loop.create_task(self._serve(connection, crowded=crowded))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        task.add_done_callback(lambda _: connection.close())

    async def _serve(self, connection: socket.socket, *, crowded: bool) -> None:
        try:
            answer = await self._answer(connection, crowded=crowded)
            await asyncio.wait_for(self._loop.sock_sendall(connection, answer), WRITE_TIMEOUT_S)
        except (ConnectionError, TimeoutError):
            pass  # the client has gone or does not read; there is nobody to tell

    async def _answer(self, connection: socket.socket, *, crowded: bool) -> bytes:
        """The answer to one request; nothing for a client that only looked whether somebody is here."""
        try:
            line = await self._read_line(connection)
            if not line:
                return b""
            if crowded:
                raise Closed(f"{self.app} answers as many as it can, {CONNECTIONS_LIMIT} at once; try again")
            found = await self._do(parsed(line), connection)
            told = found if isinstance(found, bytes) else json.dumps(found).encode()
            answer = b'{"v": %d, "ok": %b}\n' % (PROTOCOL_VERSION, told)
            if len(answer) > ANSWER_LIMIT_BYTES:
                raise Misuse(
                    f"the answer has {len(answer):,} bytes and at most {ANSWER_LIMIT_BYTES:,} are sent; ask for less"
                )
            return answer
        except RegrowError as error:
            return self._refusal(error)

    async def _read_line(self, connection: socket.socket) -> bytes:
        """One line; empty when the client closed without one. Raises Misuse for one that is too long or too slow."""
        line = bytearray()
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                while not line.endswith(b"\n"):
                    part = await self._loop.sock_recv(connection, READ_SIZE_BYTES)
                    if not part:
                        return b""
                    line += part
                    if len(line) > REQUEST_LIMIT_BYTES:
                        raise Misuse(f"a request has at most {REQUEST_LIMIT_BYTES:,} bytes; send less")
        except TimeoutError:
            raise Misuse(f"a request is one line, and none came within {READ_TIMEOUT_S:g} s") from None
        return bytes(line)

    async def _do(self, order: AnyOrder, connection: socket.socket) -> object:
        match order:
            case AboutOrder():
                return self._about()
            case TreeOrder():
                return await written(self._started().engine.walk(), redact=self._reason)
            case AskOrder():
                return await self._ask(self._started(), order)
            case DeadLettersOrder():
                return letters_told(await self._started().dead_letters(), now=datetime.now(UTC))
            case MetricsOrder():
                return await self._started().metrics()
            case MessagesOrder():
                had = await self._started().engine.messages(ActorId(order.agent))
                return {"messages": None if had is None else [each.model_dump(mode="json") for each in had]}
            case DeedOrder():
                running = self._started()
                deed, actor = Deed(order.do), ActorId(order.agent)
                done = await running.engine.carry_out(deed, actor, timeout_s=order.timeout_s)
                return {**done.model_dump(mode="json"), "why": self._reason(done.why)}
            case ListedOrder():
                listed = set_aside.listed if order.do == "set_aside" else answers.waits
                return await listed(self._started(), order.agent)
            case DecideOrder():
                by = await asyncio.to_thread(peer_principal, connection)
                return await set_aside.decided(self._started(), order.id, order.decision, order.assume, by=by)
            case ApproveOrder():
                by = await asyncio.to_thread(peer_principal, connection)  # whom a directory elsewhere may have to name
                return await answers.approved(self._started(), order.id, order.fields, order.words, by=by)
            case HistoryOrder():
                return await past_turns.turns_of(self._started(), order.agent, order.limit)
            case StopOrder():
                self._stopping = True
                self._request_stop()
                reason = await asyncio.shield(self._ended)
                return {"app": self.app, "reason": reason.model_dump(mode="json"), "text": str(reason)}

    def _about(self) -> dict[str, object]:
        state = "stopping" if self._stopping else "running" if self._running is not None else "starting"
        return {
            "app": self.app,
            "engine": self._engine,
            "pid": os.getpid(),
            "data_dir": str(self._data_dir),
            "started_at": self._started_at.isoformat(timespec="seconds"),
            "state": state,
        }

    async def _ask(self, running: Running, order: AskOrder) -> dict[str, object]:
        target = running.app.made_from(ActorId(order.agent))
        if target is None:
            known = [*running.app.agents, *(f"{kind}/KEY" for kind in running.app.keyed.kinds)]
            raise NoSuchAgent(self.app, order.agent, known=known)
        message = message_for(order.agent, request_class(order.agent, target, order.type), order.fields, order.words)
        reply = await running.ref(order.agent).ask(message, timeout_s=order.timeout_s)
        return {"agent": order.agent, "type": type(message).__name__, "reply": plain_value(reply)}

    def _started(self) -> Running:
        if self._running is None or self._ended.done():
            state = "has ended" if self._ended.done() else "is still starting; try again in a moment"
            raise AppNotRunning(self.app, f"{self.app} {state}")
        return self._running

    def _refusal(self, error: RegrowError) -> bytes:
        # What somebody is to write otherwise is told as it was written; all else may have words of an agent in it.
        text = str(error) if isinstance(error, Misuse) else self._redact(str(error))
        told = {"type": type(error).__name__, "text": text, "exit_code": exit_code_of(error)}
        return json.dumps({"v": PROTOCOL_VERSION, "error": told}).encode() + b"\n"
