"""Starts and ends the lives of children through a Starter, and hears of their deaths.

All waiting of a supervisor is here. What a cancelled operation leaves can be read off each child's
`life`, so that whoever ends it next needs to know nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

from regrow.runtime.address import ActorId, Incarnation, child_id
from regrow.runtime.errors import Closed
from regrow.runtime.lifecycle import Crashed, Exited, Shutdown
from regrow.runtime.starter import KillOutcome, Starter, StartFailed, StartRequest
from regrow.supervisors.children import Child, ChildList, Life
from regrow.supervisors.errors import FailedToStartChild
from regrow.supervisors.spec import AnySupervisorSpec, SupervisorSpec
from regrow.supervisors.strategy import Status

ORDERS_AT_ONCE = 64
"""So many stops or kills of one supervisor are under way to hosts at one time."""

_nested_failures: ContextVar[list[FailedToStartChild] | None] = ContextVar("regrow_nested_failures", default=None)
"""Where a nested supervisor leaves its own failure for the parent that starts it in this process,
since a StartFailed has no room for the path down to the child that really failed."""


@runtime_checkable
class PreparingStarter(Protocol):
    """A Starter that can request hosts ahead of the starts that will need them."""

    async def prepare(self, requests: Sequence[StartRequest]) -> None:
        """Asks for all these hosts together; returns when they are asked for, not when they are there."""
        ...


@runtime_checkable
class IsolatingStarter(Protocol):
    """A Starter that gives a child a process of its own while a message of it may have killed the one before."""

    def cleared(self, actor: ActorId) -> None:
        """That message has its outcome: others may be in the child's process again."""
        ...


