"""How a turn asks a service of its app, memory or models: one that gives no answer is a refusal, and the agent lives.

Many agents wait for one service at a time. Would each end with it, its death would be that of all of them, and their
supervisors would count more restarts than they allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from regrow.actors.errors import ServiceLost
from regrow.runtime.address import Address
from regrow.runtime.errors import AskFailed, AskTimeout, ContactLost, NotAwaited
from regrow.runtime.ref import ActorRef

if TYPE_CHECKING:
    from regrow.actors.context import Context
    from regrow.runtime.address import ActorId
    from regrow.runtime.message import Request, StreamRequest
    from regrow.runtime.stream import Stream

P = TypeVar("P")
R = TypeVar("R")

SERVICE_TIMEOUT_S: Final = 120.0
"""How long one call of memory or models may take, its start on first use included."""


class Service:
    """Sends requests to one service of the app on behalf of one turn."""

    __slots__ = ("_ctx", "_service")

    def __init__(self, ctx: Context, service: ActorId) -> None:
        self._ctx = ctx
        self._service = service

    async def __call__(self, request: Request[R], /) -> R:
        """The reply. Raises ServiceLost, and what the service refuses."""
        with self.answering():
            return await ActorRef(Address(self._service), self._ctx.runtime).ask(request, timeout_s=SERVICE_TIMEOUT_S)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Within it no answer of the service is a refusal. Raises ServiceLost."""
        try:
            yield
        except NotAwaited:
            raise  # its agent is being stopped, which is no matter of the service
        except (AskFailed, AskTimeout, ContactLost) as error:
            raise ServiceLost(
                f"{self._service} gave {self._ctx.id} no answer ({error}); it may have done the work all the same. "
                "Ask again: a service that has died is started again by its app"
            ) from error

    def stream(self, request: StreamRequest[P, R], /) -> Stream[P, R]:
        """The answer part by part; whoever reads it knows it to be one of a service by `answering`."""
        return ActorRef(Address(self._service), self._ctx.runtime).stream(request, timeout_s=SERVICE_TIMEOUT_S)
