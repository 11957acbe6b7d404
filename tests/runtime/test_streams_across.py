"""Answers that are read part by part from another process (SEMANTICS 4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.address import ActorId
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.errors import AskFailed, AskTimeout, Bug, ContactLost, InvalidMessage
from regrow.runtime.lifecycle import Killed
from regrow.runtime.link import LinkSettings
from regrow.runtime.message import StreamRequest
from regrow.runtime.stream_window import Window
from regrow.runtime.testing import FaultPlan, pass_time, virtual
from tests.runtime.scripted import Boom, Echo, Note, Scripted, for_ever, ignore
from tests.runtime.streaming import Tell, Teller, Token, Told, read, read_through
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext
    from regrow.runtime.message import Message
    from regrow.runtime.stream import Stream

SMALL = Window(parts=4)
LOSSY = FaultPlan(request_lost=0.1, reply_lost=0.1, doubled=0.1, slow=0.02)
A_FEW_TRIPS_S = 0.05


async def two(world: World, behavior: Any, *, listens: bool = False) -> tuple[Node, Node]:
    """Two processes, and `desk/teller` in the second."""
    here, there = world.node("here", listens=listens), world.node("there")
    await world.start(there, "desk/teller", lambda: behavior)
    return here, there


@virtual
@pytest.mark.parametrize("listens", [False, True])
async def test_parts_from_another_process_come_in_order_and_behind_them_is_the_reply(listens: bool) -> None:
    world = World()
    here, _ = await two(world, Teller(), listens=listens)

    async with here.ref("desk/teller").stream(Tell(parts=5_000)) as stream:
        assert await read(stream) == list(range(5_000))

    assert stream.reply == Told(parts=5_000)
    await world.close()


@virtual
async def test_lost_doubled_and_late_calls_cost_no_part_and_no_order() -> None:
    world = World(seed=3, plan=LOSSY, settings=LinkSettings(max_frame_rows=2))
    here, _ = await two(world, Teller(lambda n: asyncio.sleep(0)))

    async with here.ref("desk/teller").stream(Tell(parts=200), window=Window(parts=16)) as stream:
        assert await read(stream) == list(range(200))

    assert stream.reply == Told(parts=200)
    await world.close()


@virtual
async def test_a_reader_elsewhere_that_stops_reading_holds_up_its_producer_and_nobody_else() -> None:
    world, behavior = World(), Teller()
    here, there = await two(world, behavior)
    await world.start(there, "desk/clerk", Scripted)

    async with here.ref("desk/teller").stream(Tell(parts=1_000), window=SMALL) as stream:
        await pass_time(A_FEW_TRIPS_S)
        assert behavior.emitted == 4
        for n in range(50):
            assert await here.ref("desk/clerk").ask(Echo(text=str(n))) == str(n)
        assert behavior.emitted == 4
        assert await read(stream) == list(range(1_000))

    await world.close()


@virtual
async def test_leaving_cancels_the_handler_in_the_other_process() -> None:
    world, behavior = World(), Teller(lambda n: pass_time(1.0))
    here, _ = await two(world, behavior)

    async with here.ref("desk/teller").stream(Tell(parts=100)) as stream:
        assert await read(stream, 2) == [0, 1]

    assert await here.ref("desk/teller").ask(Echo(text="next"), timeout_s=0.5) == "next"
    assert (behavior.emitted, behavior.cancelled) == (2, 1)
    await world.close()


@virtual
async def test_a_crash_there_ends_the_stream_with_its_reason_behind_all_its_parts() -> None:
    async def crash(message: Message, ctx: CellContext) -> object:
        for n in range(10):
            await ctx.emit(Token(n=n))
        raise Boom("in the middle")

    world = World()
    here, _ = await two(world, Scripted(crash))
    numbers: list[int] = []

    with pytest.raises(AskFailed, match="in the middle"):
        await read_through(here.ref("desk/teller").stream(Tell()), numbers)

    assert numbers == list(range(10))
    await world.close()


@virtual
async def test_the_death_of_the_producers_process_ends_the_stream_as_killed_behind_what_had_come() -> None:
    world = World()
    here, _ = await two(world, Teller(lambda n: for_ever() if n == 3 else asyncio.sleep(0)))

    async with here.ref("desk/teller").stream(Tell(parts=10)) as stream:
        assert await read(stream, 1) == [0]
        await pass_time(A_FEW_TRIPS_S)
        world.kill("there")
        await pass_time(1.0)
        numbers: list[int] = []
        with pytest.raises(AskFailed) as failed:
            await _read_on(stream, numbers)

    assert numbers == [1, 2]
    assert failed.value.reason.kind == "killed"
    await world.close()


@virtual
async def test_the_death_of_the_readers_process_cancels_the_handler() -> None:
    world, behavior = World(), Teller(lambda n: pass_time(0.1))
    here, there = await two(world, behavior)

    async def reading() -> None:
        async with here.ref("desk/teller").stream(Tell(parts=10_000), timeout_s=1_000.0) as stream:
            await read(stream)

    task = asyncio.create_task(reading())
    await pass_time(1.05)
    # As SIGKILL would: nothing of it says that it leaves.
    here.peers.close()
    world.wires.cut(here.host, Killed(detail="by the test"), tell=True)
    world.nodes.pop("here").is_dead = True
    there.peers.died(here.host, Killed(detail="by the test"))

    assert await there.ref("desk/teller").ask(Echo(text="next"), timeout_s=1.0) == "next"
    assert behavior.cancelled == 1
    task.cancel()
    await asyncio.wait([task])
    await world.close()


async def _read_on(stream: Stream[Token, Told], numbers: list[int]) -> None:
    async for token in stream:
        numbers.append(token.n)


@virtual
async def test_lost_contact_ends_a_stream_as_unknown() -> None:
    world = World()
    await world.with_guardian()
    here, _ = await two(world, Teller(lambda n: pass_time(0.5)))

    async with here.ref("desk/teller").stream(Tell(parts=100), timeout_s=600.0) as stream:
        await read(stream, 2)
        world.freeze("there")
        with pytest.raises(ContactLost):
            await read(stream)

    world.thaw("there")
    await world.close()


@virtual
async def test_a_producer_that_hears_nothing_more_ends_its_turn_at_the_deadline() -> None:
    world, behavior = World(), Teller(lambda n: pass_time(0.5))
    here, _ = await two(world, behavior)

    async with here.ref("desk/teller").stream(Tell(parts=1_000), timeout_s=5.0) as stream:
        await read(stream, 2)
        world.wires.freeze(here.host)
        with pytest.raises(AskTimeout):
            await read(stream)

    await pass_time(1.0)
    assert behavior.cancelled == 1
    world.wires.thaw(here.host)
    await world.close()


@virtual
async def test_parts_that_can_not_be_read_here_end_the_stream_and_the_turn() -> None:
    world, behavior = World(), Teller(lambda n: pass_time(0.5))
    here, there = await two(world, behavior)

    async with here.ref("desk/teller").stream(Tell(parts=100)) as stream:
        assert await read(stream, 1) == [0]
        (ask,) = here.runtime.asks
        wrong = Envelope(Kind.PART, ActorId("desk/teller"), (1, 1, False, ("no token",)), Origin())
        wrong.ask_id = ask.ask_id
        there.peers.send(here.host, wrong)
        with pytest.raises(InvalidMessage, match="a part could not be read"):
            await read(stream)

    await pass_time(1.0)
    assert behavior.cancelled == 1
    await world.close()


@virtual
async def test_parts_that_leave_some_out_end_the_stream_and_harm_no_other() -> None:
    world = World()
    here, there = await two(world, Teller(lambda n: pass_time(0.5)))

    async with here.ref("desk/teller").stream(Tell(parts=100)) as stream:
        assert await read(stream, 1) == [0]
        (ask,) = here.runtime.asks
        ahead = Envelope(Kind.PART, ActorId("desk/teller"), (7, 1, False, (Token(n=7),)), Origin(), ask_id=ask.ask_id)
        there.peers.send(here.host, ahead)
        with pytest.raises(Bug, match="part 7 of a stream came where part 1 was to come"):
            await read(stream)

    assert await here.ref("desk/teller").ask(Echo(text="next"), timeout_s=1.0) == "next"
    await world.close()


class Odd(StreamRequest[object, str]):
    """Its parts may be anything, also what can not travel."""


@virtual
async def test_a_part_that_can_not_travel_is_named_to_the_agent_that_emits_it() -> None:
    async def odd(message: Message, ctx: CellContext) -> object:
        await ctx.emit(object())
        return ""

    world = World()
    here, _ = await two(world, Scripted(odd))

    async with here.ref("desk/teller").stream(Odd()) as stream:
        with pytest.raises(AskFailed, match="has no form on the wire"):
            await anext(stream)

    await world.close()


@virtual
async def test_an_agent_reads_the_stream_of_one_in_another_process_in_its_turn() -> None:
    world = World()
    here, _ = await two(world, Teller())

    async def handle(message: Message, ctx: CellContext) -> object:
        if not isinstance(message, Echo):
            return await ignore(message, ctx)
        async with ctx.stream("desk/teller", Tell(parts=100)) as stream:
            return ",".join(str(n) for n in await read(stream))

    await world.start(here, "desk/reader", lambda: Scripted(handle))

    assert await here.ref("desk/reader").ask(Echo()) == ",".join(map(str, range(100)))
    await here.ref("desk/reader").tell(Note())
    await world.close()
