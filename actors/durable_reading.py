"""Turns of a durable agent that only read: each sees the state that was committed last, and leaves it as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from regrow.actors.durable import DurableAgent, read, written
from regrow.actors.durable_errors import StateReadOnly
from regrow.actors.read_only import reading
from regrow.runtime.contain import contained

if TYPE_CHECKING:
    from pydantic import BaseModel

    from regrow.actors.durable_context import DurableContext


class _Copy(NamedTuple):
    """A copy of a committed state, and how it was `written` when it was made.

    That may differ from what is committed: a set that was read again may be in another order.
    """

    committed: bytes
    state: BaseModel
    before: bytes


class CommittedState:
    """The committed state of one life's agent, as those see it that only read."""

    def __init__(self, agent: DurableAgent[Any]) -> None:
        self._agent = agent
        self._spare: _Copy | None = None
        """One that nobody reads and nobody has changed."""

    async def turn(self, message: Any, ctx: DurableContext, *, committed: bytes) -> object:
        """What the agent's handler replies. Raises StateReadOnly, and what it raises."""
        ctx.reads = True
        copy = self._taken(committed, ctx)
        with reading(self._agent, copy.state):
            reply = await contained(self._agent.handle, message, ctx)
        if written(copy.state) != copy.before:
            raise StateReadOnly(
                f"{ctx.id} changed its state in the handler of {type(message).__name__}, which is "
                "@on(read_only=True); take read_only=True away, or copy what is changed"
            )
        self._spare = copy
        return reply

    def _taken(self, committed: bytes, ctx: DurableContext) -> _Copy:
        """A copy for one turn alone, so that none is blamed for what another one beside it has changed."""
        spare, self._spare = self._spare, None
        if spare is not None and spare.committed is committed:
            return spare
        state = read(type(self._agent), committed, self._agent.schema, id=ctx.id)
        return _Copy(committed, state, written(state))
