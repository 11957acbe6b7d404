"""Starts the children of a supervisor in its own process: the `inline` engine's starter."""

from __future__ import annotations

from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.lifecycle import ExitReason
from regrow.runtime.runtime import Runtime
from regrow.runtime.starter import KILLED_BY_SUPERVISOR, KillOutcome, Started, StartFailed, StartRequest


class LocalStarter:
    """The Starter port over one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def start(self, request: StartRequest) -> Started | StartFailed:
        """See Starter.start."""
        cause = await self._runtime.start(request)
        return Started(self._runtime.host, self._runtime.pid) if cause is None else StartFailed(cause)

    async def stop(self, actor: ActorId, incarnation: Incarnation, reason: ExitReason, grace_s: float | None) -> None:
        """See Starter.stop."""
        cell = self._runtime.life(actor, incarnation)
        if cell is not None:
            cell.stop(reason, grace_s)

    async def kill(self, actor: ActorId, incarnation: Incarnation, detail: str = KILLED_BY_SUPERVISOR) -> KillOutcome:
        """See Starter.kill. In one process a kill takes effect before it returns."""
        cell = self._runtime.kill(actor, incarnation, detail)
        if cell is not None:
            await cell.wait_exited()
        return KillOutcome.DEAD

    def forget(self, actor: ActorId) -> None:
        """See Starter.forget."""
        self._runtime.forget(actor)
