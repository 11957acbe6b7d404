"""Where a cell's messages are kept beside its mailbox, so that they outlive this life, or this process."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

from regrow.runtime.envelope import Envelope
from regrow.runtime.outcome import Outcome

if TYPE_CHECKING:
    from regrow.runtime.message_spans import Attempt


class Kept(enum.Enum):
    """What the store has of a message to which no life of this process will come."""

    STORED = "stored"
    UNDER_WAY = "under way"
    """Its sender is told when it is stored, or keeps it."""
    UNKNOWN = "unknown"
    """A try was cut: it may be there, and is there once when it is sent again under its id."""
    NOT = "not"


class Intake(Protocol):
    """Keeps what enters the mailbox of one cell. It stays with the cell from one life to the next."""

    def turned_away(self, envelope: Envelope) -> Outcome | None:
        """Why an envelope may not take its place: it is too large to be stored, or what it is behind was not seen."""
        ...

    def entered(self, envelope: Envelope) -> bool:
        """An envelope has taken its place in the mailbox; True when it is being stored, and its sender is told then."""
        ...

    def keeps(self, envelope: Envelope) -> bool:
        """Whether an envelope like this one is stored at all, so that its outcome can be asked for."""
        ...

    def holds(self, envelope: Envelope) -> bool:
        """Whether the envelope is, or is being, stored: the end of a life does not answer it."""
        ...

    def attempt(self, envelope: Envelope) -> Attempt:
        """Which attempt the turn that begins now is at this envelope."""
        ...

    def dropped(self, envelope: Envelope) -> Kept:
        """No further life will come to the envelope in this process; says what the store has of it."""
        ...

    def look(self) -> None:
        """The store may have messages for this actor that came to it by another way."""
        ...

    def cut_claim(self) -> None:
        """The life that starts is told to stop: it need not get hold of what is kept."""
        ...

    def left(self) -> None:
        """No further life of the actor will come to this process, so that another may have it."""
        ...
