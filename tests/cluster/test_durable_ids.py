"""Which agents of a tree are durable: in the driver by their classes, in the guardian by what it was told."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from regrow import Agent, DurableAgent, DynamicSupervisor, Supervisor, child
from regrow.cluster.durable_ids import DurableIds
from regrow.cluster.orders import supervisor_order, supervisor_spec
from regrow.runtime import ActorId
from regrow.supervisors import SupervisorSpec


class Nothing(BaseModel):
    pass


class Clerk(DurableAgent[Nothing]):
    pass


class Plain(Agent):
    pass


TREE = Supervisor(
    children=[
        child(Clerk, id="clerk"),
        child(Plain, id="plain"),
        child(DynamicSupervisor(child(Clerk, id="one")), id="many"),
        child(DynamicSupervisor(child(Supervisor(children=[child(Clerk), child(Plain)]), id="team")), id="teams"),
    ]
)


@pytest.mark.parametrize("tree", [TREE, supervisor_spec(supervisor_order(TREE))], ids=["driver", "guardian"])
@pytest.mark.parametrize(
    ("actor", "durable"),
    [
        ("desk/clerk", True),
        ("desk/plain", False),
        ("desk/many", False),
        ("desk/many/17", True),
        ("desk/many/17/spawned", False),
        ("desk/teams/3", False),
        ("desk/teams/3/clerk", True),
        ("desk/teams/3/plain", False),
        ("other/clerk", False),
    ],
)
def test_the_guardian_knows_as_the_driver_does_which_agents_are_durable(
    tree: SupervisorSpec, actor: str, durable: bool
) -> None:
    assert DurableIds.of("desk", tree)(ActorId(actor)) is durable


def test_an_app_without_durable_agents_has_none() -> None:
    assert not DurableIds.of("desk", Supervisor(children=[child(Plain)]))
    assert DurableIds.of("desk", TREE)
