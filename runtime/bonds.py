"""Who is told when an actor ends: its monitors, its links, and what it watches itself.

Pure bookkeeping of one life; the cell sends what `farewells` lists. Monitors stack, links are
symmetric and idempotent (SEMANTICS 3).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from regrow.runtime.address import ActorId, HostId, Incarnation
from regrow.runtime.envelope import Kind
from regrow.runtime.lifecycle import Down, ExitReason, ExitSignal, Reachable, Unreachable
from regrow.runtime.message import Message
from regrow.runtime.signals import Bonded, LinkedExit, Tie, Untie, Unwatch, Watch

ANY_LIFE = Incarnation(0)
"""Stands for the incarnation of a linked actor while it is not known here; numbers start at 1."""


@dataclass(slots=True)
class Bonds:
    """The bonds of one life of one actor."""

    traps_exits: bool = False
    watchers: dict[tuple[ActorId, int], Incarnation] = field(default_factory=dict)
    links: dict[ActorId, Incarnation] = field(default_factory=dict)
    watchers_at: dict[tuple[ActorId, int], HostId] = field(default_factory=dict)
    watching: dict[int, ActorId] = field(default_factory=dict)
    watched_at: dict[int, HostId] = field(default_factory=dict)
    watched_life: dict[int, Incarnation] = field(default_factory=dict)
    """Which life a monitor of an actor elsewhere watches, once that has answered."""
    linked_at: dict[ActorId, HostId] = field(default_factory=dict)
    parting: dict[ActorId, tuple[LinkedExit, HostId | None]] = field(default_factory=dict)
    """Trapped exits whose messages are still on their way, behind what the dead sent before."""

    def watched(self, watch: Watch) -> None:
        """Somebody monitors this actor."""
        self.watchers[(ActorId(watch.watcher), watch.monitor)] = Incarnation(watch.watcher_incarnation)

    def watcher_is_at(self, watch: Watch, host: HostId) -> None:
        """The one who monitors lives on another host, and takes its monitors along when that dies."""
        key = ActorId(watch.watcher), watch.monitor
        if key in self.watchers:
            self.watchers_at[key] = host

    def unwatched(self, unwatch: Unwatch) -> None:
        """A monitor was taken back."""
        self._forget_watcher((ActorId(unwatch.watcher), unwatch.monitor))

    def tied(self, tie: Tie) -> None:
        """Linked with another actor, or with a newer life of it."""
        self.links[ActorId(tie.actor)] = Incarnation(tie.incarnation)

    def untied(self, untie: Untie) -> None:
        """A link was undone."""
        self.links.pop(ActorId(untie.actor), None)
        self.linked_at.pop(ActorId(untie.actor), None)

    def bonded(self, bonded: Bonded) -> None:
        """An actor elsewhere says which life of it this one monitors or is linked with."""
        other, life = ActorId(bonded.actor), Incarnation(bonded.incarnation)
        if bonded.monitor in self.watching:
            self.watched_life[bonded.monitor] = life
        elif not bonded.monitor and self.links.get(other) == ANY_LIFE:
            self.links[other] = life

    def unlinked(self, other: ActorId) -> None:
        """This actor undid its link with another: no exit of that one concerns it any more."""
        self.links.pop(other, None)
        self.linked_at.pop(other, None)
        self.parting.pop(other, None)

    def parted(self, linked: LinkedExit) -> bool:
        """The other side of a link ended. True when that is to end this actor: it was linked and traps no exits.

        Trapped, it is a message that keeps its place among others, so it is still to come.
        """
        other = ActorId(linked.actor)
        if self.links.get(other) not in (linked.incarnation, ANY_LIFE):
            return False
        del self.links[other]
        host = self.linked_at.pop(other, None)
        if self.traps_exits:
            self.parting[other] = linked, host
            return False
        return bool(linked.reason.abnormal)

    def _exit_is_awaited(self, told: ExitSignal) -> bool:
        """True once for each trapped exit."""
        linked, _ = self.parting.get(ActorId(told.actor), (None, None))
        if linked is None or linked.incarnation != told.incarnation:
            return False
        del self.parting[ActorId(told.actor)]
        return True

    def awaits(self, news: Down | ExitSignal | Unreachable | Reachable) -> bool:
        """True for news of a monitor that was neither taken back nor told of the end, and once for a trapped exit."""
        match news:
            case Down():
                return self.unwatch(news.monitor) is not None
            case ExitSignal():
                return self._exit_is_awaited(news)
            case _:
                return news.monitor in self.watching

    def unwatch(self, monitor: int) -> ActorId | None:
        """Ends a monitor of this actor's own; returns whom it watched, None when it had ended already."""
        self.watched_at.pop(monitor, None)
        self.watched_life.pop(monitor, None)
        return self.watching.pop(monitor, None)

    def lost_with(self, host: HostId, reason: ExitReason) -> list[Message]:
        """What this actor is told when a host dies: of each link with an actor there, and by each monitor of one."""
        told: list[Message] = []
        for linked, at in self.parting.values():
            if at == host:  # its message will not come any more
                told.append(ExitSignal(actor=linked.actor, incarnation=linked.incarnation, reason=linked.reason))
        for other, there in self.linked_at.items():
            if there == host and other in self.links:
                told += exits_of(other, self.links[other], reason)
        for monitor, at in self.watched_at.items():
            if at == host:
                actor, life = self.watching[monitor], self.watched_life.get(monitor, ANY_LIFE)
                told.append(Down(monitor=monitor, actor=actor, incarnation=life, reason=reason))
        return told

    def forget_watchers(self, host: HostId) -> None:
        """A host is dead, and nobody there watches any more."""
        for key in [key for key, at in self.watchers_at.items() if at == host]:
            self._forget_watcher(key)

    def _forget_watcher(self, key: tuple[ActorId, int]) -> None:
        self.watchers.pop(key, None)
        self.watchers_at.pop(key, None)

    def watched_in(self, host: HostId) -> list[tuple[int, ActorId]]:
        """The monitors of actors in that host: number and whom it watches."""
        return [(monitor, self.watching[monitor]) for monitor, at in self.watched_at.items() if at == host]

    @property
    def has_witnesses(self) -> bool:
        """True when anybody but the parent is to be told of the end."""
        return bool(self.watchers or self.links)

    def farewells(
        self, actor: ActorId, incarnation: Incarnation, reason: ExitReason
    ) -> list[tuple[ActorId, Incarnation, Message]]:
        """Whom to tell of the end and what: links first, then every monitor one Down, then whom it watched itself.

        Those would else keep a watcher for each life that ever watched them.
        """
        told: list[tuple[ActorId, Incarnation, Message]] = []
        for other, life in self.links.items():
            told += [(other, life, message) for message in exits_of(actor, incarnation, reason)]
        for (watcher, monitor), life in self.watchers.items():
            down = Down(monitor=monitor, actor=actor, incarnation=incarnation, reason=reason)
            told.append((watcher, life, down))
        for monitor, watched in self.watching.items():
            told.append((watched, ANY_LIFE, Unwatch(monitor=monitor, watcher=actor)))
        return told


def exits_of(actor: ActorId, incarnation: int, reason: ExitReason) -> tuple[LinkedExit, ExitSignal]:
    """How a linked actor is told of an end: by a signal that overtakes everything and ends it, and by a message
    that stands behind all that was sent before, should it trap exits. Only one of the two counts."""
    linked = LinkedExit(actor=actor, incarnation=incarnation, reason=reason)
    return linked, ExitSignal(actor=actor, incarnation=incarnation, reason=reason)


def kind_of(told: Message) -> Kind:
    """How news of another actor travel: what a cell acts on itself ahead of all messages, the rest in its turn."""
    return Kind.SIGNAL if isinstance(told, LinkedExit | Unwatch) else Kind.NOTICE
