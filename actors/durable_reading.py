"""Turns of a durable agent that only read: each sees the state that was committed last, and leaves it as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regrow.actors.durable import DurableAgent, read, written
from regrow.actors.durable_errors import StateReadOnly
from regrow.actors.read_only import reading
from regrow.runtime.contain import contained

if TYPE_CHECKING:
    from pydantic import BaseModel

    from regrow.actors.durable_context import DurableContext


class CommittedState:
    """The committed state of one life's agent, as those see it that only read."""

    def __init__(self, agent: DurableAgent[Any]) -> None:
        self._agent = agent
        self._seen: tuple[bytes, BaseModel] | None = None

    async def turn(self, message: Any, ctx: DurableContext, *, committed: bytes) -> object:
        """What the agent's handler replies. Raises StateReadOnly, and what it raises."""
        ctx.reads = True
        if self._seen is None or self._seen[0] is not committed:
            self._seen = committed, read(type(self._agent), committed, self._agent.schema, id=ctx.id)
        seen = self._seen
        try:
            with reading(self._agent, seen[1]):
                return await contained(self._agent.handle, message, ctx)
        finally:
            if written(seen[1]) != committed:
                if self._seen is seen:
                    self._seen = None  # the next one must not see it
                raise StateReadOnly(
                    f"{ctx.id} changed its state in the handler of {type(message).__name__}, which is "
                    "@on(read_only=True); take read_only=True away, or copy what is changed"
                )
