"""The trees of an app, as the process that holds the supervisors sees them."""

from __future__ import annotations

import platform

from regrow.actors import agent
from regrow.cluster.making import BehaviorFactory
from regrow.cluster.roots import Roots
from regrow.cluster.services import ServiceConfig
from regrow.cluster.tree import grown
from regrow.runtime import ActorId, HostId, Runtime
from regrow.runtime.local_starter import LocalStarter
from regrow.supervisors import Supervisor, child
from tests.runtime.scripted import Nowhere

HERE = HostId("guardian")


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


async def no_services() -> ServiceConfig:
    raise AssertionError("no service is used here")


def of_agents_only(actor: ActorId, host: HostId) -> tuple[str, int, str]:
    """What hosts tell: only of agents, since supervisors live in the guardian."""
    return ("running", 2, "node-b") if actor.endswith("/greet") else ("", 0, "")


async def test_a_nested_supervisor_is_on_the_node_of_the_process_that_holds_supervisors() -> None:
    roots = Roots("nest", no_services)
    runtime = Runtime(HERE, make_behavior=BehaviorFactory(roots.make_supervisor), directory=Nowhere())
    roots.attach(runtime, LocalStarter(runtime))
    await roots.start(Supervisor(children=[child(Supervisor(children=[child(greet)]), id="inner")]))

    (root,) = grown([stretch async for stretch in roots.walk(of_agents_only)])

    (inner,) = root.children
    (leaf,) = inner.children
    assert (root.node, inner.node, leaf.node) == (platform.node(), platform.node(), "node-b")
    assert (inner.kind, inner.state, inner.pid, inner.host) == ("supervisor", "running", runtime.pid, HERE)
    assert leaf.mailbox == 2
    await roots.stop()
    await runtime.aclose()
