"""Makes the behavior of one life from what its start request names. Used wherever cells start."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from regrow.cluster.code import CodeName, agent_class, found, not_an_agent
from regrow.runtime import Behavior, StartRequest
from regrow.runtime.packing import opened
from regrow.supervisors import AnySupervisorSpec

SupervisorMaker = Callable[[AnySupervisorSpec], Behavior]


class BehaviorFactory:
    """Turns a start request into a behavior.

    `make_supervisor` makes supervisors where they live; None in a host, which has none.
    """

    def __init__(self, make_supervisor: SupervisorMaker | None = None) -> None:
        self._make_supervisor = make_supervisor

    def __call__(self, request: StartRequest) -> Behavior:
        """Raises CodeNotImportable, InvalidConfig, Misuse, and whatever a constructor raises."""
        target = request.target
        if isinstance(target, AnySupervisorSpec) and self._make_supervisor is not None:
            return self._make_supervisor(target)
        if isinstance(target, CodeName):
            target = found(target.name)
        cls = agent_class(target)
        if cls is not None:
            return cls.made(opened(request.config))
        service = getattr(target, "as_service", None)
        if service is not None:
            return cast("Behavior", service(opened(request.config)))
        raise not_an_agent(target)
