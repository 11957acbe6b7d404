"""What it takes to wait for an answer over days and restarts: a turn that ends in its middle and is run again.

A wait is a record like a step, under the name of the class that answers it. The record is made by whoever answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from regrow.runtime.errors import Bug, Misuse
from regrow.runtime.immutable import wire_name
from regrow.runtime.journal_entries import Hand, Park, StepKey, Writes
from regrow.runtime.message import Message

WAIT_MARK = "~wait:"
"""Before the name of the class; no step's name has a `~`."""
ABOUT_MARK = "#"
"""Behind it, in the name of a wait, stands what its answer has to be about."""
NO_ARGUMENTS = "-"
"""In place of a digest."""


class AnswerAbout(Message):
    """An answer to one question alone, whatever else its agent waits for: `about` names it.

    `regrow approve ID` and `Running.answer` fill it in, since ID names what waits.
    """

    about: str = ""


_within: ContextVar[str] = ContextVar("regrow_within", default="")
"""The recorded call that runs here, inside of which no turn can end to wait."""


_scope: ContextVar[str] = ContextVar("regrow_step_scope", default="")
"""Before the names of steps that are taken inside of a recorded call."""
SCOPE_MARK = ">"
"""Between the place of a recorded call and the name of a step that was taken in it."""


@contextmanager
def recorded_call(name: str, key: StepKey) -> Iterator[None]:
    """As long as this lasts, the code in it can not wait for people, and its steps are counted for itself.

    Else the place of a step would depend on which of two calls side by side comes to it first; and when the turn is
    run again, on which of them are given from their records and take no steps at all.
    """
    tokens = _within.set(name), _scope.set(f"{key.name}/{key.occurrence}{SCOPE_MARK}")
    try:
        yield
    finally:
        _within.reset(tokens[0])
        _scope.reset(tokens[1])


def scoped(name: str) -> str:
    """The name of a step as it is recorded where it is taken: inside of a recorded call, or not."""
    scope = _scope.get()
    return name if name.startswith(scope) else scope + name


def check_may_wait(agent: str) -> None:
    """Raises Misuse inside of a recorded call: run again behind its wait, nobody would know whether it was done."""
    if name := _within.get():
        raise Misuse(f"{agent} waits inside of {name}, which is recorded as a whole; wait in the handler, before it")


class TurnParks(BaseException):
    """Unwinds a handler whose turn ends at a wait. Not an Exception, so that no handler takes it for a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parking:
    """What a turn has come to at its wait; what the handler does while it unwinds does not count."""

    wait: StepKey
    deadline_ms: int | None
    writes: Writes


def wait_name(answer: type[Message], about: str = "") -> str:
    """The name of waits that this class answers, if it is about that."""
    return WAIT_MARK + wire_name(answer) + (ABOUT_MARK + about if about else "")


def answered_by(message: Message) -> str:
    """The name of waits that this message answers."""
    return wait_name(type(message), message.about if isinstance(message, AnswerAbout) else "")


def answer_name(wait: str) -> str:
    """The wire name of the class that answers waits of this name."""
    return wait.removeprefix(WAIT_MARK).partition(ABOUT_MARK)[0]


def subject_of(wait: str) -> str:
    """What the answer to waits of this name has to be about; empty where it may be about anything."""
    return wait.partition(ABOUT_MARK)[2]


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
