"""What a durable turn has models and memory do is done once, and given again when it is run again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import Agent, Context, DurableAgent, DurableContext, Message, Refused, Request, Work, on
from regrow.actors.turn_history import read_about
from regrow.memory.requests import Recall, Recalled, Remember, Remembered
from regrow.router.request import ModelPart, ModelReply, ModelRequest, Tier, Usage
from regrow.runtime.address import ActorId
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time

CLERK = ActorId("desk/clerk")


class Read(BaseModel):
    notes: int = 0


class Ask(Request[str]):
    text: str
    crashes: int = 1


class World:
    """What the services were asked, and how often the turn has crashed."""

    def __init__(self) -> None:
        self.asked: list[Message] = []
        self.crashed = 0
        self.refuses = False
        self.gate: asyncio.Event | None = None

    def crash(self, times: int) -> None:
        if self.crashed < times:
            self.crashed += 1
            raise ValueError("as the test wants it")


world = World()


@pytest.fixture(autouse=True)
def _new_world() -> None:
    world.__init__()  # type: ignore[misc] # a fresh one for each test, under the name that the agents know


class Services(DurableAgent[Read]):
    """Stands for memory and models."""

    @on
    async def remember(self, request: Remember) -> Remembered:
        world.asked.append(request)
        if world.gate is not None:
            await world.gate.wait()
        return Remembered(ids=tuple(record.id for record in request.records), new=len(request.records))

    @on
    async def recall(self, request: Recall) -> Recalled:
        world.asked.append(request)
        return Recalled(hits=())

    @on
    async def complete(self, request: ModelRequest) -> ModelReply:
        world.asked.append(request)
        if world.refuses:
            raise Refused("no money left")
        return ModelReply(
            text=f"answer {len(world.asked)}",
            tier=Tier.SMALL,
            provider="p",
            model="m",
            usage=Usage(input_tokens=1, output_tokens=1),
            cost_usd=0.0,
            latency_s=0.0,
        )


class Clerk(DurableAgent[Read]):
    @on
    async def ask(self, request: Ask, ctx: DurableContext) -> str:
        hits = await ctx.memory.recall(request.text)
        reply = await ctx.models.complete(Work.SUMMARIZE, f"{request.text} {len(hits)}")
        await ctx.memory.remember(reply.text, source="clerk")
        world.crash(request.crashes)
        self.state.notes += 1
        return reply.text


async def desk(journal: Any = None) -> Host:
    host = await Host.on(journal if journal is not None else memory_journal())
    assert await host.start(Services, "desk:services") is None
    host.runtime.services.update(memory=ActorId("desk:services"), models=ActorId("desk:services"))
    assert await host.start(Clerk, CLERK) is None
    return host


@on_virtual_time
async def test_model_calls_and_memory_of_a_turn_are_steps_and_each_is_made_once() -> None:
    journal = memory_journal()
    host = await desk(journal)

    assert await host.ref(CLERK).ask(Ask(text="rivers", crashes=2)) == "answer 2"

    assert [type(message) for message in world.asked] == [Recall, ModelRequest, Remember]
    (turn,) = await journal.history(CLERK)
    steps = [(step.name, step.state) for step in read_about(turn.about).steps]
    assert steps == [("memory:Recall", "done"), ("models:ModelRequest", "done"), ("memory:Remember", "done")]


@on_virtual_time
async def test_a_refusal_of_a_model_call_is_recorded_as_well() -> None:
    host = await desk()
    world.refuses = True

    class Stubborn(DurableAgent[Read]):
        @on
        async def ask(self, request: Ask, ctx: DurableContext) -> str:
            try:
                await ctx.models.complete(Work.SUMMARIZE, request.text)
            except Refused as refusal:
                world.crash(request.crashes)
                world.refuses = False
                return str(refusal)
            return "answered"

    await host.start(Stubborn, "desk/stubborn")

    assert await host.ref("desk/stubborn").ask(Ask(text="x", crashes=1)) == "no money left"
    assert len(world.asked) == 1


@on_virtual_time
async def test_what_was_to_be_remembered_and_is_not_known_is_sent_again_though_time_has_passed() -> None:
    host = await desk()
    world.gate = asyncio.Event()
    asking = asyncio.create_task(host.ref(CLERK).ask(Ask(text="rivers", crashes=0)))
    while not any(isinstance(message, Remember) for message in world.asked):
        await pass_time(0.01)

    host.runtime.cells[CLERK].kill()
    world.gate.set()

    assert await asking == "answer 2"
    first, second = (message for message in world.asked if isinstance(message, Remember))
    assert [record.id for record in first.records] == [record.id for record in second.records]
    assert await host.quarantined(CLERK) == ()


class Writer(Agent):
    """Stands for the models: writes its answer in pieces."""

    @on
    async def complete(self, request: ModelRequest, ctx: Context) -> ModelReply:
        world.asked.append(request)
        for piece in ("one ", "two"):
            await ctx.emit(ModelPart(text=piece))
        if world.refuses:
            raise Refused("no money left")
        usage = Usage(input_tokens=1, output_tokens=1)
        return ModelReply(
            text="one two", tier=Tier.SMALL, provider="p", model="m", usage=usage, cost_usd=0.0, latency_s=0.0
        )


class Speaker(DurableAgent[Read]):
    @on
    async def speak(self, request: Ask, ctx: DurableContext) -> str:
        pieces: list[str] = []
        async with ctx.models.stream(Work.GENERATE, request.text) as stream:
            async for part in stream:
                pieces.append(part.text)
        world.crash(request.crashes)
        self.state.notes += 1
        return f"{'|'.join(pieces)} = {stream.reply.text}"


class Looper(DurableAgent[Read]):
    @on
    async def speak(self, request: Ask, ctx: DurableContext) -> str:
        pieces: list[str] = []

        async def take(text: str) -> None:
            pieces.append(text)

        answer = await ctx.models.run(request.text, on_text=take)
        world.crash(request.crashes)
        self.state.notes += 1
        return f"{'|'.join(pieces)} = {answer.text}"


async def said_twice(speaker: type[DurableAgent[Read]]) -> list[str]:
    """What it says: first in a turn that is run once, then in one that is run again."""
    host = await Host.on(memory_journal())
    assert await host.start(Writer, "desk:models") is None
    host.runtime.services.update(models=ActorId("desk:models"))
    assert await host.start(speaker, "desk/speaker") is None
    said = [await host.ref("desk/speaker").ask(Ask(text=text, crashes=n)) for n, text in enumerate("xy")]
    assert [getattr(request, "prompt", "") for request in world.asked] == ["x", "y"]
    return said


@on_virtual_time
async def test_a_completion_that_a_turn_has_read_is_made_once_and_read_again_as_one_piece() -> None:
    assert await said_twice(Speaker) == ["one |two = one two", "one two = one two"]


@on_virtual_time
async def test_what_a_loop_has_handed_on_is_written_once_and_handed_on_again_as_one_piece() -> None:
    assert await said_twice(Looper) == ["one |two = one two", "one two = one two"]
