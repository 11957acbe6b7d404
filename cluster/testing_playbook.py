"""What a test has ordered of the agents of its app, and what it has seen of them. Pure: it waits for nothing."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from regrow.runtime import ActorId, Incarnation, Message, Misuse

SEEN_LIMIT = 10_000
"""Messages that are kept for a test to look at; of more, the latest."""


@dataclass(slots=True)
class _Order:
    """Crashes that are still to come."""

    message: type[Message]
    agent: ActorId | None
    left: int

    def __str__(self) -> str:
        whose = f" of {self.agent}" if self.agent is not None else ""
        return f"{self.left} on {self.message.__name__}{whose}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTurn:
    """One message as it came to its agent's handler."""

    agent: ActorId
    incarnation: Incarnation
    message: object

    def __str__(self) -> str:
        return f"{self.agent}#{self.incarnation} handles {type(self.message).__name__}"


class Playbook:
    """Decides which turns crash, and knows which run."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []
        self._numbers = itertools.count(1)
        self._running: dict[int, SeenTurn] = {}
        self._seen: deque[SeenTurn] = deque(maxlen=SEEN_LIMIT)

    def crash_on(self, message: type[Message], *, times: int, agent: ActorId | None) -> None:
        """Orders crashes. Raises Misuse for what can be no order."""
        if not (isinstance(message, type) and issubclass(message, Message)):
            raise Misuse(f"crash_on takes the class of a message, such as crash_on(Question); got {message!r}")
        if times < 1:
            raise Misuse(f"crash_on(times={times}): order at least one crash")
        self._orders.append(_Order(message, agent, times))

    def begins(self, turn: SeenTurn) -> tuple[int, str]:
        """A turn begins: its number, and why it crashes instead where that was ordered."""
        self._seen.append(turn)
        for order in self._orders:
            if order.left and isinstance(turn.message, order.message) and order.agent in (None, turn.agent):
                order.left -= 1
                return 0, f"a test ordered this crash, by crash_on({order.message.__name__})"
        number = next(self._numbers)
        self._running[number] = turn
        return number, ""

    def ended(self, number: int) -> None:
        """A turn is over, however it went."""
        self._running.pop(number, None)

    @property
    def running(self) -> tuple[SeenTurn, ...]:
        """The turns that run."""
        return tuple(self._running.values())

    def seen(self, agent: ActorId | None) -> Iterator[SeenTurn]:
        """The turns that have begun, in order; of one agent or of all."""
        return (turn for turn in self._seen if agent in (None, turn.agent))

    @property
    def left(self) -> tuple[str, ...]:
        """The orders of which crashes are left."""
        return tuple(str(order) for order in self._orders if order.left)
