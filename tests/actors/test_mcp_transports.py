"""MCP servers by their two transports, with the official SDK on the other side; and what is at a URL and is none."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from regrow import App, Context, Running, Supervisor, child
from regrow.actors.mcp_errors import OutcomeUnknown, ServerLost, ToolChanged
from regrow.actors.mcp_server import McpServer, mcp
from regrow.actors.tool_errors import ResultTooLarge, ToolFailed
from regrow.cluster.errors import AppNotStarted
from regrow.supervisors import Backoff
from tests.actors.mcp_desk import PATIENCE_S, Do, desk, pin, used
from tests.actors.tool_shop import Use
from tests.integration.waiting import until
from tests.ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.program]

SDK = Path(__file__).with_name("mcp_sdk_server.py")


class AtUrl:
    """The SDK's server in a process of its own, at one URL."""

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.end()
        command = [sys.executable, str(SDK), "http", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "up\n"

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()


@pytest.fixture
def at_url() -> Iterator[AtUrl]:
    server = AtUrl()
    server.start()
    yield server
    server.end()


@pytest.fixture(params=["stdio", "http"])
def sdk(request: pytest.FixtureRequest, tmp_path: Path) -> McpServer:
    """A pinned server, by both transports."""

    def made() -> McpServer:
        if request.param == "http":
            return by_url(request.getfixturevalue("at_url").url, tmp_path)
        command = [sys.executable, str(SDK), "stdio"]
        return mcp("sdk", command=command, lock=tmp_path / "mcp.lock", start_timeout_s=PATIENCE_S)

    pin(made())
    return made()


def by_url(url: str, folder: Path) -> McpServer:
    return mcp("sdk", url=url, lock=folder / "mcp.lock", start_timeout_s=PATIENCE_S)


def test_tools_are_called_and_their_failures_told(sdk: McpServer) -> None:
    async def use(ctx: Context) -> object:
        with pytest.raises(ToolFailed, match="no such page"):
            await ctx.tools.call("sdk_fail", {"text": "no such page"})
        with pytest.raises(ResultTooLarge):
            await ctx.tools.call("sdk_big", {"size": 2_000_000})
        with pytest.raises(ResultTooLarge if sdk.options.command else ToolFailed):
            await ctx.tools.call("sdk_big", {"size": 10_000_000})
        return [await ctx.tools.call("sdk_add", {"a": 1, "b": 2}), await ctx.tools.call("sdk_echo", {"text": "x"})]

    assert asyncio.run(used(sdk, use)) == "[{'result': 3}, 'x']"


def test_a_tool_that_changes_in_mid_session_is_refused(sdk: McpServer) -> None:
    async def use(ctx: Context) -> object:
        await ctx.tools.call("sdk_change")
        while True:
            try:
                await ctx.tools.call("sdk_echo", {"text": "x"})
            except ToolChanged as error:
                return str(error)
            except ToolFailed:
                pass  # the server refuses it already, and the session has not looked yet

    told = asyncio.run(used(sdk, use))

    assert "description" in told and "input.properties.loudly" in told and "IGNORE" not in told


def test_a_person_is_not_asked_by_a_server(sdk: McpServer) -> None:
    async def use(ctx: Context) -> object:
        with pytest.raises(ToolFailed, match=r"licitation|may not"):
            await ctx.tools.call("sdk_beg")
        return await ctx.tools.call("sdk_echo", {"text": "x"})

    assert asyncio.run(used(sdk, use)) == "x"


def test_a_server_at_a_url_that_dies_and_comes_back_is_used_again(tmp_path: Path, at_url: AtUrl) -> None:
    pin(by_url(at_url.url, tmp_path))

    async def use(ctx: Context) -> object:
        with pytest.raises(OutcomeUnknown, match="its server was lost"):
            await ctx.tools.call("sdk_die")
        return await ctx.tools.call("sdk_echo", {"text": "it is back"})

    async def run() -> str:
        app = patient_desk(by_url(at_url.url, tmp_path), use)
        async with app.start(engine="inline") as running:
            asked = asyncio.ensure_future(running.ref("desk/user").ask(Do(), timeout_s=PATIENCE_S))
            await until(lambda: lost(running), "the session has lost its server", within_s=PATIENCE_S)
            await asyncio.to_thread(at_url.start)
            return await asked

    assert asyncio.run(run()) == "it is back"


async def lost(running: Running) -> bool:
    return "ServerEnded" in (await running.tree())[0].children[0].children[0].last_reason


def patient_desk(server: McpServer, use: Use) -> App:
    """The same app, whose supervisor tries again for a long time."""
    app = desk(server, use)
    (_, user) = app.root.children
    sessions = Supervisor(
        max_restarts=1_000, within_s=PATIENCE_S, backoff=Backoff(first_s=0.1, max_s=0.5), children=[child(server)]
    )
    return App("desk", Supervisor(children=[child(sessions, id="sessions"), user]))


class Forgetful(BaseHTTPRequestHandler):
    """A server of the protocol of 2025 with sessions, which it forgets when it is told to."""

    sessions: ClassVar[set[str]] = set()
    calls: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        method, session = asked["method"], self.headers.get("mcp-session-id")
        if "id" not in asked:
            self._answer(202, b"")
        elif method == "initialize":
            known = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}}}
            self._result(
                asked, {**known, "serverInfo": {"name": "forgetful", "version": "1"}}, session=f"s{asked['id']}"
            )
        elif session not in self.sessions:
            self._answer(404, b"")
        elif method == "tools/list":
            self._result(asked, {"tools": [{"name": "note", "inputSchema": {"type": "object"}}]})
        else:
            self.calls.append(method)
            self._result(asked, {"content": [{"type": "text", "text": f"{len(self.calls)} noted"}]})

    def do_GET(self) -> None:
        self._answer(405, b"")

    do_DELETE = do_GET  # noqa: N815

    def _result(self, asked: dict[str, Any], result: dict[str, Any], session: str = "") -> None:
        if session:
            self.sessions.add(session)
        self._answer(200, json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode(), session)

    def _answer(self, status: int, body: bytes, session: str = "") -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if session:
            self.send_header("mcp-session-id", session)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_that_has_forgotten_the_session_has_not_run_the_call_and_gets_a_new_one(tmp_path: Path) -> None:
    async def use(ctx: Context) -> object:
        await ctx.tools.call("sdk_note")
        Forgetful.sessions.clear()
        with pytest.raises(ServerLost, match="nothing of it has run"):
            await ctx.tools.call("sdk_note")
        return await ctx.tools.call("sdk_note")

    with served(Forgetful) as url:
        pin(by_url(url, tmp_path))

        assert asyncio.run(used(by_url(url, tmp_path), use)) == "2 noted"


