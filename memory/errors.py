"""What can go wrong in the memory fabric, sorted by whose fault it is and what to do now.

regrow.runtime.errors
├── Misuse
│   ├── InvalidScope        a scope that is written wrongly
│   ├── InvalidMemory       a record that can not be remembered
│   ├── InvalidQuery        a question that can not be asked
│   └── InvalidVectors      an embedder and an index that do not fit together
├── Refused
│   └── NotAllowed
│       └── OutOfScope      a scope that this door does not reach
├── Closed
│   └── ShardClosed         the shard was not opened, or has been closed
└── WorldBroke
    ├── RecordUnreadable    the store holds a record that this version can not read
    └── StoreFailed         (also Refused) the store did not do it; the memory service lives on
        ├── StoreUnreachable    it gave no answer: the write may or may not have happened
        └── StoreRefused        it answered with an error

The texts travel between hosts and the fields do not, so every field has a default on its class.
"""

from __future__ import annotations

from regrow.runtime.errors import Closed, Misuse, NotAllowed, Refused, WorldBroke


class InvalidScope(Misuse, ValueError):
    """A scope that is written wrongly; a ValueError too, so that pydantic reports it with its field."""


class InvalidMemory(Misuse, ValueError):
    """A record that can not be remembered: without text, too long, or at odds with its own id."""


class InvalidQuery(Misuse, ValueError):
    """A question that can not be asked: too long, or for too many or too few hits."""


class InvalidVectors(Misuse):
    """Vectors that do not fit the index: another dimension, not finite, or ids that are there already."""


class OutOfScope(NotAllowed):
    """A scope that lies outside of what this door reaches; nothing was read or written."""

    wanted: str = ""
    reach: str = ""

    def __init__(self, *, wanted: str, reach: str) -> None:
        super().__init__(
            f"the memory scope {wanted or '(all)'!r} is not at or below {reach or '(all)'!r}, which is as far as this "
            "caller reaches; ask for a scope inside it, or give the agent a wider one"
        )
        self.wanted = wanted
        self.reach = reach


class ShardClosed(Closed):
    """The shard was not opened yet, or has been closed; `await shard.open()` builds its indexes."""

    def __init__(self) -> None:
        super().__init__("this memory shard is not open; await its open() first, or ask the running memory service")


class StoreFailed(WorldBroke, Refused):
    """The store did not do what it was asked to.

    It belongs to the refusals as well: a store that is away is no reason for the memory service to
    die, since its indexes are still right and a restart would need the same store to rebuild them.
    """


class StoreUnreachable(StoreFailed):
    """The store gave no answer. Writes are idempotent: send the same one again once it is back."""

    def __init__(self, *, address: str, cause: str) -> None:
        super().__init__(
            f"the memory store at {address} can not be reached ({cause}); check that Redis runs there and accepts this "
            "password, then repeat the call: memory writes may safely be sent twice"
        )


class StoreRefused(StoreFailed):
    """The store answered with an error, such as a full memory or a read-only replica."""

    def __init__(self, *, address: str, cause: str) -> None:
        super().__init__(
            f"the memory store at {address} refused ({cause}); mend that in Redis (memory limit, replica role, access "
            "rules), then repeat the call"
        )


class RecordUnreadable(WorldBroke):
    """The store holds a record that this version can not read."""

    key: str = ""

    def __init__(self, *, key: str, cause: str) -> None:
        super().__init__(
            f"the memory record {key} can not be read ({cause}); run the Regrow version that wrote it, or delete that "
            "one field from Redis if it is damaged"
        )
        self.key = key
