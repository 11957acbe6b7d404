"""The starts that turns of this process wait for; with asks, what rings of blocked agents are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from regrow.runtime.address import ActorId, HostId, Incarnation
from regrow.runtime.context import CellContext, current

if TYPE_CHECKING:
    from regrow.runtime.runtime import Runtime
    from regrow.runtime.starter import StartRequest


class AwaitedStart:
    """One life that begins in `host`, and the turn that waits until it has initialised."""

    __slots__ = ("actor", "host", "incarnation", "is_over", "turn")

    def __init__(self, actor: ActorId, incarnation: Incarnation, host: HostId, turn: CellContext) -> None:
        self.actor = actor
        self.incarnation = incarnation
        self.host = host
        self.turn = turn
        self.is_over = False


class AwaitedStarts:
    """All of one process. Whoever starts a life says so here, in the task of the turn that waits for it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: dict[AwaitedStart, None] = {}

    def __iter__(self) -> Iterator[AwaitedStart]:
        return iter(list(self._waiting))

    @contextmanager
    def waits(self, request: StartRequest, host: HostId) -> Iterator[None]:
        """Notes, as long as it lasts, that the turn which runs waits for this life to begin in that host."""
        turn = current.get()
        if turn is None or turn.runtime is not self._runtime:
            yield  # no turn waits, or one of another process, which has noted it there
            return
        start = AwaitedStart(request.actor, request.incarnation, host, turn)
        self._waiting[start] = None
        try:
            yield
        finally:
            start.is_over = True
            del self._waiting[start]


def asks_of_starts(ring: Sequence[tuple[str, str, int]]) -> list[int]:
    """The places in a ring where an agent asks whose start is part of that ring; see signals.Chase."""
    return [place for place, (_, _, number) in enumerate(ring) if number > 0 > ring[place - 1][2]]
