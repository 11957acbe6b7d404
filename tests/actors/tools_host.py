"""A host that runs a tool in a process of its own, and is killed meanwhile: `python tools_host.py`."""

from __future__ import annotations

import asyncio

from tests.actors.tool_shop import used
from tests.actors.tools_apart import leave

if __name__ == "__main__":
    asyncio.run(used([leave], lambda ctx: ctx.tools.call(leave, {"children": 2, "waits": True})))
