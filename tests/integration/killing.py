"""Kills processes of an app on Ray, and waits for what follows."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from regrow import ActorRef, AskFailed, Running
from tests.integration.apps.victims import Block, Hold, Pid
from tests.integration.belongings import Process
from tests.integration.lives import node_of
from tests.integration.waiting import until


async def asked(ref: ActorRef, request: Hold | Block) -> asyncio.Task[int]:
    """An ask that is being handled when this returns."""
    task = asyncio.create_task(ref.ask(request, timeout_s=60))
    await until(lambda: Path(request.begun).exists(), f"{ref.id} has begun {type(request).__name__}")
    return task


async def kill(running: Running, id: str) -> float:
    """Kills the process of somebody by SIGKILL; gives the time at which it was done."""
    node = await node_of(running, id)
    Process(node.pid, node.id).kill()
    return time.monotonic()


async def back(ref: ActorRef) -> int:
    """The process of an agent that answers again; an ask that leaves before the death is known may still fail."""

    async def answered() -> int:
        try:
            return await ref.ask(Pid(), timeout_s=30)
        except AskFailed:
            return 0

    return await until(answered, f"{ref.id} answers again", within_s=60)
