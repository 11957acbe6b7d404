"""An actor that leaves a process which lives, and starts in one that knew it there."""

from __future__ import annotations

from regrow.runtime.address import ActorId
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Echo, Scripted
from tests.simulation.wires import World


@virtual
async def test_messages_in_the_process_to_which_an_actor_has_moved_do_not_wait_for_ever() -> None:
    world = World()
    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/clerk", Scripted)
    assert await here.ref("desk/clerk").ask(Echo(text="there")) == "there"
    there.cell("desk/clerk").kill()
    there.runtime.forget(ActorId("desk/clerk"))
    world.truth.remove(ActorId("desk/clerk"))

    await world.start(here, "desk/clerk", Scripted)

    assert await here.ref("desk/clerk").ask(Echo(text="here"), timeout_s=5.0) == "here"
    await world.close()
