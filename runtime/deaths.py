"""How the lives of this process ended, which messages each had before, and which were set aside: for `regrow why`.

Of a message its type, its sender and what became of it are kept, with the error of a refusal, and never what it says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from regrow.runtime.contain import text_of
from regrow.runtime.dead_letters import NAME_LIMIT_CHARS
from regrow.runtime.lifecycle import MESSAGE_LIMIT_CHARS, ExitReason
from regrow.runtime.message import Message
from regrow.runtime.telemetry import trace_id

if TYPE_CHECKING:
    from regrow.runtime.cell import Cell
    from regrow.runtime.envelope import Envelope, Origin
    from regrow.runtime.errors import Refused

RECENT = 20
"""How many messages an agent remembers; it keeps them from one life to the next."""
REFUSAL_LIMIT_CHARS = 300
"""So much is remembered of why a message was refused."""
UNTOLD = 256
"""How many deaths wait to be told on, and how many messages that were set aside; of those beyond only the number is."""


class Fate(StrEnum):
    """What became of a message in its turn."""

    HANDLED = "handled"
    REFUSED = "refused"
    STASHED = "stashed"
    WAITING = "waiting"
    """Its turn waits for an answer, and the journal keeps it until then."""
    CRASHED = "crashed"
    CUT = "cut"
    """Its life ended, or was stopped, while it was handled."""
    QUARANTINED = "quarantined"
    UNDER_WAY = "under way"
    """It is being handled by a life that goes on."""


HANDLED = Fate.HANDLED
"""By this name it is had without a look into the enum, once for each message."""

Recent: TypeAlias = "tuple[float, type, Origin, str | None, Fate, str]"
"""One message that an agent had: when, of which type, from where, its command id, its fate, and why it was refused.

The command id is that of a message which is stored, and comes again where its turn fails. One is made for each message,
so it is a plain tuple, holds what is there already, and computes nothing.
"""

Recents: TypeAlias = "deque[Recent]"
"""The latest messages of an agent, oldest first; see `no_messages`."""


def no_messages() -> Recents:
    """Room for the RECENT latest."""
    return deque(maxlen=RECENT)


def note(
    cell: Cell, envelope: Envelope, fate: Fate, command: str | None = None, *, refusal: Refused | None = None
) -> None:
    """Remembers what became of a message; `command` where it is not the one under which it is stored."""
    if command is None and cell.intake is not None:
        command = envelope.command_id
    why = ""
    if refusal is not None:
        if command is not None and _is_set_aside(cell.recent, command):
            return  # that its asker is refused then is no word of its own
        why = f"{type(refusal).__name__}: {text_of(refusal)}"[:REFUSAL_LIMIT_CHARS]
    cell.recent.append((cell.runtime.loop.time(), type(envelope.message), envelope.origin, command, fate, why))


def _is_set_aside(recents: Recents, command: str) -> bool:
    return any(known == command and fate is Fate.QUARANTINED for _, _, _, known, fate, _ in recents)


class Had(Message):
    """One message that an agent had, `age_s` before its death, or before somebody looked."""

    age_s: float
    message: str
    sender: str
    fate: str
    trace: str
    command: str
    why: str = ""
    """Of one that was refused, the error in one line."""


class Death(Message):
    """One life that did not end in order; `at_s` is in this process's monotonic seconds."""

    at_s: float
    agent: str
    incarnation: int
    reason: ExitReason
    messages: tuple[Had, ...]


class SetAside(Message):
    """One message that waits in quarantine for a person; `at_s` is in this process's monotonic seconds."""

    at_s: float
    agent: str
    incarnation: int
    command: str
    message: str
    sender: str
    reason: str


class Deaths:
    """Those that wait to be told on, and what was set aside.

    `added` is called for each death, and `added_aside` for each message; neither must raise.
    """

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._untold: deque[Death] = deque(maxlen=UNTOLD)
        self._set_aside: deque[SetAside] = deque(maxlen=UNTOLD)
        self.left_out = 0
        """How many there was no room for."""
        self.added: Callable[[], None] = lambda: None
        self.added_aside: Callable[[], None] = lambda: None

    def add(self, cell: Cell, reason: ExitReason) -> None:
        """A life ends; its turns are still those that run. One that ends in order is none of ours."""
        if not reason.abnormal or cell.runtime.closed:
            return
        self._note_turns(cell)
        now_s = self._time()
        self.left_out += len(self._untold) == UNTOLD
        messages = had_by(cell, now_s)
        self._untold.append(
            Death(at_s=now_s, agent=cell.actor, incarnation=cell.incarnation, reason=reason, messages=messages)
        )
        self.added()

    def set_aside(self, cell: Cell, *, command: str, message: str, sender: str, reason: str) -> None:
        """A message of an agent goes into quarantine, whether or not its life ends of it."""
        self.left_out += len(self._set_aside) == UNTOLD
        self._set_aside.append(
            SetAside(
                at_s=self._time(),
                agent=cell.actor,
                incarnation=cell.incarnation,
                command=command,
                message=message[:NAME_LIMIT_CHARS],
                sender=sender[:NAME_LIMIT_CHARS],
                reason=reason[:MESSAGE_LIMIT_CHARS],
            )
        )
        self.added_aside()

    def take(self) -> tuple[tuple[Death, ...], tuple[SetAside, ...]]:
        """The deaths that were not taken before, and what was set aside; each oldest first."""
        taken = tuple(self._untold), tuple(self._set_aside)
        self._untold.clear()
        self._set_aside.clear()
        return taken

    def _note_turns(self, cell: Cell) -> None:
        """What it crashed on has been noted; all else that runs is cut."""
        _, message, origin, _, fate, _ = cell.recent[-1] if cell.recent else (0.0, None, None, None, HANDLED, "")
        for envelope in cell.in_turn:
            is_noted = fate is Fate.CRASHED and origin is envelope.origin and message is type(envelope.message)
            if not is_noted:
                note(cell, envelope, Fate.CUT)


def had_by(cell: Cell, now_s: float) -> tuple[Had, ...]:
    """The latest messages of an agent, oldest first. May be called on another thread than that of its cell."""
    return tuple(_had(recent, now_s) for recent in list(cell.recent))


def had_and_has(cell: Cell, now_s: float) -> tuple[Had, ...]:
    """The same of one that lives, with what it handles at the moment."""
    is_stored = cell.intake is not None
    has = (
        _had((at_s, type(each.message), each.origin, each.command_id if is_stored else None, Fate.UNDER_WAY, ""), now_s)
        for each, at_s in list(cell.in_turn.copy().items())
    )
    return (*had_by(cell, now_s), *has)[-RECENT:]


def _had(recent: Recent, now_s: float) -> Had:
    at_s, message, origin, command, fate, why = recent
    sender = str(origin.sender) if origin.sender is not None else origin.principal or "outside"
    return Had(
        age_s=round(now_s - at_s, 6),
        message=message.__name__[:NAME_LIMIT_CHARS],
        sender=sender[:NAME_LIMIT_CHARS],
        fate=fate.value,
        trace=trace_id(origin.trace),
        command=command or "",
        why=why,
    )
