"""Where the actors of an app run. The guardian holds the truth; everybody else asks it and remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from regrow.runtime import ActorId, HostId, WorldBroke

RESTART_WAIT_S = 60.0
"""How long a look-up waits for an actor that restarts before it counts as not there."""

MAX_KNOWN = 100_000
"""How many actors elsewhere a process remembers: dynamic children come and go for as long as it lives."""


class GuardianDirectory:
    """The truth: which host holds which actor. Look-ups wait while an actor has no host."""

    def __init__(self, me: HostId, start_on_demand: Callable[[ActorId], Awaitable[bool]]) -> None:
        """`start_on_demand` returns when an actor of that sort runs, and False for all others."""
        self._me = me
        self._start_on_demand = start_on_demand
        self._placed: dict[ActorId, HostId] = {}
        self._homeless: dict[ActorId, asyncio.Event] = {}
        self.here: Callable[[ActorId], bool] = lambda actor: False

    def host_of(self, actor: ActorId) -> HostId | None:
        """See Directory."""
        return self._me if self.here(actor) else self._placed.get(actor)

    async def locate(self, actor: ActorId) -> HostId | None:
        """See Directory."""
        if self.here(actor):
            return self._me
        # Asked first: one that is placed may be about to end, since it has nothing to do.
        starts_on_demand = await self._start_on_demand(actor)
        placed = next((one for one in _with_ancestors(actor) if one in self._placed or one in self._homeless), None)
        if placed is None and starts_on_demand:
            placed = actor
        if placed is None:
            return None
        waits = self._homeless.get(placed)
        if waits is not None:
            try:
                await asyncio.wait_for(waits.wait(), RESTART_WAIT_S)
            except TimeoutError:
                raise WorldBroke(f"{actor} has been restarting for {RESTART_WAIT_S:g} s and has no host yet") from None
        return self._placed.get(placed)

    def forget(self, actor: ActorId) -> None:
        """Nothing to do: what the guardian knows is true until it learns otherwise."""

    def starts(self, actor: ActorId) -> None:
        """The actor is about to start; look-ups wait for it from now on, unless it has a host already."""
        if actor not in self._placed:
            self._homeless.setdefault(actor, asyncio.Event())

    def place(self, actor: ActorId, host: HostId) -> None:
        """The actor runs in that host."""
        self._placed[actor] = host
        self._release(actor)

    def remove(self, actor: ActorId) -> HostId | None:
        """The actor is gone for good; returns the host that it had."""
        self._release(actor)
        return self._placed.pop(actor, None)

    def host_died(self, host: HostId) -> list[ActorId]:
        """A host is gone; returns the actors that were there, which now wait for a new one."""
        lost = [actor for actor, where in self._placed.items() if where == host]
        for actor in lost:
            del self._placed[actor]
            self._homeless[actor] = asyncio.Event()
        return lost

    def _release(self, actor: ActorId) -> None:
        waits = self._homeless.pop(actor, None)
        if waits is not None:
            waits.set()


def _with_ancestors(actor: ActorId) -> Iterator[ActorId]:
    """The actor, its parent and so on. What an agent spawned is in its host, and only that host knows of it."""
    while actor:
        yield actor
        actor = ActorId(actor.rpartition("/")[0])


class RememberingDirectory:
    """What a host or driver knows, learnt from the guardian and dropped when it proves wrong."""

    def __init__(self, ask: Callable[[ActorId], Awaitable[HostId | None]]) -> None:
        self._ask = ask
        self._known: dict[ActorId, HostId] = {}

    def host_of(self, actor: ActorId) -> HostId | None:
        """See Directory."""
        return self._known.get(actor)

    async def locate(self, actor: ActorId) -> HostId | None:
        """See Directory."""
        host = await self._ask(actor)
        if host is not None:
            if len(self._known) >= MAX_KNOWN and actor not in self._known:
                del self._known[next(iter(self._known))]  # the one learnt first; whoever needs it asks again
            self._known[actor] = host
        return host

    def forget(self, actor: ActorId) -> None:
        """See Directory."""
        self._known.pop(actor, None)

    def host_died(self, host: HostId) -> list[ActorId]:
        """A host is gone; returns the actors that were known to be there."""
        lost = [actor for actor, where in self._known.items() if where == host]
        for actor in lost:
            del self._known[actor]
        return lost

    def clear(self) -> None:
        """Forgets everything, as when a new guardian has taken over."""
        self._known.clear()
