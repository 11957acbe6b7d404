"""A host of a session with an MCP server, which is killed while it runs: `python -m tests.actors.mcp_host FOLDER`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from regrow import Context
from tests.actors.mcp_desk import pin, raw, used


async def leave_and_wait(ctx: Context) -> object:
    await ctx.tools.call("raw_leave", {"size": 2})
    return await ctx.tools.call("raw_slow")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    pin(raw(folder))
    asyncio.run(used(raw(folder), leave_and_wait))
