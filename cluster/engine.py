"""The port between an App and what runs it: one process, or Ray."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from regrow.cluster.deeds import Deed, Replaced
from regrow.cluster.letters import Letters
from regrow.cluster.metrics import AppMetrics
from regrow.cluster.tree import Stretch, Trees
from regrow.runtime import ActorId, ExitReason, Runtime
from regrow.runtime.deaths import Had


class Engine(Protocol):
    """Runs one app. `runtime` is the process's own, through which refs reach the tree."""

    @property
    def runtime(self) -> Runtime:
        """The runtime of this process; only after `start`."""
        ...

    async def start(self) -> None:
        """Starts the tree and returns when every static child has initialised."""
        ...

    async def stop(self) -> None:
        """Stops the tree in order and leaves nothing; also after a start that failed. Idempotent."""
        ...

    def request_stop(self) -> None:
        """Makes `wait_ended` return, as Ctrl-C does."""
        ...

    async def wait_ended(self) -> ExitReason:
        """Waits for the end of the root supervisor."""
        ...

    async def trees(self) -> Trees:
        """The trees and counts of the app as they are now."""
        ...

    def walk(self) -> AsyncIterator[Stretch]:
        """The trees stretch by stretch, with time for others in between; see Stretch."""
        ...

    async def letters(self) -> Letters:
        """The dead letters of all processes of the app."""
        ...

    async def metrics(self) -> AppMetrics:
        """What all processes of the app have counted, and how they stand."""
        ...

    async def messages(self, actor: ActorId) -> tuple[Had, ...] | None:
        """The latest messages of an actor, oldest first; None where nobody of that id is anywhere."""
        ...

    async def carry_out(self, deed: Deed, actor: ActorId, *, timeout_s: float) -> Replaced:
        """See Operations.carry_out."""
        ...