class Lives:
    """The lives of one supervisor's children."""

    def __init__(
        self,
        starter: Starter,
        children: ChildList,
        *,
        incarnations: Callable[[], Incarnation],
        started: Callable[[Child], None],
        terminated: Callable[[Child], None],
    ) -> None:
        self._starter = starter
        self._children = children
        self._incarnations = incarnations
        self._started = started
        self._terminated = terminated
        self._ending = False
        self._closed = False
        self._left = False

    async def prepare(self) -> dict[str, StartRequest]:
        """Has the hosts of all children requested together; returns the requests by child id."""
        requests = {child.id: child.next_life(self._incarnations()) for child in self._children}
        if requests and isinstance(self._starter, PreparingStarter):
            await self._starter.prepare(tuple(requests.values()))
        return requests

    async def start(self, child: Child, request: StartRequest | None = None) -> Crashed | FailedToStartChild | None:
        """Starts one life and waits until it has initialised. Returns why it failed, or None."""
        if self._closed:
            raise Closed(f"the supervisor of {child.actor} has ended and starts nothing more")
        assert child.life is Life.NONE
        if request is None:
            request = child.next_life(self._incarnations())
        child.death = asyncio.get_running_loop().create_future()
        child.life = Life.STARTING
        failures: list[FailedToStartChild] = []
        token = _nested_failures.set(failures)
        try:
            outcome = await self._starter.start(request)
        finally:
            _nested_failures.reset(token)
        if isinstance(outcome, StartFailed):
            self._over(child)
            child.exited = None
            child.last_reason = outcome.cause
            child.host = child.pid = None
            nested = isinstance(child.spec.behavior, AnySupervisorSpec)
            return failures[-1] if nested and failures else outcome.cause
        child.host, child.pid = outcome.host, outcome.pid
        child.last_up = child.incarnation
        child.status = Status.RUNNING
        if child.life is Life.STARTING:  # else it is over again, and its Exited was quicker than this
            child.life = Life.UP
        self._started(child)
        return None

    def died(self, exited: Exited) -> bool:
        """A child's exit arrived. True when nobody has to decide on it any more."""
        child = self._children.of_life(exited.actor, exited.incarnation)
        if child is None or child.life is Life.NONE:
            return True
        child.last_reason = exited.reason
        self._over(child)
        self._terminated(child)
        if child.awaited or self._ending:
            return True
        self._children.ended(child, exited)
        return False

    async def end(self, child: Child) -> None:
        """Ends a child in its own time, or else by force.

        Returns when it is dead, or is Life.UNCONFIRMED. What it died of meanwhile needs no decision.
        """
        child.awaited = True
        try:
            limit_s = child.spec.shutdown_s
            if child.life is Life.UP and limit_s != 0:
                assert child.death is not None
                await self._starter.stop(child.actor, child.incarnation, Shutdown(), limit_s)
                # wait() and not wait_for(): a cancelled wait must not cancel the child's death.
                await asyncio.wait((child.death,), timeout=limit_s)
            await self.kill(child)
        finally:
            child.awaited = False
        child.exited = None

    async def kill(self, child: Child) -> None:
        """Ends a child without asking it. Returns when it is dead, or is Life.UNCONFIRMED."""
        before = child.life
        if before not in (Life.STARTING, Life.UP):
            return
        outcome = await self._starter.kill(child.actor, child.incarnation)
        if child.life is not before:
            return  # its Exited came meanwhile
        if outcome is KillOutcome.UNCONFIRMED:
            child.life = Life.UNCONFIRMED
        elif before is Life.STARTING:
            self._over(child)  # a life that never came up announces no exit
        else:
            await child.wait_dead()

    async def end_all(self) -> None:
        """Ends all children one by one in reverse start order; returns when every one is certainly dead."""
        self._ending = True
        for child in reversed(self._children):
            await self.end(child)
        for child in self._children:
            await child.wait_dead()

    async def kill_all(self) -> None:
        """Ends all children by force in reverse start order; none can be started from here on."""
        self._ending = self._closed = True
        for child in reversed(self._children):
            await self.kill(child)
        for child in self._children:
            await child.wait_dead()

    async def end_together(self, limit_s: float | None) -> None:
        """Ends all children at once, with one deadline for all; returns when every one is certainly dead."""
        self._ending = True
        children = [child for child in self._children if child.life is Life.UP]
        deaths = [child.death for child in children if child.death is not None]
        if deaths and limit_s != 0:
            loop = asyncio.get_running_loop()
            deadline = None if limit_s is None else loop.time() + limit_s

            async def stop(child: Child) -> None:
                left_s = None if deadline is None else max(0.0, deadline - loop.time())
                await self._starter.stop(child.actor, child.incarnation, Shutdown(), left_s)

            # Beside the wait: a host that can not be reached must not move the deadline of the others.
            ordering = loop.create_task(_each(children, stop))
            try:
                await asyncio.wait(deaths, timeout=limit_s)
            finally:
                ordering.cancel()
                await asyncio.wait((ordering,))
        await self._kill_together()

    async def kill_together(self) -> None:
        """Ends all children by force at once; none can be started from here on."""
        self._ending = self._closed = True
        await self._kill_together()

    async def _kill_together(self) -> None:
        await _each(tuple(self._children), self.kill)
        for child in self._children:
            await child.wait_dead()

    def cleared(self, child: Child) -> None:
        """The message that may have killed the child's process has its outcome."""
        if isinstance(self._starter, IsolatingStarter):
            self._starter.cleared(child.actor)

    def forget(self, child: Child) -> None:
        """No further life of it is meant to come: what is queued at it becomes dead letters."""
        if not child.unconfirmed and not self._left:  # else once its Exited has come
            self._forget(child.actor, child.spec.behavior)

    def leave(self) -> None:
        """The life of their supervisor is over, and children of these names may be those of its next one.

        A start of it that was cut short may still be tidying up, since what it calls takes its time.
        """
        self._left = True

    def _forget(self, actor: ActorId, target: object) -> None:
        """A nested supervisor takes with it those it would have started again."""
        if isinstance(target, SupervisorSpec):
            for spec in reversed(target.children):
                self._forget(child_id(actor, spec.id), spec.behavior)
        self._starter.forget(actor)

    def _over(self, child: Child) -> None:
        child.life = Life.NONE
        if child.death is not None and not child.death.done():
            child.death.set_result(None)


async def _each(children: Sequence[Child], act: Callable[[Child], Awaitable[None]]) -> None:
    """Acts on every child, on ORDERS_AT_ONCE of them at a time."""
    waiting = iter(children)

    async def work() -> None:
        for child in waiting:
            await act(child)

    await asyncio.gather(*(work() for _ in range(min(ORDERS_AT_ONCE, len(children)))))


def failed_to_start(child_id: str, cause: Crashed | FailedToStartChild) -> FailedToStartChild:
    """The error for a child that did not start; it prints the traceback of the innermost failure."""
    error = FailedToStartChild(child_id, cause)
    root = error.root_cause
    if isinstance(root, Crashed) and root.traceback:
        error.add_note(root.traceback)
    return error


def leave_to_parent(error: FailedToStartChild) -> None:
    """Hands a supervisor's failure to the supervisor that is starting it in this process, if one is."""
    failures = _nested_failures.get()
    if failures is not None:
        failures.append(error)
