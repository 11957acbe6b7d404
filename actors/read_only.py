"""What a handler that is `@on(read_only=True)` sees of its durable agent, and what it may not do.

It runs beside the turn of another message, whose state is not committed, and while the journal is away. So it is given
the committed state, and whatever would have to be stored is refused where it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from regrow.runtime.errors import Misuse

if TYPE_CHECKING:
    from pydantic import BaseModel

    from regrow.runtime.address import ActorId

_reading: ContextVar[tuple[object, BaseModel] | None] = ContextVar("regrow_reading", default=None)
"""The agent whose read_only handler runs here, and the state that it sees; in its threads, too."""


@contextmanager
def reading(agent: object, state: BaseModel) -> Iterator[None]:
    """As long as this lasts, the agent's state is this one for the code that runs in it, and for nobody else."""
    token = _reading.set((agent, state))
    try:
        yield
    finally:
        _reading.reset(token)


def state_read(agent: object) -> BaseModel | None:
    """The state that a read_only handler of this agent sees; None outside of one."""
    found = _reading.get()
    return found[1] if found is not None and found[0] is agent else None


def no_turn(id: ActorId, *, read_only: bool, what: str) -> Misuse:
    """What to raise where something that belongs to a turn was called outside of one."""
    if read_only:
        return Misuse(
            f"{id} {what} in a handler that is @on(read_only=True), of which nothing is stored; take read_only=True "
            "away, or only read `self.state` here and return a reply"
        )
    return Misuse(f"{id} {what} when it handles a message, and not while it starts or stops")
