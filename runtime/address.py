"""Who an agent is: its logical id, which life of it, and the host that holds it.

The three are never mixed up. A ref is logical and outlives restarts; replies, Downs and exits
carry the incarnation; only delivery looks at hosts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

ActorId = NewType("ActorId", str)
"""The logical id: a path from the root of its tree, such as `desk/clerk`."""

Incarnation = NewType("Incarnation", int)
"""Which life of the actor: a number that only grows for one id."""

HostId = NewType("HostId", str)
"""One life of one host process; a restarted host gets a new id, so an id names a life."""


@dataclass(frozen=True, slots=True)
class Address:
    """An actor, and where asked for exactly one life of it."""

    actor: ActorId
    incarnation: Incarnation | None = None

    def __str__(self) -> str:
        return self.actor if self.incarnation is None else f"{self.actor}#{self.incarnation}"


@dataclass(frozen=True, slots=True)
class Location:
    """Where one life of an actor runs."""

    actor: ActorId
    incarnation: Incarnation
    host: HostId


def child_id(parent: ActorId, name: str) -> ActorId:
    """The id of a child called `name` below `parent`."""
    return ActorId(f"{parent}/{name}")
