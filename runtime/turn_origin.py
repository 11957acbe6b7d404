"""What a turn hands on to everything that it sends: on whose behalf, by what cause, and how far that has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrow.runtime.address import Address
from regrow.runtime.envelope import Envelope, Kind, Origin

if TYPE_CHECKING:
    from collections.abc import Callable

    from regrow.runtime.cell import Cell


def turn_origin(cell: Cell, envelope: Envelope | None, new_run: Callable[[], str]) -> Origin:
    """The origin of what this turn of a cell sends; outside of a message it is caused by nobody.

    Raises GuardTripped where a guard lets it send nothing.
    """
    cause = envelope.origin if envelope is not None else cell.runtime.origin
    waits, steps, sender = cause.chain, cause.steps, cause.sender
    if envelope is None or envelope.kind != Kind.ASK:
        waits = ()
    if envelope is None or not cell.may_run_beside(envelope.message):
        waits = (*waits, cell.actor)  # else others of its messages are served while this turn waits
    guard = cell.runtime.guarding.turns
    if guard is not None and envelope is not None and cause.hops >= guard.from_hops:
        steps = guard.steps(cell, envelope)
    return Origin(
        sender=Address(cell.actor, cell.incarnation),
        principal=cause.principal,
        capability=cause.capability,
        trace=cause.trace,
        hops=cause.hops + (sender is None or sender.actor != cell.actor),  # telling itself, it goes on with the same
        chain=waits,
        run=cause.run or new_run(),
        steps=steps,
        tick=new_run() if cause.is_of_timer(cell.actor) else cause.tick,
    )
