"""What differs between two versions of an app: nothing, single agents, or the tree itself. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from regrow.cluster.code import agent_class
from regrow.cluster.durable_ids import ANY_CHILD
from regrow.runtime import ActorId
from regrow.supervisors import AnySupervisorSpec, ChildSpec, SupervisorSpec

OF_THE_AGENT = ("behavior", "config")
"""What a restart of the agent takes anew; all else is a rule of its supervisor, which has it from its own start."""


def specs_of(parent: ActorId, spec: AnySupervisorSpec) -> Iterator[tuple[ActorId, ChildSpec]]:
    """Every child of a tree with its id; below a supervisor of many with ANY_CHILD in place of the last part."""
    fixed = isinstance(spec, SupervisorSpec)
    for item in spec.children if isinstance(spec, SupervisorSpec) else (spec.child,):
        actor = ActorId(f"{parent}/{item.id if fixed else ANY_CHILD}")
        yield actor, item
        if isinstance(item.behavior, AnySupervisorSpec):
            yield from specs_of(actor, item.behavior)


def tree_change(old: AnySupervisorSpec, new: AnySupervisorSpec, at: ActorId) -> str:
    """Where the trees of two versions differ, in words; empty where only agents may have changed."""
    if (rules := _rules(old)) != _rules(new):
        return f"the rules of {at}" if rules[0] == _rules(new)[0] else f"the kind of {at}"
    before, after = dict(specs_of(at, old)), dict(specs_of(at, new))
    if list(before) != list(after):
        differs = sorted(before.keys() ^ after.keys())
        return f"the children ({', '.join(differs)})" if differs else "the order of the children"
    for actor, item in before.items():
        other = after[actor]
        for field in fields(ChildSpec):
            if field.name not in OF_THE_AGENT and getattr(item, field.name) != getattr(other, field.name):
                return f"{field.name} of {actor}"
        if isinstance(item.behavior, AnySupervisorSpec) and isinstance(other.behavior, AnySupervisorSpec):
            if _rules(item.behavior) != _rules(other.behavior):
                return f"the rules of {actor}"
        elif isinstance(item.behavior, AnySupervisorSpec) or isinstance(other.behavior, AnySupervisorSpec):
            return f"the kind of {actor}"
        elif _code(item.behavior) != _code(other.behavior):
            return f"what {actor} is made from"
    return ""


def is_changed(old: ChildSpec, new: ChildSpec) -> bool:
    """Whether an agent has to start again: its code was imported anew, or it has another config."""
    if isinstance(new.behavior, AnySupervisorSpec):
        return False
    return old.behavior is not new.behavior or old.config != new.config


def _rules(spec: AnySupervisorSpec) -> tuple[Any, ...]:
    names = [field.name for field in fields(spec) if field.name not in ("children", "child")]
    return (type(spec).__name__, *(getattr(spec, name) for name in names))


def _code(target: object) -> tuple[str, str]:
    """A class or function by its name, whichever import of it this is; whether it is durable belongs to the tree."""
    cls = agent_class(target)
    name = f"{getattr(target, '__module__', '')}:{getattr(target, '__qualname__', target)}"
    return name, "durable" if cls is not None and hasattr(cls, "state_type") else ""
