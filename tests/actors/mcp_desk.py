"""Apps with MCP servers, as tests use them: their tools are pinned beforehand, and an agent does what a test wants."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regrow import Agent, App, Context, Guards, Request, Supervisor, child, on
from regrow.actors.mcp_link import look_at
from regrow.actors.mcp_lock import write_pins
from regrow.actors.mcp_server import McpServer, mcp
from regrow.actors.tool import Tool, ToolSource
from tests.actors.tool_shop import Use

RAW = Path(__file__).with_name("mcp_raw_server.py")
MARK = "MCP_TEST_MARK"
"""The variable by which a test finds all processes that a server has started."""
PATIENCE_S = 60.0
"""A busy machine takes long to start a Python."""


def raw(folder: Path, mode: str = "well", **options: Any) -> McpServer:
    """A server of ours that needs no SDK, and begins in this way; what it counts stands in `folder`."""
    command = [sys.executable, "-I", str(RAW), mode, str(folder / "counted")]
    given: dict[str, Any] = {"start_timeout_s": PATIENCE_S, "timeout_s": PATIENCE_S, "environment": [MARK], **options}
    return mcp("raw", command=command, lock=folder / "mcp.lock", **given)


def pin(server: McpServer) -> None:
    """Consents to what a server has now; the server that is made next knows it."""

    async def look() -> None:
        listed, _ = await look_at(server)
        write_pins(server.lock, server.name, listed)

    asyncio.run(look())


class Do(Request[str]):
    """Has the agent do what the test has set."""


def desk(server: McpServer, use: Use, tools: Sequence[Tool[Any] | ToolSource] | None = None) -> App:
    """An app that keeps the session with a server, and whose agent `user` uses its tools so."""
    listed = [server] if tools is None else tools

    class User(Agent):
        tools = listed

        @on
        async def do(self, request: Do, ctx: Context) -> str:
            return str(await use(ctx))

    # These call until something has changed, and as fast as they can.
    return App("desk", Supervisor(children=[child(server), child(User, id="user")]), guards=Guards(repeats_end=None))


async def used(server: McpServer, use: Use) -> str:
    """What comes of it. Raises what the agent raises to its asker."""
    async with desk(server, use).start(engine="inline") as running:
        reply: str = await running.ref("desk/user").ask(Do(), timeout_s=PATIENCE_S)
        return reply
