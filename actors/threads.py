"""`def` handlers: a bounded number of threads in each host runs them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import lru_cache, partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

HANDLER_THREADS = 16
"""How many `def` handlers may run at once in one host; the next waits for a thread."""


async def in_thread(
    function: Callable[..., Any], arguments: tuple[Any, ...], threads: Executor | None = None
) -> object:
    """The result of a function that runs in a thread, one of a host's for handlers where no others are named.

    Raises what it raises, also what a future can not hold.
    """
    context = contextvars.copy_context()

    def call() -> tuple[object, BaseException | None]:
        try:
            return context.run(function, *arguments), None
        except BaseException as error:  # StopIteration, too: in the future it would be lost, and the turn with it
            return None, error

    result, error = await asyncio.get_running_loop().run_in_executor(threads or _threads(), call)
    if error is not None:
        raise error
    return result


class HandlerThreads(Executor):
    """At most `limit` threads, which are made when they are needed and never hold up the end of the process.

    concurrent.futures joins its threads when the program ends, so that one handler which does not return would keep
    the process for ever, after its agent was killed and everything else has stopped.
    """

    def __init__(self, limit: int = HANDLER_THREADS, *, is_beside_time: bool = False) -> None:
        """With `is_beside_time` the virtual clock of a test does not wait for what its threads do."""
        self.is_beside_time = is_beside_time
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._idle = 0
        self._size = 0

    @property
    def is_full(self) -> bool:
        """True when what is handed in now would wait for a thread."""
        with self._changed:
            return self._size >= self._limit and self._idle <= len(self._waiting)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Runs a call as soon as a thread is free. What is cancelled before that does not run."""
        future: Future[T] = Future()
        with self._changed:
            self._waiting.append((future, partial(fn, *args, **kwargs)))
            if self._idle >= len(self._waiting):
                self._changed.notify()
            elif self._size < self._limit:
                self._size += 1
                name = f"regrow-handler_{self._size}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
        return future

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                future, call = self._waiting.popleft()
            _run(future, call)
            del future, call  # or an idle thread would keep the last agent alive


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # kept for whoever waits, as every executor does
        future.set_exception(error)
    else:
        future.set_result(result)


@lru_cache(maxsize=1)
def _threads() -> HandlerThreads:
    return HandlerThreads()
