"""Names and groups in one process: the first who takes a name has it until it dies.

Pure bookkeeping; the runtime frees what an actor held before anybody hears of its end.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from regrow.runtime.address import ActorId


class Registry:
    """Names are unique; groups are multisets (SEMANTICS 3)."""

    def __init__(self) -> None:
        self._names: dict[str, ActorId] = {}
        self._groups: defaultdict[str, Counter[ActorId]] = defaultdict(Counter)

    def register(self, name: str, actor: ActorId) -> ActorId:
        """Takes a name for an actor; returns who has it now, which is another if that one came first."""
        return self._names.setdefault(name, actor)

    def whereis(self, name: str) -> ActorId | None:
        """Who has the name."""
        return self._names.get(name)

    def unregister(self, name: str, actor: ActorId) -> bool:
        """Gives a name back; only its owner can."""
        if self._names.get(name) != actor:
            return False
        del self._names[name]
        return True

    def join(self, group: str, actor: ActorId) -> None:
        """Adds one membership."""
        self._groups[group][actor] += 1

    def leave(self, group: str, actor: ActorId) -> None:
        """Removes one membership, if there is one."""
        members = self._groups[group]
        if members[actor] > 1:
            members[actor] -= 1
        else:
            del members[actor]

    def members(self, group: str) -> list[ActorId]:
        """All memberships of a group, an actor as often as it joined."""
        members = self._groups.get(group)
        return list(members.elements()) if members is not None else []

    def free(self, actor: ActorId) -> None:
        """Takes everything from an actor that ended."""
        if self._names:
            for name in [name for name, owner in self._names.items() if owner == actor]:
                del self._names[name]
        for members in self._groups.values():
            members.pop(actor, None)
