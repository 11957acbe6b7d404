"""The line between the process of a test and the hosts of its app on Ray: which turns crash, and what the script says.

The test's process listens on loopback; a host that was told where connects when its first agent has something to
handle. Whoever knows the word of the run may speak. Everything is a Message in the frame format of the links, so that
nothing is pickled, and functions of a script run where the test does.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import secrets
from typing import TYPE_CHECKING

from regrow.cluster.errors import ScriptBroke
from regrow.cluster.testing_playbook import Playbook, SeenTurn
from regrow.router.catalog import ModelCard
from regrow.router.errors import ProviderUnreachable
from regrow.router.provider import Emit, ProviderReply, words_of
from regrow.router.request import ModelRequest
from regrow.runtime import ActorId, CodeNotImportable, Incarnation, Message, RegrowError
from regrow.runtime.packing import Opaque, opened, pack, unpack
from regrow.runtime.signals import Failure, failure_of

if TYPE_CHECKING:
    from regrow.router.provider import Provider

HOST = "127.0.0.1"
FRAME_LIMIT_BYTES = 64 * 1024 * 1024
"""A frame that is larger is taken for noise, and its line is cut."""
LENGTH_BYTES = 4


class TurnBegins(Message):
    """A handler is about to get a message."""

    call: int
    agent: str
    incarnation: int
    message: Opaque


class TurnEnded(Message):
    """A handler is done."""

    number: int


class Cue(Message):
    """The answer to TurnBegins; see Playbook.begins."""

    call: int
    number: int
    crash: str


class ScriptAsked(Message):
    """A request for the script, and the model that the router has chosen for it."""

    call: int
    request: ModelRequest
    card: ModelCard


class ScriptSaid(Message):
    """The answer to ScriptAsked: a reply, a failure to raise, or how the test's own function broke."""

    call: int
    said: ProviderReply | None = None
    failure: Failure | None = None
    broke: str = ""


