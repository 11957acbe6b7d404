"""A child spec arrives as it was sent, whether it stays in its process or crosses to the guardian."""

from __future__ import annotations

import dataclasses

import pytest
from pydantic import BaseModel

from regrow.actors import Agent, DurableAgent
from regrow.cluster.code import CodeName, name_of
from regrow.cluster.spec_courier import SpecCourier
from regrow.runtime import Misuse, Packed
from regrow.runtime.courier import Courier, CourierHere
from regrow.runtime.packing import opened, pack
from regrow.supervisors import ChildSpec, DynamicSupervisor, DynamicSupervisorSpec, Supervisor, SupervisorSpec, child
from regrow.supervisors.spec import Target


class Clerk(Agent): ...


class Tally(BaseModel):
    asked: int = 0


class Book(DurableAgent[Tally]): ...


COURIERS: list[type[Courier]] = [CourierHere, SpecCourier]

SPECS = [
    child(Clerk),
    child(Clerk, "b", restart="transient", shutdown_s=0, config=("a", 1), placement=Packed("pool", hosts=2), mailbox=7),
    child(DynamicSupervisor(child(Supervisor(children=[child(Clerk)]), "in"), max_children=3), "out"),
]


def plain(spec: ChildSpec) -> ChildSpec:
    """The spec with classes where names stand for them."""
    target: Target = spec.behavior
    if isinstance(target, CodeName):
        assert target.name == name_of(Clerk)
        target = Clerk
    elif isinstance(target, DynamicSupervisorSpec):
        target = dataclasses.replace(target, child=plain(target.child))
    elif isinstance(target, SupervisorSpec):
        target = dataclasses.replace(target, children=tuple(map(plain, target.children)))
    return dataclasses.replace(spec, behavior=target, config=opened(spec.config))


@pytest.mark.parametrize("make", COURIERS)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.id)
def test_a_spec_arrives_as_it_was_sent(make: type[Courier], spec: ChildSpec) -> None:
    courier = make()

    arrived = courier.opened(courier.packed(spec))

    assert isinstance(arrived, ChildSpec)
    assert plain(arrived) == spec


def test_what_nobody_waits_for_any_more_is_not_kept_in_its_process() -> None:
    courier = CourierHere()
    packed = courier.packed(SPECS[0])

    courier.forget(packed)

    assert courier.opened(packed) is None


@pytest.mark.parametrize("packed", [b"junk", b"", pack(Tally())], ids=["junk", "nothing", "a stranger"])
def test_what_is_no_spec_is_refused_on_its_arrival(packed: bytes) -> None:
    with pytest.raises(Misuse, match=r"this is no child spec .*; use ctx.start_child\(spec=child\(…\)\)"):
        SpecCourier().opened(packed)


@pytest.mark.parametrize("spec", [child(Book), child(Supervisor(children=[child(Book)]), "in")], ids=lambda s: s.id)
def test_a_durable_agent_can_not_be_added_to_a_tree_on_ray(spec: ChildSpec) -> None:
    with pytest.raises(Misuse, match=f"child '{spec.id}': durable agents are in the app's tree from its start"):
        SpecCourier().packed(spec)
