"""What a cell drives: the few calls that make an object an actor.

Agents, supervisors, the memory shard and the router are all behaviors. A behavior never sees the
mailbox; it gets one message at a time and a context.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext


@runtime_checkable
class Behavior(Protocol):
    """The object inside a cell. All three calls run on the host's event loop."""

    async def started(self, ctx: Any) -> None:
        """Called once before the first message. An exception here is a failed start."""
        ...

    def handle(self, message: Any, ctx: Any) -> Awaitable[object]:
        """Handles one message; for a request the return value is the reply.

        Refused answers the asker and leaves the actor alive; any other exception ends it.
        """
        ...

    async def stopping(self, reason: Any, ctx: Any) -> None:
        """Called once when the actor is told to stop or stops itself, within its grace; not on a crash or kill."""
        ...


class BehaviorTraits:
    """What a behavior may say about itself; the defaults suit a plain one."""

    context_class: type[CellContext] | None = None
    """The class of the context that its calls get; CellContext when None."""
    has_concurrent: bool = True
    """False where `runs_concurrently` is true of no message, so that it is never asked."""

    def runs_concurrently(self, message: object) -> bool:
        """True when the message may be handled while another one is being handled."""
        return False

    def on_exit_of_child(self, exited: object) -> bool:
        """Told at once of a child's exit, ahead of the turn that runs; True when that settles it."""
        return False

    # A behavior may also have `async def ended(self, reason)`: called once at every end, also a crash or
    # kill and a start that failed, and awaited before anybody hears of it; it takes down what is left.
