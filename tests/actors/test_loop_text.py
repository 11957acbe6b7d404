"""The answer of an agent loop while it is written: in order, once, and with the ends that the loop has without it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import Agent, App, Context, Refused, Supervisor, child, on
from regrow.actors.handed_back import HandedBack
from regrow.actors.handoff import Handoff
from regrow.actors.loop_errors import ModelFailed
from regrow.actors.tool import tool
from regrow.router.conversation import Role, Said
from regrow.router.errors import RateLimited
from regrow.runtime.errors import Misuse
from regrow.runtime.message import StreamRequest
from regrow.runtime.testing import virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import call, looped, saying


class Explain(StreamRequest[str, str]):
    """Its parts are what the model writes, its reply is the answer."""


class Order(BaseModel):
    number: int


@tool
async def find(order: str) -> int:
    """Finds an order."""
    return len(order)


class Writer(Agent):
    tools = [find]

    @on
    async def explain(self, request: Explain, ctx: Context) -> str:
        return (await ctx.models.run("explain", on_text=ctx.emit)).text


WRITER = App("desk", Supervisor(children=[child(Writer, id="writer")]))


class Pieces(list[str]):
    """What was handed on."""

    async def take(self, text: str) -> None:
        self.append(text)


async def parts_of(t: TestApp) -> tuple[list[str], str]:
    async with t.stream("writer", Explain()) as stream:
        parts = [part async for part in stream]
    return parts, stream.reply


@virtual
async def test_a_reader_gets_what_the_model_writes_and_then_the_answer() -> None:
    model = ScriptedModel([call("find", '{"order": "abc"}'), "it is here"])
    async with TestApp(WRITER, models=model) as t:
        parts, reply = await parts_of(t)

    assert parts == ["it ", "is ", "here"]
    assert reply == "it is here"
    assert model.requests[1].messages[-1].content == "3"  # type: ignore[union-attr]


@virtual
async def test_whoever_takes_the_text_is_waited_for() -> None:
    taken, open_ = Pieces(), asyncio.Event()

    async def slow(text: str) -> None:
        await taken.take(text)
        await open_.wait()

    async def use(ctx: Context) -> Any:
        running = asyncio.create_task(ctx.models.run("explain", on_text=slow))
        await asyncio.wait((running,), timeout=30.0)
        held = list(taken)
        open_.set()
        answer = await running
        assert held == ["one "]
        return answer

    await looped(use, ["one two three"])

    assert taken == ["one ", "two ", "three"]


@virtual
async def test_what_is_mended_is_handed_on_as_well() -> None:
    taken = Pieces()

    stand = await looped(
        lambda ctx: ctx.models.run("which?", output=Order, on_text=taken.take), ["none", '{"number": 7}']
    )

    assert stand.answer.output == Order(number=7)
    assert "".join(taken) == 'none{"number": 7}'


@virtual
async def test_usage_and_cost_are_those_of_whole_answers() -> None:
    script = [call("find", '{"order": "abc"}'), saying("it is here", 30, 4)]

    whole = await looped(lambda ctx: ctx.models.run("explain"), script, tools=[find])
    in_pieces = await looped(lambda ctx: ctx.models.run("explain", on_text=Pieces().take), script, tools=[find])

    assert in_pieces.answer == whole.answer


@virtual
async def test_a_model_that_fails_ends_the_loop_by_name_behind_what_it_had_written() -> None:
    taken = Pieces()
    script = [call("find", '{"order": "abc"}'), RateLimited("too many", provider="p", model="m", retry_after_s=3.0)]

    stand = await looped(lambda ctx: ctx.models.run("explain", on_text=taken.take), script, tools=[find], fails=True)

    assert isinstance(stand.error, ModelFailed)
    assert (stand.error.failure, stand.error.retry_after_s, len(stand.error.calls)) == ("RateLimited", 3.0, 1)
    assert taken == []


@virtual
async def test_what_whoever_takes_it_raises_is_no_failure_of_the_model() -> None:
    async def refuse(text: str) -> None:
        raise Refused("enough")

    stand = await looped(lambda ctx: ctx.models.run("explain", on_text=refuse), ["it is here"], fails=True)

    assert type(stand.error) is Refused


@pytest.mark.parametrize("wrong", ["print", lambda text: None], ids=["no function", "no async one"])
@virtual
async def test_what_can_take_no_text_is_misuse(wrong: Any) -> None:
    stand = await looped(lambda ctx: ctx.models.run("explain", on_text=wrong), ["it is here"], fails=True)

    assert isinstance(stand.error, Misuse)
    assert "give an async function" in str(stand.error)


@virtual
async def test_whoever_takes_the_conversation_over_is_handed_on_in_one_piece() -> None:
    taken = Pieces()
    script = ["let us see", call("hand_off_to_expert"), "the expert speaks"]

    class Expert(Agent):
        @on
        async def take(self, handoff: Handoff, ctx: Context) -> HandedBack:
            return (await ctx.models.run(handoff)).handed_back()

    async def use(ctx: Context) -> Any:
        begun = await ctx.models.run("explain", on_text=taken.take)
        return await ctx.models.run(
            [*begun.messages, Said(role=Role.USER, text="more")], handoff=["desk/expert"], on_text=taken.take
        )

    stand = await looped(use, script, others=[Expert])

    assert stand.answer.answered_by == "desk/expert"
    assert taken == ["let ", "us ", "see", "the expert speaks"]
