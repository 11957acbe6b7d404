"""The children that turns of one life of a durable agent have spawned: a turn that is run again finds its own.

They are in memory and not in the journal, since a child ends with the life that has spawned it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regrow.actors.durable_turn import Turn
    from regrow.runtime.cell import Cell
    from regrow.runtime.journal_entries import CommandId
    from regrow.runtime.ref import ActorRef


class SpawnedChildren:
    """Those of one life that still run; no more are remembered."""

    def __init__(self) -> None:
        self._children: dict[tuple[CommandId, str | None, int], ActorRef] = {}

    async def found_or_started(
        self, cell: Cell, turn: Turn, name: str | None, start: Callable[[str], Awaitable[ActorRef]]
    ) -> ActorRef:
        """The child that this turn has started in an earlier run, at this place, or else a new one of the same name."""
        number = turn.next_spawn(name)
        place = (turn.command, name, number)
        self._children = {at: child for at, child in self._children.items() if child.address.actor in cell.children}
        child = self._children.get(place)
        if child is None:
            child = self._children[place] = await start(name if name is not None else turn.child_number(number))
        return child
