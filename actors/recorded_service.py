"""Memory and models as a durable turn uses them: each request is a step, made once and given again from its record.

What they fail for a while is asked again before it is recorded: what a turn has recorded stays so for good.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from regrow.actors.errors import ServiceLost
from regrow.actors.recorded_stream import RecordedStream
from regrow.actors.service import SERVICE_TIMEOUT_S, Service
from regrow.memory.requests import Remember
from regrow.router.errors import FOR_A_WHILE
from regrow.router.request import ModelPart, ModelReply, ModelRequest
from regrow.router.usage import SpentOnTab
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

MOST_ASKS: Final = 5
"""Of one request in one run of its turn."""
FIRST_WAIT_S: Final = 1.0
"""Before the second ask; it doubles. A service that dies of a request must not use up the restarts of all."""
LONGEST_WAIT_S: Final = 60.0
"""A provider that says to come back later than that is not waited for."""


class RecordedService(Service):
    """Sends the requests of one turn, each as the step `memory:Remember`, `models:ModelRequest` and so on."""

    __slots__ = ("_durable", "_name")

    def __init__(self, ctx: DurableMessages, name: str, service: ActorId) -> None:
        super().__init__(ctx, service)
        self._durable = ctx
        self._name = name

    async def __call__(self, request: Request[R], /) -> R:
        name = f"{self._name}:{type(request).__name__}"
        asked = self._durable.recorded_ask(name, self._service, request, known_by=_timeless(request))
        if asked is None:
            return await super().__call__(request)
        await asked.begin()
        return await asked.outcome(lambda: self._until_answered(name, request))

    def stream(self, request: StreamRequest[P, R], /) -> Stream[P, R]:
        """The answer part by part; a run of this turn that has its record reads the recorded text as one part."""
        name = f"{self._name}:{type(request).__name__}"
        asked = self._durable.recorded_ask(name, self._service, request, known_by=_timeless(request))
        if asked is None:
            return super().stream(request)
        ref = ActorRef(Address(self._service), self._durable.runtime)
        return RecordedStream(ref, request, asked, timeout_s=SERVICE_TIMEOUT_S, parts_of=_parts_of_reply)

    async def _until_answered(self, name: str, request: Request[R]) -> R:
        """The reply. Raises what is refused for good, or at the last ask: MOST_ASKS, the deadline, the retry budget."""
        durability = self._durable.runtime.durability
        assert durability is not None, "a durable agent runs, so its process has a journal"
        wait_s = FIRST_WAIT_S
        for _ in range(MOST_ASKS - 1):
            try:
                reply = await super().__call__(request)
            except (ServiceLost, *FOR_A_WHILE) as error:
                pause_s = max(wait_s, getattr(error, "retry_after_s", None) or 0.0)
                left_s = self._durable.deadline
                if pause_s > LONGEST_WAIT_S or (left_s is not None and left_s <= pause_s):
                    raise
                # One death of a service is no failure of those that call it, however many wait for it.
                if not isinstance(error, ServiceLost) and not durability.retry_budget.failed(name):
                    raise
            else:
                durability.retry_budget.succeeded(name)
                return reply
            await asyncio.sleep(pause_s)
            wait_s *= 2
        return await super().__call__(request)


def _parts_of_reply(reply: object) -> tuple[Any, ...]:
    return (ModelPart(text=reply.text),) if isinstance(reply, ModelReply) and reply.text else ()


def _timeless(request: Request[Any]) -> Request[Any]:
    """What must be the same when the turn is run again: all but the time at which something was to be remembered.

    And but what a model is told of tools, and the caps, which are code: a turn that has waited for days may go on with
    a newer one.
    """
    if isinstance(request, ModelRequest):
        return request.model_copy(update={"tools": (), "max_cost_usd": None})
    if isinstance(request, SpentOnTab):
        return request.model_copy(update={"account": ""})
    if not isinstance(request, Remember):
        return request
    records = tuple(record.model_copy(update={"created_at_s": 0.0}) for record in request.records)
    return request.model_copy(update={"records": records})
