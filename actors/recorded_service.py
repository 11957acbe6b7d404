"""Memory and models as a durable turn uses them: each request is a step, made once and given again from its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from regrow.actors.context import Service
from regrow.memory.requests import Remember
from regrow.runtime.message import Request

if TYPE_CHECKING:
    from regrow.actors.durable_messages import DurableMessages
    from regrow.runtime.address import ActorId

R = TypeVar("R")


class RecordedService(Service):
    """Sends the requests of one turn, each as the step `memory:Remember`, `models:ModelRequest` and so on."""

    __slots__ = ("_durable", "_name")

    def __init__(self, ctx: DurableMessages, name: str, service: ActorId) -> None:
        super().__init__(ctx, service)
        self._durable = ctx
        self._name = name

    async def __call__(self, request: Request[R], /) -> R:
        ask = super().__call__
        name = f"{self._name}:{type(request).__name__}"
        asked = self._durable.recorded_ask(name, self._service, request, known_by=_timeless(request))
        if asked is None:
            return await ask(request)
        await asked.begin()
        return await asked.outcome(lambda: ask(request))


def _timeless(request: Request[Any]) -> Request[Any]:
    """What must be the same when the turn is run again: all but the time at which something was to be remembered."""
    if not isinstance(request, Remember):
        return request
    records = tuple(record.model_copy(update={"created_at_s": 0.0}) for record in request.records)
    return request.model_copy(update={"records": records})
