"""The session with one server: the one task in which the SDK lives, and the calls that go through it.

The SDK's task groups must be left by the task that entered them, and what breaks in one cancels that task. So it has a
task to itself: whatever happens there is the end of this session, and of nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import TypeAdapter, ValidationError

from regrow.actors.mcp_call import CallTool, Outcome, ToolAnswer
from regrow.actors.mcp_errors import ServerNotStarted
from regrow.actors.mcp_http import http_headers, http_streams
from regrow.actors.mcp_lock import MAX_SERVER_TOOLS, Pinned, changes
from regrow.actors.mcp_process import ServerProcess
from regrow.actors.mcp_result import answer_with, failure, given, parsed, pins_of
from regrow.actors.mcp_schema import RESULT_CHECKS, Shape
from regrow.actors.mcp_wire import TOO_LONG, UNREADABLE, Wire
from regrow.actors.threads import in_thread
from regrow.actors.tool_errors import MAX_TOLD_CHARS
from regrow.runtime.contain import text_of
from regrow.runtime.errors import Misuse

if TYPE_CHECKING:
    from mcp.client import Client, IncomingMessage

    from regrow.actors.mcp_server import McpServer

CLOSE_S = 10.0
"""How long the end of a session may take, with that of its process; then its task is cancelled."""
TOLD_S = 5.0
"""How long a call that its server has left waits for the reason."""
PROBE_S = 10.0
"""When nobody waits for a call any more its server is asked for its tools; one that is silent for so long is ended.

