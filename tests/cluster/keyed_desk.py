"""An app on the inline engine whose one child are agents with keys, on virtual time and with a journal in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from regrow import App, DurableAgent, Running, Supervisor, keyed
from regrow.cluster.config import Settings
from regrow.cluster.inline import InlineEngine

BEGUN_MS = 1_764_000_000_000
IDLE_S = 60.0
LONG_S = 3 * IDLE_S
"""After so long without a message nobody is left."""


@asynccontextmanager
async def keyed_desk(clerk: type[DurableAgent[Any]], **rules: object) -> AsyncIterator[Running]:
    """It runs within the block; `rules` are those of `keyed`, with IDLE_S where they name no other time."""
    spec = keyed(clerk, **{"idle_s": IDLE_S, **rules})  # type: ignore[arg-type]
    app = App("desk", Supervisor(children=[spec]), journal="memory")
    loop = asyncio.get_running_loop()
    engine = InlineEngine(app, Settings(), now_ms=lambda: BEGUN_MS + int(loop.time() * 1000))
    await engine.start()
    try:
        yield Running(app, engine)
    finally:
        await engine.stop()
