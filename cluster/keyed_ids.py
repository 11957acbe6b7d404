"""Which agents of an app are reached by key: their ids, and what they are made from."""

from __future__ import annotations

from collections.abc import Mapping

from regrow.runtime import ActorId, ActorRef, Misuse
from regrow.supervisors import AnySupervisorSpec, ChildSpec, KeyedSpec, SupervisorSpec
from regrow.supervisors.spec import check_key


class KeyedIds:
    """The kinds of agents with keys of one app, by the ids of their supervisors, such as `desk/clerk`."""

    def __init__(self, kinds: Mapping[ActorId, object]) -> None:
        self.kinds = kinds
        """What the agents of each kind are made from."""

    @classmethod
    def of(cls, app: str, root: AnySupervisorSpec) -> KeyedIds:
        """Those of an app's tree."""
        return cls(dict(_kinds(ActorId(app), root)))

    def __bool__(self) -> bool:
        """True where the app has any."""
        return bool(self.kinds)

    def made_from(self, actor: ActorId) -> object | None:
        """What an agent with a key is made from; None for all others."""
        return self.kinds.get(ActorId(actor.rpartition("/")[0]))

    def id_of(self, whose: object, key: str) -> ActorId:
        """The id of the agent with this key, of a kind that is named by its class or id.

        Raises Misuse where there is no such kind, or it can not have such a key.
        """
        if isinstance(whose, ActorRef):
            whose = whose.id
        found = [kind for kind, made_from in self.kinds.items() if whose in (kind, made_from)]
        if not found:
            found = [kind for kind, made_from in self.kinds.items() if is_same_code(made_from, whose)]
        name = getattr(whose, "__name__", whose)
        if not found:
            known = ", ".join(self.kinds) or "none"
            raise Misuse(
                f"{name} has no agents with keys in this app; declare it in the tree as keyed({name}); kinds: {known}"
            )
        if len(found) > 1:
            raise Misuse(f"{len(found)} kinds are made from {name}: {', '.join(found)}; give the id of one")
        check_key(key, found[0])
        return ActorId(f"{found[0]}/{key}")


def is_same_code(one: object, other: object) -> bool:
    """True for two imports of one definition, as `__main__` and by its file's name."""
    names = [(getattr(x, "__qualname__", None), getattr(x, "__module__", None)) for x in (one, other)]
    return names[0][0] is not None and names[0] == names[1]


def _kinds(parent: ActorId, spec: AnySupervisorSpec) -> list[tuple[ActorId, object]]:
    found: list[tuple[ActorId, object]] = []
    children: tuple[ChildSpec, ...] = spec.children if isinstance(spec, SupervisorSpec) else ()
    for item in children:
        actor = ActorId(f"{parent}/{item.id}")
        if isinstance(item.behavior, KeyedSpec):
            found.append((actor, item.behavior.child.behavior))
        elif isinstance(item.behavior, AnySupervisorSpec):
            found.extend(_kinds(actor, item.behavior))
    return found
