"""Which agents may have died of a message, with their process, and which of them run alone for it: pure bookkeeping.

The guardian sees the deaths of processes and knows who was in each. So what it tells the next life costs nothing as
long as nobody dies, and is gone with the guardian, whose death says nothing of any message.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

from regrow.cluster.hosts import HostRecord
from regrow.runtime import ActorId, Packed
from regrow.runtime.starter import Suspicion

ALONE_AT_ONCE = 8
"""How many suspects may run alone at a time; who finds no room stays with its neighbours."""
HOSTS_BESIDE_POOLS = 32
"""How many hosts there may be beside the own ones of pools: those of suspects, and those that have joined a pool since
and have an agent still. Agents of a tree stay for as long as the app, and their hosts with them."""
MAX_DEATHS = 10_000
"""Of how many agents it is remembered how their process died; of those beyond, the ones that died first are let off."""


class Suspects:
    """The suspects of one app."""

    def __init__(self) -> None:
        self._deaths: OrderedDict[ActorId, Suspicion] = OrderedDict()
        """How the processes of those died whose next life has not been told."""
        self._alone: dict[ActorId, Packed] = {}
        """Those who run alone, and where they would be otherwise."""
        self._counted: set[ActorId] = set()
        """Those of them whose death among others was counted, and who have not died alone since."""

    def host_died(self, durable: Collection[ActorId], *, shared: bool) -> frozenset[ActorId]:
        """The process in which these durable agents ran has died, and nobody has ordered that.

        Gives those whose deaths are no further event for their supervisors: who dies alone of what was suspected has
        died of it before, and that death was counted.
        """
        suspicion = Suspicion.SHARED if shared else Suspicion.ALONE
        for actor in durable:
            self._deaths[actor] = suspicion
            self._deaths.move_to_end(actor)
        while len(self._deaths) > MAX_DEATHS:
            self._deaths.popitem(last=False)
        if shared:
            return frozenset()
        free = self._counted.intersection(durable)
        self._counted -= free
        return frozenset(free)

    def suspicion(self, actor: ActorId) -> Suspicion:
        """What is to be told to its next life."""
        return self._deaths.get(actor, Suspicion.SHARED if actor in self._alone else Suspicion.NONE)

    def told(self, actor: ActorId) -> None:
        """Its next life has been told, and no other must be: one death is one attempt."""
        self._deaths.pop(actor, None)

    def runs_alone(self, actor: ActorId) -> bool:
        """Whether it does until its message has its outcome."""
        return actor in self._alone

    def isolate(self, actor: ActorId, placement: Packed, hosts: Iterable[HostRecord]) -> bool:
        """From now on it runs alone, if there is room for a host that would not be there otherwise."""
        joined = sum(record.alive and record.for_suspect and record.pool is not None for record in hosts)
        if len(self._alone) >= ALONE_AT_ONCE or len(self._alone) + joined >= HOSTS_BESIDE_POOLS:
            return False
        self._alone[actor] = placement
        if self._deaths.get(actor) is Suspicion.SHARED:
            self._counted.add(actor)
        return True

    def cleared(self, actor: ActorId) -> Packed | None:
        """Its message has its outcome. Gives where it goes from now on, where it ran alone."""
        self._counted.discard(actor)
        return self._alone.pop(actor, None)

    def forget(self, actor: ActorId) -> None:
        """No further life of it will come by itself.

        One that is reached by key may be started again for the very message that has killed it.
        """
        if actor not in self._deaths:
            self._alone.pop(actor, None)
            self._counted.discard(actor)
