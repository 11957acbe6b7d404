"""Memory and models as a durable turn uses them: each request is a step, made once and given again from its record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from regrow.actors.context import SERVICE_TIMEOUT_S, Service
from regrow.actors.recorded_stream import RecordedStream
from regrow.memory.requests import Remember
from regrow.router.request import ModelPart, ModelReply, ModelRequest
from regrow.runtime.address import Address
from regrow.runtime.message import Request
from regrow.runtime.ref import ActorRef

if TYPE_CHECKING:
    from regrow.actors.durable_messages import DurableMessages
    from regrow.runtime.address import ActorId
    from regrow.runtime.message import StreamRequest
    from regrow.runtime.stream import Stream

P = TypeVar("P")
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

    def stream(self, request: StreamRequest[P, R], /) -> Stream[P, R]:
        """The answer part by part; a run of this turn that has its record reads the recorded text as one part."""
        name = f"{self._name}:{type(request).__name__}"
        asked = self._durable.recorded_ask(name, self._service, request, known_by=request)
        if asked is None:
            return super().stream(request)
        ref = ActorRef(Address(self._service), self._durable.runtime)
        return RecordedStream(ref, request, asked, timeout_s=SERVICE_TIMEOUT_S, parts_of=_parts_of_reply)


def _parts_of_reply(reply: object) -> tuple[Any, ...]:
    return (ModelPart(text=reply.text),) if isinstance(reply, ModelReply) and reply.text else ()


def _timeless(request: Request[Any]) -> Request[Any]:
    """What must be the same when the turn is run again: all but the time at which something was to be remembered.

    And but what a model is told of tools, which is code: a turn that has waited for days may go on with a newer one.
    """
    if isinstance(request, ModelRequest):
        return request.model_copy(update={"tools": ()})
    if not isinstance(request, Remember):
        return request
    records = tuple(record.model_copy(update={"created_at_s": 0.0}) for record in request.records)
    return request.model_copy(update={"records": records})
