"""How late an event loop comes to what is due: the time that a message waits for it, whatever its mailbox holds."""

from __future__ import annotations

import asyncio


async def loop_lag_s() -> float:
    """How long the loop that runs this takes to come to something that is ready now."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[float] = loop.create_future()
    ready_at_s = loop.time()
    loop.call_soon(lambda: came.set_result(loop.time()))
    return await came - ready_at_s
