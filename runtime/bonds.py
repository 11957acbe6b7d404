"""Who is told when an actor ends: its monitors, its links, and what it watches itself.

Pure bookkeeping of one life; the cell sends what `farewells` lists. Monitors stack, links are
symmetric and idempotent (SEMANTICS 3).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from regrow.runtime.address import ActorId, HostId, Incarnation
from regrow.runtime.lifecycle import Down, ExitReason
from regrow.runtime.message import Message
from regrow.runtime.signals import LinkedExit, Tie, Untie, Unwatch, Watch

ANY_LIFE = Incarnation(0)
"""Stands for the incarnation of a linked actor while it is not known here; numbers start at 1."""


@dataclass(slots=True)
class Bonds:
    """The bonds of one life of one actor."""

    traps_exits: bool = False
    watchers: dict[tuple[ActorId, int], Incarnation] = field(default_factory=dict)
    links: dict[ActorId, Incarnation] = field(default_factory=dict)
    watching: dict[int, ActorId] = field(default_factory=dict)
    watched_at: dict[int, HostId] = field(default_factory=dict)
    linked_at: dict[ActorId, HostId] = field(default_factory=dict)

    def watched(self, watch: Watch) -> None:
        """Somebody monitors this actor."""
        self.watchers[(ActorId(watch.watcher), watch.monitor)] = Incarnation(watch.watcher_incarnation)

    def unwatched(self, unwatch: Unwatch) -> None:
        """A monitor was taken back."""
        self.watchers.pop((ActorId(unwatch.watcher), unwatch.monitor), None)

    def tied(self, tie: Tie) -> None:
        """Linked with another actor, or with a newer life of it."""
        self.links[ActorId(tie.actor)] = Incarnation(tie.incarnation)

    def untied(self, untie: Untie) -> None:
        """A link was undone."""
        self.unlinked(ActorId(untie.actor))

    def unlinked(self, other: ActorId) -> None:
        """There is no link with this actor any more."""
        self.links.pop(other, None)
        self.linked_at.pop(other, None)

    def parted(self, linked: LinkedExit) -> bool:
        """The other side of a link ended; False when there is no link with that life of it."""
        other = ActorId(linked.actor)
        if self.links.get(other) not in (linked.incarnation, ANY_LIFE):
            return False
        self.unlinked(other)
        return True

    def down_is_awaited(self, down: Down) -> bool:
        """True once for each monitor: it was neither taken back nor told already."""
        return self.unwatch(down.monitor) is not None

    def unwatch(self, monitor: int) -> ActorId | None:
        """Ends a monitor of this actor's own; returns whom it watched, None when it had ended already."""
        self.watched_at.pop(monitor, None)
        return self.watching.pop(monitor, None)

    def lost_with(self, host: HostId, reason: ExitReason) -> list[Message]:
        """What this actor is told when a host dies: of each link with an actor there, and by each monitor of one."""
        told: list[Message] = []
        for other, at in self.linked_at.items():
            if at == host and other in self.links:
                told.append(LinkedExit(actor=other, incarnation=self.links[other], reason=reason))
        for monitor, at in self.watched_at.items():
            if at == host:
                told.append(Down(monitor=monitor, actor=self.watching[monitor], incarnation=0, reason=reason))
        return told

    def farewells(
        self, actor: ActorId, incarnation: Incarnation, reason: ExitReason
    ) -> list[tuple[ActorId, Incarnation, Message]]:
        """Whom to tell of the end and what: links first, then every monitor one Down."""
        linked = LinkedExit(actor=actor, incarnation=incarnation, reason=reason)
        told: list[tuple[ActorId, Incarnation, Message]] = [(other, life, linked) for other, life in self.links.items()]
        for (watcher, monitor), life in self.watchers.items():
            down = Down(monitor=monitor, actor=actor, incarnation=incarnation, reason=reason)
            told.append((watcher, life, down))
        return told
