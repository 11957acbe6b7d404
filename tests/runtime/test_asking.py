"""How an ask ends: at its deadline, by an asker that goes away, when everything stops (SEMANTICS 4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from regrow.runtime.errors import AskTimeout, Closed, MailboxFull
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.message import Message
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Echo, Note, Process, Scripted, for_ever, settle
from tests.simulation.wires import World

if TYPE_CHECKING:
    from regrow.runtime.asks import Asks
    from regrow.runtime.context import CellContext
    from regrow.runtime.testing import VirtualLoop


async def slow(message: Message, ctx: CellContext) -> str:
    """Takes its time for everything."""
    await pass_time(2.0)
    return message.text if isinstance(message, Echo) else ""


# ---- at the deadline -----------------------------------------------------------------------------


@virtual
async def test_a_reply_that_is_in_the_process_at_the_deadline_wins_however_late_the_loop_comes_to_it() -> None:
    process, release = Process(), asyncio.Event()
    loop: VirtualLoop = asyncio.get_running_loop()  # type: ignore[assignment] # `virtual` made it

    async def handle(message: Message, ctx: CellContext) -> str:
        await release.wait()
        for _ in range(2):  # what lies between a packet that has come and the asker whose reply it brings
            await asyncio.sleep(0)
        return "in time"

    clerk = await process.start("desk/clerk", handle)
    asking = asyncio.ensure_future(clerk.ask(Echo(), timeout_s=1.0))
    await settle()

    release.set()
    loop.now_s += 60.0  # something blocks the loop for a minute while the reply waits its turn

    assert await asking == "in time"


@virtual
async def test_a_reply_to_an_ask_that_timed_out_never_reaches_the_next_one() -> None:
    process = Process()
    clerk = await process.start("desk/clerk", slow)

    with pytest.raises(AskTimeout):
        await clerk.ask(Echo(text="first"), timeout_s=1.0)

    assert await clerk.ask(Echo(text="second"), timeout_s=5.0) == "second"
    assert process.dead == {"late_reply": 1}


@virtual
async def test_the_deadline_counts_from_the_start_of_the_ask_and_not_from_when_there_was_room() -> None:
    process, loop = Process(), asyncio.get_running_loop()
    clerk = await process.start("desk/clerk", slow, mailbox=MailboxSettings(capacity=1))
    await clerk.tell(Note())
    await settle()
    await clerk.tell(Note())
    began_s = loop.time()

    with pytest.raises(AskTimeout):  # room comes after two seconds, its turn after four, its reply after six
        await clerk.ask(Echo(), timeout_s=5.0)

    assert loop.time() - began_s == pytest.approx(5.0, abs=0.01)


@virtual
async def test_the_deadline_counts_while_the_receiver_is_looked_for() -> None:
    world = World()
    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/clerk", lambda: Scripted(for_ever))
    there.cell("desk/clerk").kill()  # it is looked for until it starts again, which it does not
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    with pytest.raises(AskTimeout):
        await here.ref("desk/clerk").ask(Echo(), timeout_s=3.0)

    assert loop.time() - began_s == pytest.approx(3.0, abs=0.01)
    await world.close()


@virtual
async def test_an_ask_waits_thirty_seconds_unless_told_otherwise() -> None:
    process, loop = Process(), asyncio.get_running_loop()
    clerk = await process.start("desk/clerk", for_ever)
    began_s = loop.time()

    with pytest.raises(AskTimeout):
        await clerk.ask(Echo())

    assert loop.time() - began_s == pytest.approx(30.0, abs=0.01)


# ---- an asker that goes away ---------------------------------------------------------------------


@virtual
async def test_an_asker_that_is_cancelled_takes_back_a_request_that_has_not_begun() -> None:
    process, seen = Process(), list[str]()

    async def handle(message: Message, ctx: CellContext) -> str:
        await pass_time(1.0)
        seen.append(type(message).__name__)
        return ""

    clerk = await process.start("desk/clerk", handle)
    await clerk.tell(Note())
    asking = asyncio.ensure_future(clerk.ask(Echo()))
    await settle()

    asking.cancel()
    await asyncio.wait([asking])

    assert len(process.cell("desk/clerk").mailbox) == 0
    await pass_time(5.0)
    assert seen == ["Note"]
    assert process.dead == {}


@virtual
async def test_an_asker_that_is_cancelled_does_not_stop_a_request_that_has_begun() -> None:
    process, seen = Process(), list[str]()

    async def handle(message: Message, ctx: CellContext) -> str:
        await pass_time(1.0)
        seen.append(type(message).__name__)
        return ""

    clerk = await process.start("desk/clerk", handle)
    asking = asyncio.ensure_future(clerk.ask(Echo()))
    await settle()

    asking.cancel()
    await pass_time(5.0)

    assert seen == ["Echo"]
    assert process.dead == {"late_reply": 1}


@virtual
async def test_an_asker_that_is_cancelled_takes_its_request_back_from_another_process() -> None:
    world, seen = World(), list[str]()

    async def handle(message: Message, ctx: CellContext) -> str:
        await pass_time(1.0)
        seen.append(type(message).__name__)
        return ""

    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/clerk", lambda: Scripted(handle))
    await here.ref("desk/clerk").tell(Note())
    asking = asyncio.ensure_future(here.ref("desk/clerk").ask(Echo()))
    await pass_time(0.5)
    assert len(there.cell("desk/clerk").mailbox) == 1

    asking.cancel()
    await pass_time(5.0)

    assert seen == ["Note"]
    assert (here.dead, there.dead) == ([], [])
    await world.close()


@virtual
async def test_an_agent_that_is_killed_takes_back_what_it_asked() -> None:
    process = Process()

    async def front(message: Message, ctx: CellContext) -> str:
        return await ctx.ask("desk/back", Echo())

    await process.start("desk/front", front)
    await process.start("desk/back", slow)
    await process.ref("desk/back").tell(Note())
    await process.ref("desk/front").tell(Note())
    await settle()
    assert len(process.cell("desk/back").mailbox) == 1

    process.cell("desk/front").kill()
    await settle()

    assert len(process.cell("desk/back").mailbox) == 0


@virtual
async def test_a_tell_that_is_under_way_when_its_time_is_over_and_comes_back_refused_waits_no_longer() -> None:
    world, loop = World(), asyncio.get_running_loop()
    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/clerk", lambda: Scripted(for_ever), mailbox=MailboxSettings(capacity=1))
    await here.ref("desk/clerk").tell(Note())
    await here.ref("desk/clerk").tell(Note())
    began_s = loop.time()

    with pytest.raises(MailboxFull):
        await here.ref("desk/clerk").tell(Note(), send_timeout_s=0.0001)

    assert loop.time() - began_s < 0.1
    await world.close()


# ---- stop ----------------------------------------------------------------------------------------


def counted_failures(asks: Asks) -> list[int]:
    """The number of each ask as it is told of a failure that ends it."""
    failed, fail = list[int](), asks.fail

    def counted(ask_id: int, error: Exception) -> bool:
        if ends := fail(ask_id, error):
            failed.append(ask_id)
        return ends

    asks.fail = counted  # type: ignore[method-assign]
    return failed


@pytest.mark.parametrize("listens", [False, True], ids=["a host", "a driver"])
def test_a_process_that_stops_ends_each_of_its_asks_once(listens: bool) -> None:
    """Those that are handled, that wait in a mailbox, that wait for room there, and whose receiver is looked for."""

    @virtual
    async def run() -> None:
        world, handled = World(), list[str]()

        async def hold(message: Message, ctx: CellContext) -> str:
            handled.append(ctx.id)
            return await for_ever()

        here, there = world.node("here", listens=listens), world.node("there")
        await world.start(there, "desk/clerk", lambda: Scripted(hold))
        await world.start(there, "desk/full", lambda: Scripted(hold), mailbox=MailboxSettings(capacity=1))
        await world.start(there, "desk/away", lambda: Scripted(hold))
        there.cell("desk/away").kill()  # it is looked for until it starts again, which it does not
        actors = ["desk/clerk", "desk/clerk", "desk/full", "desk/full", "desk/full", "desk/away"]
        asks = [asyncio.ensure_future(here.ref(actor).ask(Echo())) for actor in actors]
        failed = counted_failures(here.runtime.asks)
        await pass_time(1.0)
        assert not any(ask.done() for ask in asks)
        assert handled == ["desk/clerk", "desk/full"]
        assert [len(there.cell(actor).mailbox) for actor in ("desk/clerk", "desk/full")] == [1, 1]

        here.peers.close()
        await here.runtime.aclose()
        await settle()

        assert [type(ask.exception()) for ask in asks] == [Closed] * len(asks)
        assert len(failed) == len(set(failed)) == len(asks), "each once"
        assert len(here.runtime.asks) == 0
        await world.close()

    run()
