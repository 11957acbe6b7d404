"""Errors of the journal, whichever store keeps it.

Misuse (runtime)
└── InvalidEntry        an id or a record that can not be kept: mend the call
WorldBroke (runtime)
├── JournalUnknown      the connection was cut: it may have been done; send it again with the same ids
└── JournalRefused      the store said no, and nothing was done
    ├── JournalAway         it starts, fails over or moves slots: send it again a little later
    ├── JournalFull         it has no memory left
    ├── JournalReadOnly     it takes no writes: a replica, or one whose disk fails
    ├── JournalDenied       it refuses the user, the password or a command
    └── JournalOutdated     it is older than the floor
"""

from __future__ import annotations

from regrow.runtime.errors import Misuse, WorldBroke


class InvalidEntry(Misuse):
    """An id or a record that no journal can keep; the text says which and why."""


class JournalUnknown(WorldBroke):
    """The answer was lost with the connection: the operation may have been done, or may still be.

    Send the same operation again, with the same operation or command id, until an answer comes.
    """


class JournalRefused(WorldBroke):
    """The store refused the operation, and nothing of it was done; the text says why and what to do."""


class JournalAway(JournalRefused):
    """The store can not serve at this moment: it loads its data, fails over or moves slots."""


class JournalFull(JournalRefused):
    """The store has no memory left for a write."""


class JournalReadOnly(JournalRefused):
    """The store takes no writes: it is a replica, or its disk fails."""


class JournalDenied(JournalRefused):
    """The store refuses the password, the user or a command that scripts need."""


class JournalOutdated(JournalRefused):
    """The store runs a version below the floor. Attributes: `version` and `floor`, as `6.2.14`."""

    def __init__(self, text: str, *, version: str, floor: str) -> None:
        super().__init__(text)
        self.version = version
        self.floor = floor