class Prompter:
    """The end in the test's process."""

    def __init__(self, playbook: Playbook, script: Provider | None) -> None:
        self._playbook = playbook
        self._script = script
        self._word = secrets.token_hex(16)
        self._server: asyncio.Server | None = None
        self._lines: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def listen(self) -> str:
        """Begins to listen; gives what `HostLine` needs to know."""
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"{port} {self._word} {'script' if self._script is not None else 'no-script'}"

    async def aclose(self) -> None:
        """Cuts all lines."""
        if self._server is not None:
            self._server.close()
        for writer in self._lines.values():
            writer.close()  # then its task reads no more; cancelled, asyncio would log it as a failed callback
        if self._lines:
            await asyncio.wait(list(self._lines))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._lines[me] = writer
        numbers: set[int] = set()
        asked: set[asyncio.Task[None]] = set()
        try:
            word = await reader.readexactly(len(self._word))
            if not hmac.compare_digest(word, self._word.encode()):
                return
            while (message := await _read(reader)) is not None:
                if isinstance(message, TurnBegins):
                    cue = self._cue(message)
                    numbers.add(cue.number)
                    _write(writer, cue)
                elif isinstance(message, TurnEnded):
                    self._playbook.ended(message.number)
                    numbers.discard(message.number)
                elif isinstance(message, ScriptAsked):
                    task = asyncio.create_task(self._ask(message, writer))
                    asked.add(task)
                    task.add_done_callback(asked.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the host is gone, with all that ran there
        finally:
            del self._lines[me]
            for number in numbers:
                self._playbook.ended(number)
            for task in asked:
                task.cancel()
            writer.close()

    def _cue(self, begins: TurnBegins) -> Cue:
        try:
            message = opened(begins.message)
        except CodeNotImportable:
            message = begins.message  # of a class that this process has not imported, so that no test can ask for it
        turn = SeenTurn(agent=ActorId(begins.agent), incarnation=Incarnation(begins.incarnation), message=message)
        number, crash = self._playbook.begins(turn)
        return Cue(call=begins.call, number=number, crash=crash)

    async def _ask(self, asked: ScriptAsked, writer: asyncio.StreamWriter) -> None:
        assert self._script is not None
        answering = asyncio.ensure_future(self._script.complete(asked.request, asked.card))
        await asyncio.wait([answering])
        error = answering.exception()
        if error is None:
            said = ScriptSaid(call=asked.call, said=answering.result())
        elif isinstance(error, RegrowError):
            said = ScriptSaid(call=asked.call, failure=failure_of(error))
        else:
            said = ScriptSaid(call=asked.call, broke=f"{type(error).__name__}: {error}")
        _write(writer, said)


class HostLine:
    """The end in a host: a Watcher for its agents, and a Provider for its router."""

    def __init__(self, order: str) -> None:
        port, self._word, script = order.split()
        self._port = int(port)
        self.has_script = script == "script"
        self._calls = itertools.count(1)
        self._open: dict[int, asyncio.Future[Cue | ScriptSaid | None]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None

    # ---- Watcher ---------------------------------------------------------------------------------

    async def begins(self, turn: SeenTurn) -> tuple[int, str]:
        """See Watcher. When the test has gone, turns go on without it."""
        if not isinstance(turn.message, Message):
            return 0, ""  # what could not be read here is no message of anybody's
        call = next(self._calls)
        cue = await self._asked(
            TurnBegins(
                call=call,
                agent=turn.agent,
                incarnation=turn.incarnation,
                message=Opaque(packed=pack(turn.message)),
            ),
            call,
        )
        return (cue.number, cue.crash) if isinstance(cue, Cue) else (0, "")

    def ended(self, number: int) -> None:
        """See Watcher."""
        if self._writer is not None and number:
            _write(self._writer, TurnEnded(number=number))

    # ---- Provider --------------------------------------------------------------------------------

    async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
        """See Provider. Raises ScriptBroke for a function of the script that raised something of its own."""
        call = next(self._calls)
        answer = await self._asked(ScriptAsked(call=call, request=request, card=card), call)
        if not isinstance(answer, ScriptSaid):
            raise ProviderUnreachable("the test that holds the script does not answer; has it ended?")
        if answer.failure is not None:
            raise answer.failure.exception("the script")
        if answer.said is None:
            raise ScriptBroke(f"a function of the script raised {answer.broke}")
        return answer.said

    async def stream(self, request: ModelRequest, card: ModelCard, emit: Emit) -> ProviderReply:
        """See Provider; word by word, as the script itself streams."""
        reply = await self.complete(request, card)
        for piece in words_of(reply.text):
            await emit(piece)
        return reply

    async def aclose(self) -> None:
        """See Provider. The script belongs to the test, and stays."""

    # ---- the line --------------------------------------------------------------------------------

    async def aclose_line(self) -> None:
        """Cuts it, as the death of the host does."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _asked(self, message: Message, call: int) -> Cue | ScriptSaid | None:
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
        await asyncio.shield(self._connecting)
        if self._writer is None:
            return None
        answer: asyncio.Future[Cue | ScriptSaid | None] = asyncio.get_running_loop().create_future()
        self._open[call] = answer
        try:
            _write(self._writer, message)
            return await answer
        finally:
            self._open.pop(call, None)

    async def _connect(self) -> None:
        try:
            reader, self._writer = await asyncio.open_connection(HOST, self._port)
        except OSError:
            return  # the test has gone, or runs on another machine: nothing here is watched
        self._writer.write(self._word.encode())
        self._reading = asyncio.get_running_loop().create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while (message := await _read(reader)) is not None:
                if isinstance(message, Cue | ScriptSaid) and (answer := self._open.get(message.call)) is not None:
                    answer.set_result(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()
            for answer in self._open.values():
                if not answer.done():
                    answer.set_result(None)


async def _read(reader: asyncio.StreamReader) -> object | None:
    """The next message; None for a frame that can be none."""
    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    return unpack(await reader.readexactly(length)) if length <= FRAME_LIMIT_BYTES else None


def _write(writer: asyncio.StreamWriter, message: Message) -> None:
    if not writer.is_closing():
        packed = pack(message)
        writer.write(len(packed).to_bytes(LENGTH_BYTES, "big") + packed)
