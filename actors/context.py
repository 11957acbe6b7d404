"""The context of an agent's turn: the kernel's, with the services of the app.

`ctx.memory` and `ctx.models` are doors to actors of the app; the first use starts them.
"""

from __future__ import annotations

from typing import TypeVar

from regrow.memory.fabric import Memory
from regrow.router.models import Models
from regrow.runtime.address import ActorId, Address
from regrow.runtime.context import CellContext
from regrow.runtime.errors import Misuse
from regrow.runtime.message import Request
from regrow.runtime.ref import ActorRef

R = TypeVar("R")

SERVICE_TIMEOUT_S = 120.0
"""How long one call of memory or models may take, its start on first use included."""


class _Service:
    """Sends requests to one service of the app on behalf of one turn."""

    __slots__ = ("_ctx", "_service")

    def __init__(self, ctx: Context, service: ActorId) -> None:
        self._ctx = ctx
        self._service = service

    async def __call__(self, request: Request[R], /) -> R:
        ref = ActorRef(Address(self._service), self._ctx.runtime)
        return await ref.ask(request, timeout_s=SERVICE_TIMEOUT_S)


class Context(CellContext):
    """What a handler gets beside its message. It belongs to that turn and that incarnation."""

    __slots__ = ()

    @property
    def memory(self) -> Memory:
        """What this app remembers; durable and shared by all its agents."""
        return Memory(self._service("memory"), self.app, principal=self.principal or self.id)

    @property
    def models(self) -> Models:
        """The small and the large model, within the app's budget."""
        return Models(self._service("models"), principal=self.principal, agent=self.id)

    def _service(self, name: str) -> _Service:
        service = self.runtime.services.get(name)
        if service is None:
            raise Misuse(f"this process runs no app with a {name} service; start the agent through an App")
        return _Service(self, service)
