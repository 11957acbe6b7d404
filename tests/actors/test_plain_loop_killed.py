"""A plain agent killed at each moment of a loop: its asker is told, nothing of it runs on, and it serves again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from regrow import Agent, App, AskFailed, Context, Supervisor, child, on
from regrow.actors.handed_back import HandedBack
from regrow.actors.handoff import Handoff
from regrow.actors.tool import tool
from regrow.router.provider import ProviderReply
from regrow.runtime.testing import pass_time, virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import Do, call

RUNNING: set[str] = set()
TENTHS = 48
"""Of a second, within which the loop below is done."""


@tool
async def slow(name: str) -> str:
    """Takes a second."""
    RUNNING.add(name)
    try:
        await pass_time(1.0)
    finally:
        RUNNING.discard(name)
    return name


class Taker(Agent):
    """Takes conversations."""

    tools = [slow]

    @on
    async def take(self, handoff: Handoff, ctx: Context) -> HandedBack:
        return (await ctx.models.run(handoff)).handed_back()


class Giver(Agent):
    tools = [slow]

    @on
    async def do(self, request: Do, ctx: Context) -> str:
        return (await ctx.models.run("Go", handoff=["taker"])).text


class Model(ScriptedModel):
    """Takes half a second for each call."""

    async def complete(self, request: Any, card: Any) -> ProviderReply:
        await pass_time(0.5)
        return await super().complete(request, card)


def said(request: Any) -> ProviderReply:
    """What comes next, by who asks and how far the conversation is."""
    is_taker = request.agent == "desk/taker"
    if is_taker:
        is_done = any(getattr(each, "content", "") == "c" for each in request.messages)
        return (
            ProviderReply(text="done")
            if is_done
            else ProviderReply(text="", tool_calls=(call("slow", '{"name": "c"}', "4"),))
        )
    if not request.messages:
        calls = tuple(call("slow", f'{{"name": "{name}"}}', name) for name in "ab")
        return ProviderReply(text="", tool_calls=calls)
    return ProviderReply(text="", tool_calls=(call("hand_off_to_taker", id="3"),))


@pytest.mark.slow
def test_killed_at_each_moment_it_is_back_and_nothing_of_its_loop_runs_on() -> None:
    ended: set[str] = set()

    @virtual
    async def run(tenths: int) -> None:
        RUNNING.clear()
        children = [child(Giver, id="giver"), child(Taker, id="taker")]
        async with TestApp(App("desk", Supervisor(children=children)), models=Model([said], repeat_last=True)) as t:
            asking = asyncio.create_task(t.ask("giver", Do(), timeout_s=50))
            await t.advance(tenths / 10)
            await t.kill("giver")
            try:
                ended.add(await asking)
            except AskFailed as error:
                ended.add(type(error.reason).__name__)
            await t.advance(0)
            assert not RUNNING - {"c"}, "the tools of the killed loop were cancelled"

            assert await t.ask("giver", Do(), timeout_s=50) == "done"
            await t.advance(10)
            assert not RUNNING
            assert (t.restarts("giver"), t.restarts("taker")) == (1, 0)

    for tenths in range(1, TENTHS, 6):
        run(tenths)
    assert ended == {"Killed", "done"}
