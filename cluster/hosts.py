"""Which host an actor goes to, which node a host, and who greets it: bookkeeping of hosts and three pure decisions."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from regrow.runtime import ActorId, Dedicated, HostId, Packed, Placement

DRIVER_PREFIX = "driver-"
"""Hosts that are drivers: no Ray actors, so nobody can call them and they listen instead."""

ACTORS_TOLD = 20
"""How many agents of a host are named where something is told of it."""

GREETERS = 16
"""With more hosts than that only drivers greet a new one: each greeting is a lookup and a connection."""


@dataclass(slots=True)
class HostRecord:
    """One host of an app, as its keeper knows it. `pid` is 0 until it has joined.

    `node` is its machine's name for people; `node_id` is Ray's, at first of where it is meant to run.
    """

    host: HostId
    pool: str | None = None
    pid: int = 0
    node: str = ""
    node_id: str = ""
    alive: bool = True
    reachable: bool = True
    kill_detail: str = ""
    """Why it was killed, where it was not the world that ended it."""
    epoch: int = 0
    """The number of this life in the journal of durable agents; 0 where the app has none."""
    by_order: bool = False
    """Whether we have killed it."""
    for_suspect: bool = False
    """Whether it was made for one agent alone, because of a suspect.

    It joins that agent's pool afterwards, takes nobody who was not there, and ends when its last agent leaves.
    """
    first_incarnation: int = 0
    """What is spawned there is numbered from here on."""
    actors: set[ActorId] = field(default_factory=set)

    @property
    def told_actors(self) -> list[str]:
        """Who is there, for a line of the log: a pool may hold thousands."""
        some = heapq.nsmallest(ACTORS_TOLD, self.actors)
        more = len(self.actors) - len(some)
        return [*some, f"and {more} more"] if more else [*some]


@dataclass(frozen=True, slots=True)
class Use:
    """Put the actor into a host that is there."""

    host: HostId


@dataclass(frozen=True, slots=True)
class Create:
    """Make a new host for it, in that pool if one is named."""

    pool: str | None


def choose(actor: ActorId, placement: Placement, hosts: dict[HostId, HostRecord], spares: list[HostId]) -> Use | Create:
    """Where an actor starts: where it was, else a warm spare or a pool host with few actors, else a new host.

    Who was not there before goes to no host that does not answer, as long as there is another, and to none that was
    made for a suspect: those are beside the own ones of the pool, and would never be empty.
    """
    living = [record for record in hosts.values() if record.alive]
    spares = [host for host in spares if hosts[host].reachable]
    for record in living:
        if actor in record.actors:
            return Use(record.host)
    match placement:
        case Dedicated():
            return Use(spares[0]) if spares else Create(None)
        case Packed(pool=pool, hosts=wanted):
            members = [record for record in living if record.pool == pool and not record.for_suspect]
            if len(members) < wanted:
                return Use(spares[0]) if spares else Create(pool)
            answering = [record for record in members if record.reachable] or members
            return Use(min(answering, key=lambda record: len(record.actors)).host)


def node_for(cpus: Mapping[str, float], hosts: Iterable[HostRecord], *, own: str) -> str | None:
    """The node for a new host, of those that live with so many CPUs each: the one with the fewest hosts of the app.

    Among equals it is the keeper's own, else the first by id. A node that offers no CPU, as the head of a cluster often
    does, is meant for other things; it counts only if none offers any. None where there is no choice.
    """
    if len(cpus) < 2:
        return None
    offering = [node for node, cpu in cpus.items() if cpu > 0] or list(cpus)
    used = [record.node_id for record in hosts if record.alive]
    return min(offering, key=lambda node: (used.count(node), node != own, node))


def greeters(new: HostId, peers: Iterable[HostId], *, hosts: int) -> list[HostId]:
    """Who is told of a new host, so that the first ask of its agents waits for no connection.

    `hosts` is how many the app has. Peers are hosts and drivers; a driver is always told, for people wait there.
    """
    return [peer for peer in peers if peer != new and (hosts <= GREETERS or peer.startswith(DRIVER_PREFIX))]
