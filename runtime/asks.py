"""The asks that wait in this process for a reply, each with a deadline.

Timers cost more than an ask itself, so there is one for all: it stands at the earliest time at which
something was due when it was set, and looks through the asks that wait when it fires. Deadlines come
true at most `GRAIN_S` late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from regrow.runtime.address import ActorId, HostId
from regrow.runtime.errors import AskTimeout, Misuse
from regrow.runtime.message import Request

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext
    from regrow.runtime.envelope import Envelope
    from regrow.runtime.stream import Stream

GRAIN_S = 0.005
"""The least time between two looks through the waiting asks, so that many deadlines cost few looks."""
PROBE_AFTER_S = 0.25
"""How long an ask of a turn waits until it is followed, lest agents block each other; then twice as long each time."""
PROBE_GRAIN_S = 0.1
"""The least time between two looks for asks that have waited so long."""
LAST_ROUNDS = 3
"""Rounds of the loop that a reply which is in the process at the deadline has to reach its asker: one for its packet
to be handed over, one for the task that reads it, one for the turn that gave it here."""

_NEVER = float("inf")


class PendingAsk:
    """One ask that waits. `host` is where the receiver was when it left, None while unknown.

    `turn` is the turn that asks, None outside of any; `probe_at` when to look whether it is blocked. `stream` reads the
    parts of its answer, None where nobody wants any. `has_left` is false while nobody can have taken the request: it
    was given neither to a link nor to an intake.
    """

    __slots__ = (
        "actor",
        "ask_id",
        "deadline",
        "envelope",
        "future",
        "has_left",
        "host",
        "probe_at",
        "probe_in_s",
        "request",
        "stream",
        "timeout_s",
        "turn",
    )

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
        self.has_left = False
        self.envelope: Envelope | None = None
        self.turn: CellContext | None = None
        self.stream: Stream[Any, Any] | None = None
        self.probe_at = _NEVER
        self.probe_in_s = PROBE_AFTER_S


class Asks:
    """Opens, settles and times out asks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[int, PendingAsk] = {}
        self._next_id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self.on_long_wait: Callable[[list[PendingAsk]], None] | None = None
        """Told of asks of turns that wait so long that agents may block each other."""
        self.too_late: Callable[[PendingAsk], Exception] = timed_out
        """Says what became of an ask whose deadline is past."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[PendingAsk]:
        return iter(list(self._waiting.values()))

    def open(
        self,
        actor: ActorId,
        request: Request[Any],
        timeout_s: float,
        deadline: float,
        turn: CellContext | None = None,
        probe_at: float = _NEVER,
    ) -> PendingAsk:
        """A new ask whose future ends with the reply, a failure, or AskTimeout at the deadline."""
        self._next_id += 1
        ask = PendingAsk(self._next_id, actor, request, timeout_s, deadline, self._loop.create_future())
        self._waiting[ask.ask_id] = ask
        if turn is not None:
            ask.turn = turn
            ask.probe_at = probe_at
            if probe_at < self._timer_at:
                self._set_timer(min(probe_at, deadline))
        if deadline < self._timer_at:
            self._set_timer(deadline)
        return ask

    def shorten(self, ask: PendingAsk, deadline: float) -> None:
        """Has an ask wait until then at most."""
        if deadline < ask.deadline:
            ask.timeout_s -= ask.deadline - deadline
            ask.deadline = deadline
            if deadline < self._timer_at:
                self._set_timer(deadline)

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

    def has_begun(self, ask_id: int) -> bool:
        """Whether a part of its answer has come, so that no other turn may answer it: parts would double or miss."""
        ask = self._waiting.get(ask_id)
        return ask is not None and ask.stream is not None and ask.stream.has_begun

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
            self._timer, self._timer_at = None, _NEVER

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        next_deadline = next_probe = _NEVER
        over: list[PendingAsk] = []
        waits_long: list[PendingAsk] = []
        for ask in self._waiting.values():
            if ask.deadline <= now:
                over.append(ask)
                continue
            if ask.probe_at <= now:
                waits_long.append(ask)
                ask.probe_at, ask.probe_in_s = now + ask.probe_in_s, 2 * ask.probe_in_s
            next_deadline = min(next_deadline, ask.deadline)
            next_probe = min(next_probe, ask.probe_at)
        self._timer, self._timer_at = None, _NEVER
        due = min(max(next_deadline, now + GRAIN_S), max(next_probe, now + PROBE_GRAIN_S))
        if due != _NEVER:
            self._set_timer(due)
        if over:
            self._expire(over, LAST_ROUNDS)
        if waits_long and self.on_long_wait is not None:
            self.on_long_wait(waits_long)

    def _expire(self, over: list[PendingAsk], rounds: int) -> None:
        """Fails asks at their deadline, behind every reply that is in the process already (SEMANTICS 4)."""
        if rounds:
            self._loop.call_soon(self._expire, over, rounds - 1)
            return
        for ask in over:
            if not ask.future.done():
                self.fail(ask.ask_id, self.too_late(ask))


def timed_out(ask: PendingAsk) -> AskTimeout:
    """Nobody answered in time."""
    request = type(ask.request)
    adopted, streamed = request.asks_adopted_code, ask.stream is not None
    return AskTimeout(ask.actor, request.__name__, ask.timeout_s, streamed=streamed, adopted=adopted)


def check_timeout(timeout_s: float) -> None:
    """Raises Misuse for what is no number of seconds."""
    if not isinstance(timeout_s, int | float) or timeout_s != timeout_s:
        raise Misuse(
            f"timeout_s={timeout_s!r} is no time; give seconds, such as timeout_s=30, or math.inf to wait without limit"
        )
