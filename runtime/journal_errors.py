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
    ├── JournalOutdated     its version is below the floor
    ├── JournalRestored     it was wiped, or restored from an older copy: it has less than was seen in it
    └── SchemaNewer         a newer version of the app wrote the state: upgrade this host
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


class JournalRestored(JournalRefused):
    """The store has less than this process has seen in it, so it lost what it had taken on.

    Nothing is written to it. Bring the newer data back, or start the app anew on what there is.
    """


class SchemaNewer(JournalRefused):
    """An agent's state was written by a newer version of the app. Attributes: `schema`, and the newest one `known`."""

    def __init__(self, text: str, *, schema: int, known: int) -> None:
        super().__init__(text)
        self.schema = schema
        self.known = known