It may do one thing at a time, and be busy with what nobody wants any more, so that all others would wait for that.
"""
LISTEN_AGAIN_S = 5.0
"""After the end of a stream of changes, until it is opened again."""
RELIST_S = 1.0
"""Between two looks at the tools of a server that says again and again that they have changed."""
SESSION_GONE = "Session terminated"
"""What the SDK says where a server at a URL answers by 404, since it does not know the session."""
MAX_PAGES = 64
MAX_WHY_CHARS = 4_000

log = structlog.get_logger("regrow.tools")


class Link:
    """One session, from its start to its end. `over` is called when it has ended, though nobody has closed it."""

    def __init__(self, server: McpServer, over: Callable[[], object]) -> None:
        self._server = server
        self._options = server.options
        self._over = over
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._client: Client | None = None
        self._process: ServerProcess | None = None
        self._wire: Wire | None = None
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._probing = False
        self._pinned = {name: pin.hash for name, pin in server.pins.items()}
        self._has: Mapping[str, str] = {}
        """The hashes of what it lists; made once for each list, since a call compares them."""
        self.listed: Mapping[str, Pinned] = {}
        """The tools that the server has, as it said last."""
        self.unfit: tuple[str, ...] = ()
        """What of its tools can not be used, in words."""
        self.why: str | None = None
        """Why the session is over; None as long as it is not."""

    async def open(self) -> None:
        """Starts or reaches the server. Raises ServerNotStarted, and Misuse where the SDK is not installed."""
        headers = http_headers(self._server.name, self._options)
        await in_thread(_load, (self._server.name,))
        self._task = asyncio.create_task(self._run(headers))
        try:
            async with asyncio.timeout(self._options.start_timeout_s):
                await asyncio.shield(self._opened)
        except TimeoutError:
            self.why = f"it did not get ready within {self._options.start_timeout_s:g} s (start_timeout_s)"
            await self.aclose()
            raise self._not_started() from None
        if self.why is not None:
            await self.aclose()
            raise self._not_started()

    async def call(self, request: CallTool, timeout_s: float | None) -> ToolAnswer:
        """Has the server run a tool."""
        client = self._client
        if client is None or self.why is not None:
            return ToolAnswer(outcome=Outcome.NOT_SENT, text=await self.told_end())
        pin = self._server.pins.get(request.name)
        if pin is None or self._pinned[pin.name] != request.hash:
            return ToolAnswer(outcome=Outcome.CHANGED, text="it is not the one that its session knows")
        if self._has.get(pin.name) != request.hash:
            listed = {pin.name: self.listed[pin.name]} if pin.name in self.listed else {}
            return ToolAnswer(outcome=Outcome.CHANGED, text=str(changes({pin.name: pin}, listed)[0]))
        return await self._called(client, pin, request, timeout_s)

    async def _called(self, client: Client, pin: Pinned, request: CallTool, timeout_s: float | None) -> ToolAnswer:
        import anyio
        from mcp import MCPError
        from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult

        params = CallToolRequestParams(name=pin.name, arguments=dict(parsed(request.arguments)))
        try:
            # Not by its `call_tool`, which checks results by the schema that the server has now, and without bounds.
            result = await client.session.send_request(
                CallToolRequest(params=params),
                _results(),
                request_read_timeout_seconds=timeout_s if timeout_s is not None else self._options.timeout_s,
            )
        except MCPError as error:
            return await self._refused(error)
        except ValidationError as error:
            return ToolAnswer(outcome=Outcome.INVALID, text=f"no result of a call: {_first(error)}")
        except asyncio.CancelledError:
            self._probe_soon()  # whoever waited has gone, as when it took too long
            raise
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return ToolAnswer(outcome=Outcome.MAY_HAVE_RUN, text=await self.told_end())
        if not isinstance(result, CallToolResult):
            return ToolAnswer(outcome=Outcome.FAILED, text="it asks a person or a model for more, and may not")
        if result.is_error:
            return failure(result)
        value, is_declared = given(result, pin)
        if pin.output is not None:
            if not is_declared:
                return ToolAnswer(outcome=Outcome.INVALID, text="it declares structured content, and gave none")
            problems: Any = await in_thread(lambda: Shape(pin.output or {}).problems(value, checks=RESULT_CHECKS), ())
            if problems:
                return ToolAnswer(outcome=Outcome.INVALID, text="; ".join(problems)[:MAX_TOLD_CHARS])
        return answer_with(value, self._options.result_bytes)

    async def _refused(self, error: Any) -> ToolAnswer:
        """What is told of an error in place of a result."""
        from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT

        if error.code == TOO_LONG:
            return ToolAnswer(outcome=Outcome.TOO_LARGE, text=error.message)
        if error.code == UNREADABLE:
            return ToolAnswer(outcome=Outcome.INVALID, text="its answer can not be read")
        if error.message == SESSION_GONE and self._options.url is not None:
            self._end("it does not know the session any more")  # as when it was started anew; the next life has another
            return ToolAnswer(outcome=Outcome.NOT_SENT, text=await self.told_end())
        if error.code == REQUEST_TIMEOUT:
            self._probe_soon()
            return ToolAnswer(outcome=Outcome.TIMED_OUT, text="")
        if error.code == CONNECTION_CLOSED:
            return ToolAnswer(outcome=Outcome.MAY_HAVE_RUN, text=await self.told_end())
        return ToolAnswer(outcome=Outcome.FAILED, text=error.message[:MAX_TOLD_CHARS])

    async def told_end(self) -> str:
        """Why the session is over, with how its process ended, where that is known in time."""
        try:
            async with asyncio.timeout(TOLD_S):
                await self._ended.wait()
        except TimeoutError:
            pass
        return f"the MCP server {self._server.name} ({self._options.place}): {self._told()}"[:MAX_WHY_CHARS]

    def _told(self) -> str:
        told = [self.why or "the connection was closed"]
        if self._wire is not None and self._wire.printed:
            told.append(f"it printed what is no message: {self._wire.printed!r}")
        if self._process is not None and (words := self._process.last_words()):
            told.append(words)
        return "; ".join(told)

    async def aclose(self) -> None:
        """Ends the session, and with it the process of the server."""
        if self.why is None:
            self.why = "it was closed"
        self._closing.set()
        for task in self._tasks:
            task.cancel()
        if self._task is not None:
            if not self._opened.done():
                self._task.cancel()  # it waits for the server, and for nothing of ours
            await asyncio.wait((self._task,), timeout=CLOSE_S)
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait((self._task,), timeout=CLOSE_S)

    # ---- the task of the SDK -------------------------------------------------------------------

    async def _run(self, headers: dict[str, str]) -> None:
        from mcp import Client
        from mcp.types import Implementation

        if self._options.command is not None:
            self._process = ServerProcess(self._options, self._server.folder)
            inner = self._process.streams()
        else:
            inner = http_streams(self._options, headers)
        wire = self._wire = Wire(inner, self._end)
        us = Implementation(name="regrow", version=version("regrow"))
        try:
            async with Client(wire.transport(), client_info=us, message_handler=self._heard, cache=None) as client:
                self._client = client
                await self._list(client)
                self._in_task(self._watch(client))
                _done(self._opened)
                await self._closing.wait()
        except (Exception, asyncio.CancelledError) as error:  # whatever the SDK raises is the end of this session
            self._end(_told(error))
        finally:
            self._client = None
            self._end("it was closed")
            self._ended.set()
            _done(self._opened)

    def _end(self, why: str) -> None:
        """The session is over, for the first reason that is told; nothing where it is being closed anyway."""
        self._closing.set()
        if self.why is None:
            self.why = why
            self._over()

    async def _list(self, client: Client) -> None:
        from mcp.types import PaginatedRequestParams

        found: list[Any] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await client.session.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
            found += page.tools
            cursor = page.next_cursor
            if len(found) > MAX_SERVER_TOOLS:
                raise ServerNotStarted(f"it lists more than {MAX_SERVER_TOOLS} tools")
            if cursor is None:
                self.listed, self.unfit = pins_of(found)
                self._has = {name: pin.hash for name, pin in self.listed.items()}
                return
        raise ServerNotStarted(f"its list of tools has more than {MAX_PAGES} pages")

    async def _heard(self, message: IncomingMessage) -> None:
        from mcp.types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self._changed.set()

    async def _watch(self, client: Client) -> None:
        """Looks at the tools again when the server says that they have changed."""
        self._in_task(self._listen(client))
        while True:
            await self._changed.wait()
            self._changed.clear()
            if await self._asked(client):
                self.compare()
            await asyncio.sleep(RELIST_S)

    async def _listen(self, client: Client) -> None:
        """Has a server of the protocol of 2026 say when its tools change, which one of before does by itself."""
        from mcp import MCPError
        from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost

        while True:
            try:
                async with client.listen(tools_list_changed=True) as subscription:
                    async for _ in subscription:
                        self._changed.set()
            except (ListenNotSupportedError, MCPError):
                return  # it has nothing to say of that
            except (SubscriptionLost, TimeoutError):
                pass
            await asyncio.sleep(LISTEN_AGAIN_S)
            self._changed.set()  # what has changed meanwhile it did not tell

    def _probe_soon(self) -> None:
        if self._client is not None and self.why is None and not self._probing:
            self._probing = True
            self._in_task(self._probe(self._client))

    async def _probe(self, client: Client) -> None:
        """Ends the session where its server does not answer any more."""
        try:
            if not await self._asked(client):
                self._end(f"it did not answer within {PROBE_S:g} s, after a call for which nobody waited any more")
        finally:
            self._probing = False

    async def _asked(self, client: Client) -> bool:
        from mcp import MCPError

        try:
            async with asyncio.timeout(PROBE_S):
                await self._list(client)
        except TimeoutError:
            return False
        except (MCPError, ValidationError, RuntimeError) as error:
            self._end(f"it does not list its tools any more ({_told(error)})")
        except ServerNotStarted as error:
            self._end(str(error))
        return True

    def compare(self) -> None:
        """Says in the log what is not as it was consented to."""
        wanted = self._options.tools
        listed = {name: pin for name, pin in self.listed.items() if wanted is None or name in wanted}
        found = changes(self._server.pins, listed)
        if found and self._server.is_pinned:
            log.warning(
                "tools of an MCP server are not as they were consented to, and are refused: look at them with "
                "`regrow mcp check`, consent with `regrow mcp pin`",
                server=self._server.name,
                changes=[str(each) for each in found[:20]],
            )

    def _not_started(self) -> ServerNotStarted:
        told = f"the MCP server {self._server.name} ({self._options.place}) can not be used: {self._told()}"
        return ServerNotStarted(told[:MAX_WHY_CHARS])

    def _in_task(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end(_told(error))


def _load(name: str) -> None:
    """Loads the SDK, which takes a second: in a thread, so that the loop goes on. Raises Misuse."""
    try:
        import_module("mcp")
    except ImportError as error:
        raise Misuse(
            f"the MCP server {name} needs the MCP SDK, which is not installed ({error}); pip install 'regrow[mcp]'"
        ) from error


def _results() -> TypeAdapter[Any]:
    from mcp.types import CallToolResult, InputRequiredResult

    return TypeAdapter(CallToolResult | InputRequiredResult)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"[:MAX_TOLD_CHARS]


def _told(error: BaseException) -> str:
    """The innermost of what a group holds, in words."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, ServerNotStarted):
        return str(error)
    if isinstance(error, ValidationError):
        return f"it does not speak MCP ({_first(error)})"
    return f"{type(error).__name__}: {text_of(error)[:MAX_TOLD_CHARS]}"


async def look_at(server: McpServer) -> tuple[dict[str, Pinned], tuple[str, ...]]:
    """The tools that a server has now, of those that are wanted of it, and why some can not be used, in words.

    It is started, or reached, and left again. Raises ServerNotStarted, and Misuse where the SDK is not installed.
    """
    link = Link(server, lambda: None)
    try:
        await link.open()
        wanted = server.options.tools
        return {name: pin for name, pin in link.listed.items() if wanted is None or name in wanted}, link.unfit
    finally:
        await link.aclose()
