"""What a cell drives: the few calls that make an object an actor.

Agents, supervisors, the memory shard and the router are all behaviors. A behavior never sees the
mailbox; it gets one message at a time and a context.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

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


CALLS = ("started", "handle", "stopping")
"""What every behavior has, and so the class of one."""


class MakesBehavior(Protocol):
    """Of what carries this a behavior is made, though it is no class of one."""

    makes_behavior: ClassVar[bool]


def makes_behavior(target: object) -> bool:
    """Whether a behavior is made of it: a class that has the calls of one, or what says so of itself.

    What is no such class says so by an attribute `makes_behavior` that is True: a function with `@agent` above
    it, a service, or the name of one of these that only a host imports.
    """
    if isinstance(target, type):
        return all(callable(getattr(target, call, None)) for call in CALLS)
    return getattr(target, "makes_behavior", False) is True


class BehaviorTraits:
    """What a behavior may say about itself; the defaults suit a plain one."""

    context_class: type[CellContext] | None = None
    """The class of the context that its calls get; CellContext when None."""
    traces_turns: bool = False
    """Whether each of its turns has a span: those of agents do, those of services and supervisors do not."""
    has_concurrent: bool = True
    """False where `runs_concurrently` is true of no message, so that it is never asked."""

    concurrent_turns: int | None = None
    """How many of its turns may run at once where they are concurrent; None for MAX_CONCURRENT_TURNS."""

    def runs_concurrently(self, message: object) -> bool:
        """True when the message may be handled while another one is being handled."""
        return False

    def on_exit_of_child(self, exited: object) -> bool:
        """Told at once of a child's exit, ahead of the turn that runs; True when that settles it."""
        return False

    def on_word_of_child(self, word: object) -> None:
        """Told at once when a child says that what its messages did to it is over: Refund or Cleared."""

    def state_seen(self) -> object | None:
        """What tells a guard whether this actor has changed between two turns; None where no guard judges it."""
        return None

    def begin(self) -> None:
        """Told when a life that was started as `held` is known to run; its turns wait for that."""

    # A behavior may also have `async def ended(self, reason)`: called once at every end, also a crash or
    # kill and a start that failed, and awaited before anybody hears of it; it takes down what is left.
