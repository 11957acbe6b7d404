"""Orders between driver, guardian and hosts: a tree that crosses is the same tree, with names where classes were."""

from __future__ import annotations

from dataclasses import replace

from pydantic import BaseModel

from regrow.actors import DurableAgent, agent, keyed
from regrow.cluster.code import CodeName
from regrow.cluster.orders import SupervisorOrder, supervisor_order, supervisor_spec, unpack_as
from regrow.runtime import Dedicated, Packed
from regrow.runtime.packing import opened, pack
from regrow.supervisors import (
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    DynamicSupervisorSpec,
    KeyedSpec,
    Supervisor,
    child,
)


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


def crossed(spec: ChildSpec) -> ChildSpec:
    """The only child of a tree that went to the guardian."""
    order = unpack_as(SupervisorOrder, pack(supervisor_order(Supervisor(children=[spec]))))
    (there,) = supervisor_spec(order).children
    return there


def test_a_dynamic_supervisor_crosses_with_the_spec_of_its_children() -> None:
    pool = DynamicSupervisor(
        child(greet, restart="transient", shutdown_s=2.0, config=("a", 1), placement=Packed("readers", 2), mailbox=7),
        max_children=5,
        max_restarts=6,
        within_s=7.0,
        backoff=Backoff(first_s=0.5, max_s=8.0),
    )

    there = crossed(child(pool, id="pool", restart="temporary"))

    assert (there.id, there.kind, there.restart, there.shutdown_s) == ("pool", "supervisor", "temporary", None)
    spec = there.behavior
    assert isinstance(spec, DynamicSupervisorSpec)
    assert (spec.max_children, spec.max_restarts, spec.within_s, spec.backoff) == (5, 6, 7.0, pool.backoff)
    assert isinstance(spec.child.behavior, CodeName)
    assert (spec.child.restart, spec.child.shutdown_s, spec.child.mailbox.capacity) == ("transient", 2.0, 7)
    assert (opened(spec.child.config), spec.child.placement) == (("a", 1), Packed("readers", 2))


def test_a_dynamic_supervisor_of_trees_crosses() -> None:
    tree = Supervisor(strategy="one_for_all", children=[child(greet, placement=Dedicated())])

    spec = crossed(child(DynamicSupervisor(child(tree, id="tree")), id="pool")).behavior

    assert isinstance(spec, DynamicSupervisorSpec)
    assert spec.child.behavior == supervisor_spec(supervisor_order(tree))


class Nothing(BaseModel):
    pass


class Clerk(DurableAgent[Nothing]):
    pass


def test_a_kind_of_agents_with_keys_crosses() -> None:
    kind = keyed(
        Clerk,
        idle_s=5.0,
        max_active=7,
        max_restarts=6,
        within_s=8.0,
        backoff=Backoff(first_s=0.5, max_s=8.0),
        shutdown_s=2.0,
        placement=Packed("clerks", 2),
        mailbox=9,
    )

    there = crossed(kind)

    spec = there.behavior
    assert (there.id, there.kind, there.shutdown_s) == ("clerk", "supervisor", None)
    assert isinstance(spec, KeyedSpec)
    assert isinstance(kind.behavior, KeyedSpec)
    assert replace(spec, child=kind.behavior.child) == kind.behavior
    assert isinstance(spec.child.behavior, CodeName)
    assert spec.child.behavior.durable
    assert (spec.child.shutdown_s, spec.child.mailbox.capacity) == (2.0, 9)
    assert spec.child.placement == Packed("clerks", 2)
