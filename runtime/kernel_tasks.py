"""What the kernel of one process does beside everything else: kept alive until it is done, and told when it dies."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger("regrow.kernel")


class KernelTasks:
    """The tasks of one process that belong to no actor's turn, so that no supervisor hears of their end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a coroutine, and keeps it alive until it is done."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def aclose(self) -> None:
        """Cancels what runs, and waits for its end."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        # Mostly nobody waits for it: without this line asyncio would tell of it when the task is collected, or never.
        name = getattr(task.get_coro(), "__qualname__", task.get_name())
        log.error(
            "a task of this process has died, and nobody does its work; please report it", task=name, exc_info=error
        )
