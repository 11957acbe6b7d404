"""What the turns of a simulation truly wait for, noted outside of the runtimes, so that a ring can be judged.

A turn is named by the request that it handles, the start of a child by the child's id. An ask waits for the turn that
handles it; where none does yet, for a turn that keeps its receiver from it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

Turn = int | str
"""The number of the request that is handled, the id of the child that starts, or the name of a client."""

EVER_S = float("inf")


@dataclass(slots=True)
class Wait:
    """An ask of a turn, or the start of a child that it waits for."""

    turn: Turn
    edge: tuple[str, str]
    """Who waits for whom."""
    of: Turn
    """The request that was sent, or the child."""
    until_s: float = EVER_S


@dataclass(slots=True)
class Waits:
    """All waits and turns so far, and how long they count after their end."""

    most_turns: int
    slack_s: float
    """The news of an end crosses wires that lose calls, and what is told before it comes is no mistake."""
    by_edge: defaultdict[tuple[str, str], list[Wait]] = field(default_factory=lambda: defaultdict(list))
    is_beside: dict[Turn, bool] = field(default_factory=dict)
    """By turn, whether it keeps nobody out, unless its agent has as many as it may have."""
    begun_s: dict[Turn, float] = field(default_factory=dict)
    """When the handling of a request began, unless it was set aside since."""
    running: Counter[str] = field(default_factory=Counter)
    """By agent, how many turns it has beside each other."""
    full_until_s: dict[str, float] = field(default_factory=dict)
    """By agent, until when it last had as many as it may have."""

    @contextmanager
    def waiting(self, turn: Turn, who: str, targets: Sequence[tuple[str, Turn]]) -> Iterator[None]:
        """Notes that a turn waits for all of these, for as long as that lasts."""
        waits = [Wait(turn, (who, target), of) for target, of in targets]
        for wait in waits:
            self.by_edge[wait.edge].append(wait)
        try:
            yield
        finally:
            for wait in waits:
                wait.until_s = self._now()

    @contextmanager
    def serving(self, turn: Turn, who: str, *, beside: bool) -> Iterator[None]:
        """Notes that an agent handles a request, for as long as that lasts."""
        self.is_beside[turn] = beside
        self.begun_s[turn] = self._now()
        self.running[who] += beside
        if self.running[who] >= self.most_turns:
            self.full_until_s[who] = EVER_S
        try:
            yield
        finally:
            if self.running[who] >= self.most_turns:
                self.full_until_s[who] = self._now()
            self.running[who] -= beside

    def set_aside(self, turn: Turn) -> None:
        """The request is queued again."""
        del self.begun_s[turn]

    def ring(self, agents: Sequence[str], since_s: float) -> list[Wait]:
        """Waits that make these agents a ring, each for a turn that waits for the next; empty when there are none.

        What ended less than the slack before `since_s` counts.
        """
        edges = list(zip(agents, (*agents[1:], agents[0]), strict=True))
        oldest_s = since_s - self.slack_s
        candidates = [[wait for wait in self.by_edge[edge] if wait.until_s >= oldest_s] for edge in edges]
        for first in candidates[0]:
            ways = {id(first): [first]}
            for following in candidates[1:]:
                ways = {
                    id(wait): [*way, wait]
                    for wait in following
                    for way in ways.values()
                    if self._leads_to(way[-1], wait, oldest_s)
                }
            for way in ways.values():
                if self._leads_to(way[-1], first, oldest_s):
                    return way
        return []

    def _leads_to(self, wait: Wait, following: Wait, oldest_s: float) -> bool:
        """Whether what the first one waits for is the turn that has the other wait."""
        if wait.of == following.turn:
            return True
        if self.begun_s.get(wait.of, EVER_S) < oldest_s:
            return False  # another turn handles it
        if not self.is_beside.get(following.turn, True):
            return True
        return self.full_until_s.get(following.edge[0], -EVER_S) >= oldest_s

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
