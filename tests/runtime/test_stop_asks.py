"""What a life that is being stopped asks of those who are between two lives (SEMANTICS 4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from regrow.runtime.errors import AskFailed, RegrowError
from regrow.runtime.lifecycle import NoProc, Shutdown
from regrow.runtime.stop_asks import LOOK_S, PATIENCE_S
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Echo, Note, Scripted, for_ever
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext

PAYER, CLERK = "desk/payer", "desk/clerk"
GRACE_S = 10.0
SOON_S = PATIENCE_S + 2 * LOOK_S


class Payer:
    """Asks the clerk when it is told to, or when it stops; a stop waits for that. Keeps what came of it, and when."""

    def __init__(self, *, in_stopping: bool = False) -> None:
        self._in_stopping = in_stopping
        self.heard: list[object] = []
        self.at_s = 0.0

    def __call__(self) -> Scripted:
        return Scripted(self._handle, stopping=self._stop if self._in_stopping else None)

    async def _handle(self, message: object, ctx: CellContext) -> None:
        asking = asyncio.ensure_future(self._ask(ctx))
        try:
            await asyncio.shield(asking)
        finally:
            await asyncio.wait((asking,))

    async def _stop(self, ctx: CellContext) -> None:
        await self._ask(ctx)

    async def _ask(self, ctx: CellContext) -> None:
        try:
            reply = await ctx.ask(CLERK, Echo(text="paid"), timeout_s=60.0)
            self.heard.append(reply)
        except RegrowError as error:
            self.heard.append(error)
        self.at_s = asyncio.get_running_loop().time()


async def desk(world: World, payer: Payer, *, apart: bool) -> tuple[Node, Node]:
    """The payer here, and the clerk here too, or in a process of its own."""
    here = world.node("here")
    there = world.node("there") if apart else here
    await world.start(there, CLERK, lambda: Scripted(for_ever))
    await world.start(here, PAYER, payer)
    return here, there


def now_s() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("apart", [False, True], ids=["one process", "two processes"])
@pytest.mark.parametrize("in_stopping", [False, True], ids=["in a turn", "in its stop"])
def test_an_ask_of_who_is_being_stopped_fails_soon_where_its_receiver_has_ended_and_is_to_come_back(
    apart: bool, in_stopping: bool
) -> None:
    @virtual
    async def play() -> None:
        world, payer = World(), Payer(in_stopping=in_stopping)
        here, there = await desk(world, payer, apart=apart)
        await there.ref(CLERK).stop()
        await pass_time(0.1)
        if not in_stopping:
            await here.ref(PAYER).tell(Note())
            await pass_time(0.1)
        begun_s = now_s()

        await here.ref(PAYER).stop(grace_s=GRACE_S)
        await pass_time(GRACE_S / 2)

        [failure] = payer.heard
        assert isinstance(failure, AskFailed)
        assert failure.reason == NoProc()
        assert "desk/clerk is between two lives, and desk/payer is being stopped" in str(failure)
        assert "Echo is waited for no longer, and it was not begun, and is not done" in str(failure)
        assert payer.at_s - begun_s <= SOON_S
        assert (PAYER, Shutdown()) in world.ends
        await world.close()

    play()


@virtual
async def test_what_was_asked_is_taken_out_so_that_the_next_life_does_not_do_it() -> None:
    world, payer, served = World(), Payer(), list[str]()

    async def serve(message: Echo, ctx: CellContext) -> str:
        served.append(message.text)
        return message.text

    here, there = await desk(world, payer, apart=True)
    await there.ref(CLERK).stop()
    await pass_time(0.1)
    await here.ref(PAYER).tell(Note())
    await pass_time(0.1)
    await here.ref(PAYER).stop(grace_s=GRACE_S)
    await pass_time(GRACE_S / 2)

    await world.start(there, CLERK, lambda: Scripted(serve))
    assert await there.ref(CLERK).ask(Echo(text="another")) == "another"

    assert served == ["another"]
    await world.close()


@pytest.mark.parametrize("apart", [False, True], ids=["one process", "two processes"])
def test_a_receiver_that_comes_back_at_once_answers_also_who_is_being_stopped(apart: bool) -> None:
    @virtual
    async def play() -> None:
        world, payer = World(restart_after_s=PATIENCE_S / 2), Payer()
        here, there = await desk(world, payer, apart=apart)
        world.next_life(CLERK, Scripted)
        await there.ref(CLERK).stop()
        await here.ref(PAYER).tell(Note())
        await pass_time(0.01)

        await here.ref(PAYER).stop(grace_s=GRACE_S)
        await pass_time(GRACE_S / 2)

        assert payer.heard[0] == "paid"
        await world.close()

    play()


@virtual
async def test_an_ask_whose_receiver_has_no_process_fails_as_soon() -> None:
    world, payer = World(), Payer()
    here, _ = await desk(world, payer, apart=True)
    world.kill("there")
    await pass_time(2.0)
    await here.ref(PAYER).tell(Note())
    await pass_time(0.1)
    begun_s = now_s()

    await here.ref(PAYER).stop(grace_s=GRACE_S)
    await pass_time(GRACE_S / 2)

    [failure] = payer.heard
    assert isinstance(failure, AskFailed)
    assert "it was not sent" in str(failure)
    assert payer.at_s - begun_s <= SOON_S
    await world.close()


@virtual
async def test_who_is_not_being_stopped_waits_for_the_next_life_of_who_it_asks() -> None:
    world, payer = World(), Payer()
    here, there = await desk(world, payer, apart=True)
    await there.ref(CLERK).stop()
    await pass_time(0.1)
    await here.ref(PAYER).tell(Note())
    await pass_time(GRACE_S)

    await world.start(there, CLERK, Scripted)
    await pass_time(1.0)

    assert payer.heard == ["paid"]
    await world.close()
