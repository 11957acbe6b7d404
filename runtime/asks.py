"""The asks that wait in this process for a reply, each with a deadline.

Timers cost more than an ask itself, so there is one for all: it stands at the earliest deadline it
knew when it was set, and looks through the asks that wait when it fires. Deadlines come true at
most `GRAIN_S` late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from regrow.runtime.address import ActorId, HostId
from regrow.runtime.errors import AskTimeout
from regrow.runtime.message import Request

GRAIN_S = 0.005
"""The least time between two looks through the waiting asks, so that many deadlines cost few looks."""


class PendingAsk:
    """One ask that waits. `host` is where the receiver was when it left, None while unknown."""

    __slots__ = ("actor", "ask_id", "deadline", "future", "host", "request", "timeout_s")

    def __init__(
        self,
        ask_id: int,
        actor: ActorId,
        request: Request[Any],
        timeout_s: float,
        deadline: float,
        future: asyncio.Future[object],
    ) -> None:
        self.ask_id = ask_id
        self.actor = actor
        self.request = request
        self.timeout_s = timeout_s
        self.deadline = deadline
        self.future = future
        self.host: HostId | None = None


class Asks:
    """Opens, settles and times out asks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[int, PendingAsk] = {}
        self._next_id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[PendingAsk]:
        return iter(list(self._waiting.values()))

    def open(self, actor: ActorId, request: Request[Any], timeout_s: float, deadline: float) -> PendingAsk:
        """A new ask whose future ends with the reply, a failure, or AskTimeout at the deadline."""
        self._next_id += 1
        ask = PendingAsk(self._next_id, actor, request, timeout_s, deadline, self._loop.create_future())
        self._waiting[ask.ask_id] = ask
        if deadline < self._timer_at:
            self._set_timer(deadline)
        return ask

    def close(self, ask: PendingAsk) -> None:
        """The asker is no longer interested; a reply that comes now is late."""
        self._waiting.pop(ask.ask_id, None)

    def reply(self, ask_id: int, value: object) -> bool:
        """Gives the reply to its asker; False when nobody waits for it any more."""
        ask = self._waiting.pop(ask_id, None)
        if ask is None or ask.future.done():
            return False
        ask.future.set_result(value)
        return True

    def get(self, ask_id: int) -> PendingAsk | None:
        """The ask of that number, while it waits."""
        return self._waiting.get(ask_id)

    def leaves_host(self, ask_id: int) -> None:
        """The ask never came to the host to which it was sent; it is on its way to another."""
        ask = self._waiting.get(ask_id)
        if ask is not None:
            ask.host = None

    def fail(self, ask_id: int, error: Exception) -> bool:
        """Ends an ask with an error; False when nobody waits for it any more."""
        ask = self._waiting.pop(ask_id, None)
        if ask is None or ask.future.done():
            return False
        ask.future.set_exception(error)
        return True

    def fail_all(self, error: Callable[[PendingAsk], Exception]) -> None:
        """Ends every waiting ask, as when the runtime closes."""
        for ask in self:
            self.fail(ask.ask_id, error(ask))
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, float("inf")

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        earliest = float("inf")
        for ask in list(self._waiting.values()):
            if ask.deadline <= now:
                self.fail(ask.ask_id, AskTimeout(ask.actor, type(ask.request).__name__, ask.timeout_s))
            elif ask.deadline < earliest:
                earliest = ask.deadline
        self._timer, self._timer_at = None, float("inf")
        if earliest != float("inf"):
            self._set_timer(max(earliest, now + GRAIN_S))
