"""Counts what an HTTP client sends over the wire against the calls that were declared, and refuses what is hidden.

For any client that takes the event hooks of httpx or its successor, also one that is handed to an SDK:

    watch = WireWatch(Guards(), time.monotonic)
    client = AsyncOpenAI(http_client=DefaultAsyncHttpxClient(event_hooks=watch.event_hooks))

What is sent inside of `with watch.call(host):` counts for that call, and all else for none.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from regrow.router.hidden_retries import RetryMeter, over_budget
from regrow.runtime.envelope import Origin
from regrow.runtime.guard_errors import RunsUnreachable
from regrow.runtime.guards import Guards, Rung, found
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.run_store import RunStore, WireCounts

_call: ContextVar[str] = ContextVar("regrow_wire_call", default="")
_numbers = itertools.count(1)


class _Request(Protocol):
    """A request, as httpx and its successor have it."""

    method: str

    @property
    def url(self) -> Any: ...

    @property
    def content(self) -> bytes: ...


class _Response(Protocol):
    """The same of a response."""

    status_code: int

    @property
    def request(self) -> Any: ...


class WireWatch:
    """Watches the clients that have its hooks. `now_s` is a monotonic clock.

    With the `runs` of an app, `ctx.runtime.guarding.runs`, all its hosts share one budget, and no restart resets it.
    """

    def __init__(self, guards: Guards, now_s: Callable[[], float], runs: RunStore | None = None) -> None:
        self._guards = guards
        self._now_s = now_s
        self._runs: RunStore = runs if runs is not None else MemoryRuns(now_s)
        self._meter = RetryMeter()
        self._known: dict[str, WireCounts] = {}
        """What the store has said last, by address."""
        self._underway: WeakKeyDictionary[asyncio.Task[Any], tuple[str, str, str]] = WeakKeyDictionary()
        """What a task has sent that has no answer yet: where it sends again, that was cut off or timed out."""

    @property
    def event_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """What an AsyncClient takes under that name; nothing where this guard is off."""
        if self._guards.retry_share is None:
            return {}
        return {"request": [self._sends], "response": [self._answered]}

    @contextmanager
    def call(self, to: str, *, declared: int = 1) -> Iterator[None]:
        """As long as it lasts, what this code sends is of one call to that host, which may take so many attempts."""
        name = str(next(_numbers))
        self._meter.called(to, name, declared=declared)
        token = _call.set(name)
        try:
            yield
        finally:
            _call.reset(token)

    async def _sends(self, request: _Request) -> None:
        to, body, now_s = _where(request), _likeness(request), self._now_s()
        if (task := asyncio.current_task()) is not None:
            if (lost := self._underway.get(task)) is not None:
                self._meter.answered(*lost, status=0, now_s=now_s)  # no hook tells of one that had no response
            self._underway[task] = to, _call.get(), body
        if not self._meter.sent(to, _call.get(), body, now_s):
            return
        finding = over_budget(to, await self._sent_in_all(to), self._guards.retry_share or 0.0)
        if finding is not None:
            found(finding.up_to(self._guards.top), Origin(), agent="")
            if self._guards.top >= Rung.REFUSE:
                finding.refuse()

    async def _sent_in_all(self, to: str) -> WireCounts:
        """What the app has sent to an address; what this process knows of it where the store does not answer."""
        untold = self._meter.untold(to)
        try:
            self._known[to] = await self._runs.sent(to, untold)
        except RunsUnreachable:
            self._meter.not_told(to, untold)
            return self._known.get(to, WireCounts()).plus(untold)
        return self._known[to]

    async def _answered(self, response: _Response) -> None:
        if (task := asyncio.current_task()) is not None:
            self._underway.pop(task, None)
        to, body = _where(response.request), _likeness(response.request)
        self._meter.answered(to, _call.get(), body, response.status_code, self._now_s())


def _where(request: _Request) -> str:
    url = request.url
    return url.host if url.port is None else f"{url.host}:{url.port}"


def _likeness(request: _Request) -> str:
    """The same for what is sent again: method, path and body, as far as that is not a stream."""
    try:
        content = request.content
    except RuntimeError:  # what both raise for a body that is a stream, under names of their own
        content = b""
    said = f"{request.method} {request.url.raw_path.decode(errors='replace')}\n".encode() + content
    return hashlib.blake2b(said, digest_size=8).hexdigest()
