"""The port through which a supervisor starts, stops and ends children, wherever they run.

`LocalStarter` in `runtime.local_starter` starts them in its own process; the cluster's starter asks
the keeper of a host. What every starter keeps stands in `tests/conformance/test_starter.py`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Protocol

from regrow.runtime.address import ActorId, HostId, Incarnation
from regrow.runtime.lifecycle import Crashed, ExitReason
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.placement import Dedicated, Placement

KILLED_BY_SUPERVISOR = "killed by its supervisor"
"""What is told of a kill where nothing else is said."""


HOST_DIED = "HostDied"
"""The type name of a failed start's cause where its host died meanwhile: it says nothing of the actor."""


class Suspicion(enum.Enum):
    """Whether the message that an actor handled may have killed the process of its last life."""

    NONE = ""
    ALONE = "alone"
    """Nobody else was in that process, so it has."""
    SHARED = "shared"
    """Others were there, so nobody knows; this life has a process of its own until the message has its outcome."""


@dataclass(frozen=True, slots=True)
class StartRequest:
    """All that a host must know to start one life of one actor.

    `target` is what the actor is made of: a class or agent function where it starts in this
    process, its wire name `module:qualname` where it crosses to another. `config` is handed to it.
    """

    actor: ActorId
    incarnation: Incarnation
    target: object
    parent: ActorId | None = None
    config: object | None = None
    mailbox: MailboxSettings = field(default_factory=MailboxSettings)
    placement: Placement = field(default_factory=Dedicated)
    survives_exit: bool = True
    """True when the mailbox waits for the next life; False for a child that is never restarted."""
    suspicion: Suspicion = Suspicion.NONE
    """Of the message at the head of its mailbox, where that is kept elsewhere."""
    held: bool = False
    """True when its first turn waits for the word that its starter knows that it runs: a message that kills the
    process at once would look like a start that failed, again and again. See BehaviorTraits.begin."""
    idle_s: float | None = None
    """After how long without anything to do it may end, since it is started on demand; None for all others."""


@dataclass(frozen=True, slots=True)
class Started:
    """The actor runs, in that host."""

    host: HostId
    pid: int


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The actor did not start and nothing of it is left."""

    cause: Crashed


class KillOutcome(enum.Enum):
    """What is known after a kill."""

    DEAD = "dead"
    UNCONFIRMED = "unconfirmed"


class Starter(Protocol):
    """Starts and ends children. Exits are told to the parent as `Exited`, never by return value."""

    async def start(self, request: StartRequest) -> Started | StartFailed:
        """Starts one life and waits until it has initialised; cancelling it ends what had begun."""
        ...

    async def stop(self, actor: ActorId, incarnation: Incarnation, reason: ExitReason, grace_s: float | None) -> None:
        """Asks one life to end; returns when the request is on its way, not when the actor is dead."""
        ...

    async def kill(self, actor: ActorId, incarnation: Incarnation, detail: str = KILLED_BY_SUPERVISOR) -> KillOutcome:
        """Ends one life without asking it, and says whether its death is certain. `detail` is told with its exit.

        A start that arrives after the kill that is meant for it begins nothing.
        """
        ...

    def forget(self, actor: ActorId) -> None:
        """No further life of this actor will come: its mailbox becomes dead letters, its asks fail."""
        ...