# ---- what is at a URL and is no server -----------------------------------------------------------


@contextmanager
def page(status: int, kind: str, parts: int = 1) -> Iterator[str]:
    """A URL at which every request is answered so."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            if parts == 0:
                self.connection.close()
                return
            self.send_response(status)
            self.send_header("content-type", kind)
            self.end_headers()
            try:
                for _ in range(parts):
                    self.wfile.write(b"x" * 65_536)
            except OSError:
                pass  # it was cut off

        do_GET = do_DELETE = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with served(Handler) as url:
        yield url


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL at which a handler of ours answers."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "kind", "parts"),
    [
        (500, "text/html", 1),
        (404, "text/html", 1),
        (200, "text/html", 1),
        (200, "application/json", 1),
        (200, "application/json", 1_000),
        (200, "text/event-stream", 1_000),
        (200, "text/html", 0),
    ],
)
def test_what_is_no_mcp_server_is_named_and_nothing_hangs(tmp_path: Path, status: int, kind: str, parts: int) -> None:
    with page(status, kind, parts) as url:
        server = pinned_elsewhere(url, tmp_path)

        with pytest.raises(AppNotStarted, match=r"the MCP server sdk \(http://127.0.0.1:\d+/mcp\) can not be used: "):
            asyncio.run(used(server, nothing))


def test_a_url_where_nobody_listens_is_named(tmp_path: Path) -> None:
    server = pinned_elsewhere(f"http://127.0.0.1:{free_ports(1)[0]}/mcp", tmp_path)

    with pytest.raises(AppNotStarted, match="ConnectError"):
        asyncio.run(used(server, nothing))


def test_a_header_that_names_a_variable_which_is_not_set_is_told(tmp_path: Path) -> None:
    (tmp_path / "mcp.lock").write_text('{"version": 1, "servers": {"sdk": {"tools": {}}}}')
    headers = {"Authorization": "Bearer ${NO_SUCH_VARIABLE}"}
    server = mcp("sdk", url="http://127.0.0.1:1/mcp", headers=headers, lock=tmp_path / "mcp.lock")

    with pytest.raises(AppNotStarted, match="a header names 'NO_SUCH_VARIABLE'"):
        asyncio.run(used(server, nothing))


def pinned_elsewhere(url: str, folder: Path) -> McpServer:
    (folder / "mcp.lock").write_text('{"version": 1, "servers": {"sdk": {"tools": {}}}}')
    return mcp("sdk", url=url, lock=folder / "mcp.lock", start_timeout_s=15.0)


async def nothing(ctx: Context) -> object:
    raise ServerLost("not reached")
