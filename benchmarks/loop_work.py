"""The agents whose loops the benchmarks run, and the model that they call. Hosts import this."""

from __future__ import annotations

import asyncio
from time import perf_counter

from regrow import Agent, App, Context, DynamicSupervisor, Message, Packed, Request, Supervisor, child, on, tool
from regrow.router.catalog import ModelCard
from regrow.router.conversation import ToolCall
from regrow.router.provider import ProviderReply
from regrow.router.request import FinishReason, ModelRequest, Usage
from regrow.testing import ScriptedModel

WAITERS = 1_000
WAIT_S = 2.0
"""How long the model takes for each answer."""
ANSWER = "done"
CROWD = "crowd"
_USAGE = Usage(input_tokens=100, output_tokens=10)


@tool
async def add(one: int, other: int) -> int:
    """Adds two numbers.

    Args:
        one: the first
        other: the second
    """
    return one + other


class Looped(Message):
    """What a loop took, and how many calls it made."""

    seconds: float
    calls: int


class Loop(Request[Looped]):
    """Has the agent run one loop of so many calls of a tool, one for each turn of the model."""

    calls: int


class Looper(Agent):
    """Runs loops, as agents do all day."""

    tools = [add]

    @on
    async def loop(self, request: Loop, ctx: Context) -> Looped:
        """One loop."""
        begun_s = perf_counter()
        answer = await ctx.models.run("Add up the numbers", max_turns=request.calls + 1)
        took_s = perf_counter() - begun_s
        if answer.text != ANSWER or [each.told for each in answer.calls] != [
            str(2 + number) for number in range(request.calls)
        ]:
            raise AssertionError(f"the loop gave {answer.text!r} after {len(answer.calls)} calls")
        return Looped(seconds=took_s, calls=len(answer.calls))


def scripted(calls: int) -> list[ProviderReply]:
    """What the model says in such a loop."""
    asks = [
        ProviderReply(
            text="",
            tool_calls=(ToolCall(id=str(number), name="add", arguments=f'{{"one": 2, "other": {number}}}'),),
            finish=FinishReason.TOOL_CALLS,
            usage=_USAGE,
        )
        for number in range(calls)
    ]
    return [*asks, ProviderReply(text=ANSWER, usage=_USAGE)]


loop_app = App("loops", Supervisor(children=[child(Looper, id="looper")]))


# ---- agents that wait on a model ------------------------------------------------------------------


class Think(Request[str]):
    """Has the agent ask its model something."""


class Waiter(Agent):
    """Asks its model, and waits."""

    tools = [add]

    @on
    async def think(self, request: Think, ctx: Context) -> str:
        """One loop of one turn."""
        return (await ctx.models.run("Think")).text


waiters = DynamicSupervisor(child(Waiter, placement=Packed("waiters")), max_children=WAITERS)
waiting_app = App("waiting", Supervisor(children=[child(waiters, id=CROWD)]))


class SlowModel(ScriptedModel):
    """A model that takes its time for each answer, however many it is asked for at once."""

    def __init__(self, wait_s: float) -> None:
        super().__init__([])
        self._wait_s = wait_s

    async def complete(self, request: ModelRequest, card: ModelCard) -> ProviderReply:
        """The same answer each time."""
        await asyncio.sleep(self._wait_s)
        return ProviderReply(text=ANSWER, usage=_USAGE)
