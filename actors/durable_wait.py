"""What it takes to wait for an answer over days and restarts: a turn that ends in its middle and is run again.

A wait is a record like a step, under the name of the class that answers it. The record is made by whoever answers.
"""

from __future__ import annotations

from dataclasses import dataclass

from regrow.runtime.errors import Bug
from regrow.runtime.immutable import wire_name
from regrow.runtime.journal_entries import Hand, Park, StepKey, Writes
from regrow.runtime.message import Message

WAIT_MARK = "~wait:"
"""Before the name of the class; no step's name has a `~`."""
NO_ARGUMENTS = "-"
"""In place of a digest."""


class TurnParks(BaseException):
    """Unwinds a handler whose turn ends at a wait. Not an Exception, so that no handler takes it for a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parking:
    """What a turn has come to at its wait; what the handler does while it unwinds does not count."""

    wait: StepKey
    deadline_ms: int | None
    writes: Writes


def wait_name(answer: type[Message]) -> str:
    """The name of waits that this class answers."""
    return WAIT_MARK + wire_name(answer)


def answer_name(wait: str) -> str:
    """The wire name of the class that answers waits of this name."""
    return wait.removeprefix(WAIT_MARK)


def begun_with(state: bytes, schema: int) -> bytes:
    """The state that a turn began with, as it is kept while it waits."""
    return b"%d\0%b" % (schema, state)


def state_and_schema(begun: bytes) -> tuple[bytes, int]:
    """What `begun_with` kept."""
    schema, separator, state = begun.partition(b"\0")
    if not separator:
        raise Bug(f"the state that a turn began with has no schema: {begun[:80]!r}")
    return state, int(schema)


def park_of(parking: Parking, hand: Hand, begun: bytes) -> Park:
    """What ends a turn at its wait."""
    return Park(hand=hand, wait=parking.wait, begun=begun, deadline_ms=parking.deadline_ms, writes=parking.writes)
