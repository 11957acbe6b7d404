"""Which agents of an app are durable, by their ids. The guardian runs no user code, so it is told with the tree."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from regrow.actors import DurableAgent
from regrow.cluster.code import CodeName, agent_class
from regrow.runtime import ActorId
from regrow.supervisors import AnySupervisorSpec, SupervisorSpec

ANY_CHILD = "*"
"""Stands for the id of every child of a DynamicSupervisor; no id may hold it."""
LIMIT_KNOWN = 4_096
"""Agents below a DynamicSupervisor of which the answer is kept; to find it anew takes microseconds."""


class DurableIds:
    """Says of an agent of the app's tree whether it is durable; what agents spawn is not known to it."""

    def __init__(self, ids: Iterable[ActorId]) -> None:
        """`ids` with ANY_CHILD in place of a part stand for all that have anything there."""
        self._ids = frozenset(ids)
        self._patterns = [id.split("/") for id in self._ids if ANY_CHILD in id]
        self._matches = lru_cache(LIMIT_KNOWN)(self._match)

    @classmethod
    def of(cls, app: str, root: AnySupervisorSpec) -> DurableIds:
        """Those of an app's tree, whether it holds classes or what stands for them in the guardian."""
        return cls(id for id, target in agents_of(ActorId(app), root) if is_durable(target))

    def __bool__(self) -> bool:
        """True where the app has durable agents at all."""
        return bool(self._ids)

    def __call__(self, actor: ActorId) -> bool:
        """Whether this agent is durable."""
        return actor in self._ids or (bool(self._patterns) and self._matches(actor))

    def is_numbered(self, actor: ActorId) -> bool:
        """Whether it is the durable child of a DynamicSupervisor, or below one: its id is not given a second time."""
        return actor not in self._ids and self(actor)

    @property
    def has_numbered(self) -> bool:
        """Whether there may be such agents."""
        return bool(self._patterns)

    def _match(self, actor: ActorId) -> bool:
        parts = actor.split("/")
        return any(
            len(pattern) == len(parts)
            and all(wanted in (ANY_CHILD, part) for wanted, part in zip(pattern, parts, strict=True))
            for pattern in self._patterns
        )


def agents_of(parent: ActorId, spec: AnySupervisorSpec) -> list[tuple[ActorId, object]]:
    """Every agent of a tree with its id. Below a DynamicSupervisor ids are only patterns, with ANY_CHILD in them."""
    found: list[tuple[ActorId, object]] = []
    fixed = isinstance(spec, SupervisorSpec)
    for item in spec.children if isinstance(spec, SupervisorSpec) else (spec.child,):
        actor = ActorId(f"{parent}/{item.id if fixed else ANY_CHILD}")
        if isinstance(item.behavior, AnySupervisorSpec):
            found.extend(agents_of(actor, item.behavior))
        else:
            found.append((actor, item.behavior))
    return found


def is_durable(target: object) -> bool:
    """Whether what a child is made from is a durable agent."""
    if isinstance(target, CodeName):
        return target.durable
    cls = agent_class(target)
    return cls is not None and issubclass(cls, DurableAgent)
