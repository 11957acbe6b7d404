"""The context of an agent's turn: the kernel's, with the services of the app.

`ctx.memory` and `ctx.models` are doors to actors of the app; the first use starts them. `ctx.tools` are the tools of
the agent itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regrow.actors.agent_models import AgentModels
from regrow.actors.budget import Budget
from regrow.actors.service import Service
from regrow.actors.skills import Skills, listed_skills
from regrow.actors.tool import Tool
from regrow.actors.tool_calls import Tools, listed_tools
from regrow.memory.fabric import Memory
from regrow.runtime.address import ActorId
from regrow.runtime.context import CellContext
from regrow.runtime.errors import Misuse
from regrow.runtime.ref import DEFAULT_ASK_TIMEOUT_S, ActorRef
from regrow.supervisors import requests as to_supervisor
from regrow.supervisors.children import ChildCounts, ChildRow, SpecRow
from regrow.supervisors.spec import ChildSpec


class Context(CellContext):
    """What a handler gets beside its message. It belongs to that turn and that incarnation."""

    __slots__ = ()

    @property
    def memory(self) -> Memory:
        """What this app remembers; durable and shared by all its agents."""
        return Memory(self._service("memory"), self.app, principal=self.principal or self.id)

    @property
    def models(self) -> AgentModels:
        """The small and the large model, within the app's budget; `run` lets one use the tools of this agent."""
        return AgentModels(self, self._service("models"))

    @property
    def budget(self) -> Budget:
        """What is left for this turn of money, tokens, calls and time: `await ctx.budget.left()`."""
        return Budget(self, self._service("models"))

    @property
    def tools(self) -> Tools:
        """The tools of this agent's class, as far as the capability of this message allows; none is the default."""
        return Tools(self, self._listed_tools)

    @property
    def skills(self) -> Skills:
        """The skills of this agent's class: what to tell a model of them, and their instructions."""
        self.live()
        return Skills(listed_skills(self._cell.behavior))

    @property
    def _listed_tools(self) -> Mapping[str, Tool[Any]]:
        self.live()
        return listed_tools(self._cell.behavior)

    async def start_child(
        self, supervisor: ActorRef | str | None = None, *, config: object | None = None, spec: ChildSpec | None = None
    ) -> ActorRef:
        """Starts one more child: of a DynamicSupervisor with this config or that of its spec, of any other with `spec`.

        Where no supervisor is named, it is this agent's own. A child that was added by `spec` is the last in
        start order, and does not come back when its supervisor is restarted.

        Raises:
            MaxChildren: the supervisor has as many as it may have.
            AlreadyStarted, AlreadyPresent: it has a child of the spec's id, which runs or does not.
            UnfitChild: it is of the other sort, or its rules allow no such child.
            FailedToStartChild: the child's own start failed; nothing of it is left.
            InvalidMessage: the config can not travel.
        """
        return await to_supervisor.start_child(self._supervisor(supervisor), config, spec=spec)

    async def restart_child(self, child: ActorRef | str) -> ActorRef:
        """Has a child that does not run started by its supervisor.

        Raises NoSuchChild, ChildRunning, DynamicChild, FailedToStartChild.
        """
        return await to_supervisor.restart_child(self.ref(child))

    async def stop_child(self, child: ActorRef | str, *, timeout_s: float = DEFAULT_ASK_TIMEOUT_S) -> None:
        """Has a child stopped by its supervisor and returns when it is dead; it is not started again by itself.

        Of a DynamicSupervisor it is gone then. Raises NoSuchChild, and AskTimeout when it is not
        certainly dead in time.
        """
        await to_supervisor.stop_child(self.ref(child), timeout_s)

    async def delete_child(self, child: ActorRef | str) -> None:
        """Has a child that does not run forgotten by its supervisor. Raises NoSuchChild, ChildRunning, DynamicChild."""
        await to_supervisor.delete_child(self.ref(child))

    async def get_childspec(self, child: ActorRef | str) -> SpecRow:
        """The spec of a child, as its supervisor has it; of a DynamicSupervisor's that of all. Raises NoSuchChild."""
        return await to_supervisor.get_childspec(self.ref(child))

    async def which_children(self, supervisor: ActorRef | str | None = None) -> tuple[ChildRow, ...]:
        """The children of a supervisor in start order; of this agent's own where none is named."""
        return await to_supervisor.which_children(self._supervisor(supervisor))

    async def count_children(self, supervisor: ActorRef | str | None = None) -> ChildCounts:
        """How many children a supervisor has; this agent's own where none is named."""
        return await to_supervisor.count_children(self._supervisor(supervisor))

    def _supervisor(self, named: ActorRef | str | None) -> ActorRef:
        return to_supervisor.parent_of(self.self_ref)[0] if named is None else self.ref(named)

    def _service(self, name: str) -> Service:
        service = self.runtime.services.get(name)
        if service is None:
            raise Misuse(f"this process runs no app with a {name} service; start the agent through an App")
        return self._service_at(name, service)

    def _service_at(self, name: str, service: ActorId) -> Service:
        return Service(self, service)
