"""A stream whose producer's or reader's process is killed at any moment, plain and durable (SEMANTICS 4 and 6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.runtime.command_ids import uuid7
from regrow.runtime.errors import AskFailed, Closed, PartsLost
from regrow.runtime.lifecycle import Killed
from regrow.runtime.message import Message, Request, StreamRequest
from regrow.runtime.stream_window import Window
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Echo
from tests.runtime.streaming import Tell, Teller, Told
from tests.simulation.durable_world import BEGUN_MS, DurableWorld
from tests.simulation.wires import World

if TYPE_CHECKING:
    from regrow.runtime.stream import Stream

PARTS = 12
WINDOW = Window(parts=4)
STEP_S = 0.0005
STEPS = 60
"""The whole stream takes less than so many steps."""
TELLER = "desk/teller"


async def _read(stream: Stream[Any, Any], numbers: list[int]) -> object:
    """Reads to the end, whatever it is."""
    try:
        async with stream:
            async for token in stream:
                numbers.append(token.n)
    except (AskFailed, Closed, PartsLost) as error:
        return error
    return stream.reply


@pytest.mark.slow
@virtual
async def test_a_producer_that_is_killed_at_any_moment_ends_its_stream_gapless_and_once() -> None:
    ends: set[type] = set()
    for step in range(STEPS):
        world = World(seed=step)
        here, there = world.node("here"), world.node("there")
        await world.start(there, TELLER, lambda: Teller(lambda n: pass_time(0.001)))
        numbers: list[int] = []
        reading = asyncio.create_task(_read(here.ref(TELLER).stream(Tell(parts=PARTS), window=WINDOW), numbers))

        await pass_time(step * STEP_S)
        world.kill("there")
        end = await reading

        assert numbers == list(range(len(numbers))), f"killed in step {step}"
        if isinstance(end, Told):
            assert len(numbers) == PARTS, f"killed in step {step}"
        else:
            assert isinstance(end, AskFailed), f"killed in step {step}"
            assert end.reason.kind in ("killed", "noproc"), f"killed in step {step}"
        assert here.runtime.streams.is_idle
        ends.add(type(end))
        await world.close()
    assert ends == {Told, AskFailed}, "some were killed in the midst, and some behind the end"


@pytest.mark.slow
@virtual
async def test_a_reader_that_is_killed_at_any_moment_ends_the_turn_and_the_agent_serves_on() -> None:
    for step in range(STEPS):
        world = World(seed=step)
        here, there = world.node("here"), world.node("there")
        teller = Teller(lambda n: pass_time(0.001))
        await world.start(there, TELLER, lambda teller=teller: teller)  # type: ignore[misc]
        reading = asyncio.create_task(_read(here.ref(TELLER).stream(Tell(parts=10_000), window=WINDOW), []))

        await pass_time(step * STEP_S)
        world.kill("here")
        there.peers.died(here.host, Killed(detail="by the test"))
        await reading

        assert await there.ref(TELLER).ask(Echo(text="next"), timeout_s=1.0) == "next", f"killed in step {step}"
        assert there.runtime.streams.is_idle, f"killed in step {step}"
        await world.close()


# ---- durable -------------------------------------------------------------------------------------


class Said(BaseModel):
    tokens: int = 0


class Word(Message):
    n: int


class Say(StreamRequest[Word, int]):
    parts: int


class Total(Request[int]):
    pass


class Join(Request[str]):
    parts: int


class Joined(BaseModel):
    texts: tuple[str, ...] = ()


class Texts(Request[tuple[str, ...]]):
    pass


class Joiner(DurableAgent[Joined]):
    """Commits what it has read; of an answer whose parts are lost, that they are."""

    poison_after = 10

    @on
    async def join(self, request: Join, ctx: DurableContext) -> str:
        text = ""
        try:
            async with ctx.stream(TELLER, Say(parts=request.parts), window=WINDOW) as stream:
                async for word in stream:
                    text += f"{word.n} "
        except PartsLost as lost:
            text = f"{lost.reply} in all"
        self.state = Joined(texts=(*self.state.texts, text))
        return text

    @on
    async def texts(self, request: Texts) -> tuple[str, ...]:
        return self.state.texts


class Speaker(DurableAgent[Said]):
    @on
    async def say(self, request: Say, ctx: DurableContext) -> int:
        for n in range(request.parts):
            await pass_time(0.001)
            await ctx.emit(Word(n=n))
        self.state = Said(tokens=self.state.tokens + request.parts)
        return self.state.tokens

    @on
    async def total(self, request: Total) -> int:
        return self.state.tokens


@pytest.mark.slow
@virtual
async def test_a_durable_producer_that_is_killed_at_any_moment_commits_once_and_doubles_no_part() -> None:
    ends: set[type] = set()
    for step in range(STEPS):
        world = DurableWorld(seed=step)
        here, there = await world.host("here"), await world.host("there")
        await world.host("spare")
        await world.start_durable(there, TELLER, Speaker)
        command = str(uuid7(BEGUN_MS + 1_000_000, step))
        stream = here.ref(TELLER).stream(Say(parts=PARTS), window=WINDOW, command_id=command)
        numbers: list[int] = []
        reading = asyncio.create_task(_read(stream, numbers))

        await pass_time(step * STEP_S)
        world.kill("there")
        end = await reading

        assert numbers == list(range(len(numbers))), f"killed in step {step}"
        if end == PARTS:
            assert len(numbers) == PARTS, f"killed in step {step}"
        elif isinstance(end, PartsLost):
            assert (numbers, end.reply, end.emitted) == ([], PARTS, PARTS), f"killed in step {step}"
        else:
            assert isinstance(end, AskFailed), f"killed in step {step}: {end!r}"
        assert await here.ref(TELLER).ask(Say(parts=PARTS), command_id=command) == PARTS, f"killed in step {step}"
        assert await here.ref(TELLER).ask(Total()) == PARTS, f"killed in step {step}"
        ends.add(type(end))
        await world.close()
    assert ends == {int, AskFailed}


WHOLE = "".join(f"{n} " for n in range(PARTS))


@pytest.mark.heavy
@pytest.mark.parametrize("killed", ["reading", "telling"])
@virtual
async def test_a_durable_reader_commits_all_parts_or_that_they_are_lost_whoever_is_killed_at_any_moment(
    killed: str,
) -> None:
    ends: set[str] = set()
    for step in range(STEPS):
        world = DurableWorld(seed=step)
        here, reading, telling = [await world.host(name) for name in ("here", "reading", "telling")]
        await world.host("spare")
        await world.start_durable(telling, TELLER, Speaker)
        await world.start_durable(reading, "desk/joiner", Joiner)
        command = str(uuid7(BEGUN_MS + 1_000_000, step))
        asked = asyncio.create_task(here.ref("desk/joiner").ask(Join(parts=PARTS), command_id=command))

        await pass_time(step * STEP_S)
        world.kill(killed)
        await asyncio.wait([asked])

        text = await here.ref("desk/joiner").ask(Join(parts=PARTS), command_id=command)
        assert text in (WHOLE, f"{PARTS} in all"), f"killed in step {step}"
        assert await here.ref("desk/joiner").ask(Texts()) == (text,), f"killed in step {step}"
        assert await here.ref(TELLER).ask(Total()) == PARTS, f"killed in step {step}"
        ends.add(text)
        await world.close()
    assert ends == {WHOLE, f"{PARTS} in all"}
