"""Where a durable agent may live: in a process that has a journal, under an id that all processes know as durable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrow.runtime.errors import Misuse
from regrow.runtime.mailbox import Overflow

if TYPE_CHECKING:
    from regrow.runtime.cell import Cell
    from regrow.runtime.durability import Durability

KEEPING = frozenset({Overflow.BLOCK, Overflow.REJECT})
"""What a full mailbox may do whose messages each get an outcome: one that was accepted is never dropped."""


def durability_of(cell: Cell) -> Durability:
    """The durable side of the process of a cell. Raises Misuse where this agent can not be durable."""
    durability, is_durable = cell.runtime.durability, cell.runtime.delivery.is_durable
    if durability is None:
        raise Misuse(
            f"{cell.actor} is a durable agent, and this app keeps no journal; make it a child of the app's tree and "
            'run it on Ray, or on the inline engine with App(…, journal="memory"), which forgets everything at the '
            "end of the process"
        )
    if is_durable is not None and not is_durable(cell.actor):
        # Else its messages would be lost with its host: every process knows from the app's definition what to keep.
        raise Misuse(
            f"{cell.actor} is a durable agent, and those are in the app's tree from its start; declare it there as "
            "child(…), as keyed(…), or as the child of a DynamicSupervisor, and send to it instead of spawning it"
        )
    if cell.mailbox.overflow not in KEEPING:
        raise Misuse(
            f"{cell.actor} is a durable agent with overflow={cell.mailbox.overflow.value!r}, which would drop messages "
            "that were accepted; choose 'block' or 'reject'"
        )
    return durability
