"""`def` handlers: a bounded number of threads in each host runs them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

HANDLER_THREADS = 16
"""How many `def` handlers may run at once in one host; the next waits for a thread."""


async def in_thread(function: Callable[..., Any], arguments: tuple[Any, ...]) -> object:
    """The result of a function that runs in a thread. Raises what it raises, also what a future can not hold."""
    context = contextvars.copy_context()

    def call() -> tuple[object, BaseException | None]:
        try:
            return context.run(function, *arguments), None
        except BaseException as error:  # StopIteration, too: in the future it would be lost, and the turn with it
            return None, error

    result, error = await asyncio.get_running_loop().run_in_executor(_threads(), call)
    if error is not None:
        raise error
    return result


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(HANDLER_THREADS, thread_name_prefix="regrow-handler")
