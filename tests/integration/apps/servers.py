"""An app with an MCP server, whose session and whose user are in two processes on Ray."""

from __future__ import annotations

import sys
from pathlib import Path

from regrow import Agent, App, Context, Request, Supervisor, ToolError, child, mcp, on

SERVER = Path(__file__).resolve().parents[2] / "actors/mcp_raw_server.py"
MARK = "of-the-app-servers"
"""By which its processes are told from those of others who test with the same server beside this."""

command = [sys.executable, "-I", str(SERVER), "well", "/dev/null", MARK]
raw = mcp("raw", command=command, timeout_s=60, start_timeout_s=60)


class Run(Request[str]):
    """Asks for a tool by its name, with arguments as a model writes them."""

    tool: str
    arguments: str = "{}"


class User(Agent):
    """Runs what it is asked for."""

    tools = [raw]

    @on
    async def run(self, request: Run, ctx: Context) -> str:
        try:
            return str(await ctx.tools.call(request.tool, request.arguments))
        except ToolError as error:
            return f"{type(error).__name__}: {error}"


app = App("servers", Supervisor(max_restarts=10, children=[child(raw), child(User, id="user")]))
