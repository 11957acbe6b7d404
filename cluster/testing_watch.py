"""Stands between the cells of one process and their agents while a test runs the app.

Agents, and the router where the test has a script for it, are made as always; what is made is then watched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from regrow.actors import Agent
from regrow.actors.durable_life import DurableLife
from regrow.cluster.errors import PlannedCrash
from regrow.cluster.services import MODELS, ServiceConfig, models_service
from regrow.cluster.testing_playbook import Playbook, SeenTurn
from regrow.runtime.packing import opened

if TYPE_CHECKING:
    from regrow.actors import Context
    from regrow.router.provider import Provider
    from regrow.runtime import Behavior, StartRequest
    from regrow.runtime.runtime import BehaviorMaker


class Watcher(Protocol):
    """Is told of each turn of an agent; the test's own process decides."""

    async def begins(self, turn: SeenTurn) -> tuple[int, str]:
        """See Playbook.begins."""
        ...

    def ended(self, number: int) -> None:
        """See Playbook.ended."""
        ...


class PlaybookHere:
    """The Watcher where the test runs in this very process."""

    def __init__(self, playbook: Playbook) -> None:
        self._playbook = playbook

    async def begins(self, turn: SeenTurn) -> tuple[int, str]:
        """See Watcher."""
        return self._playbook.begins(turn)

    def ended(self, number: int) -> None:
        """See Watcher."""
        self._playbook.ended(number)


def watched(make: BehaviorMaker, watcher: Watcher, script: Provider | None) -> BehaviorMaker:
    """What makes behaviors, so that `watcher` is told of what agents handle and `script` answers for models."""

    def made(request: StartRequest) -> Behavior:
        if script is not None and _code_name(request.target) == MODELS.code_name:
            config = opened(request.config)
            assert isinstance(config, ServiceConfig)
            return models_service(config, script)
        behavior = make(request)
        if isinstance(behavior, DurableLife):
            _watch(behavior.agent, watcher)
        elif isinstance(behavior, Agent):
            _watch(behavior, watcher)
        return behavior

    return made


def _code_name(target: object) -> str:
    return str(getattr(target, "code_name", getattr(target, "name", "")))


def _watch(agent: Agent, watcher: Watcher) -> None:
    """Puts the watcher around the handlers of one life; what waits and commits around them stays as it is."""
    handle = agent.handle

    async def handle_watched(message: Any, ctx: Context) -> object:
        turn = SeenTurn(agent=ctx.id, incarnation=ctx.incarnation, message=message)
        number, crash = await watcher.begins(turn)
        if crash:
            raise PlannedCrash(crash)
        try:
            return await handle(message, ctx)
        finally:
            watcher.ended(number)

    agent.handle = handle_watched  # type: ignore[method-assign]
