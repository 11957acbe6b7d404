"""Agents that go on and on, and whose processes die meanwhile. Each look is a line in a file."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from pydantic import BaseModel

from regrow import Agent, App, AskFailed, Context, DurableAgent, DurableContext, Request, Supervisor, child, on, tool
from regrow.runtime.guards import Guards

TIMES = 20
MAX_CALLS = 6


class Look(Request[int]):
    """Has the looker look; it answers with its pid."""

    at: int
    file: str


class Wake(Request[bool]):
    """Has the looker answer, and look at nothing."""


class LookOn(Request[str]):
    """Has the boss have the looker look on and on, and kill its process behind each look."""

    file: str
    new: bool


class LookAlone(Request[str]):
    """Has the clerk look on and on; its process dies behind the third look, once."""

    file: str


@tool
async def look(at: int, file: str) -> str:
    """Looks at something."""
    with Path(file).open("a", encoding="utf-8") as looks:
        looks.write(f"{at} {os.getpid()}\n")
    return "nothing new"


class Looker(Agent):
    """Looks, wherever it lives."""

    tools = [look]

    @on
    async def look(self, request: Look, ctx: Context) -> int:
        """Looks once."""
        await ctx.tools.call(look, {"at": request.at, "file": request.file})
        return os.getpid()

    @on
    async def wake(self, request: Wake) -> bool:
        """Is there."""
        return True


class Boss(Agent):
    """Never has enough."""

    @on
    async def on_and_on(self, request: LookOn, ctx: Context) -> str:
        """Asks, kills, and asks again."""
        for number in range(TIMES):
            pid = await ctx.ask("looker", Look(at=number if request.new else 0, file=request.file))
            os.kill(pid, signal.SIGKILL)
            await gone(ctx)
        return "enough"


async def gone(ctx: Context) -> None:
    """Waits until the life that was killed is over: an ask of it fails, or is one of the new life already."""
    try:
        await ctx.ask("looker", Wake(), timeout_s=20)
    except AskFailed:
        return


class Loops(Agent):
    """Looks at the same on and on in one turn; its process dies behind the third look, once."""

    tools = [look]

    @on
    async def on_and_on(self, request: LookAlone, ctx: Context) -> str:
        """Looks as often as it may."""
        for number in range(TIMES):
            await ctx.tools.call(look, {"at": 0, "file": request.file})
            died = Path(f"{request.file}.died")
            if number == 2 and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return "enough"


class AsksAgain(Agent):
    """Asks the one that loops once more where it has died."""

    @on
    async def on_and_on(self, request: LookAlone, ctx: Context) -> str:
        """Gives what the second life gives."""
        try:
            return await ctx.ask("loops", request, timeout_s=60)
        except AskFailed:
            return await ctx.ask("loops", request, timeout_s=60)


class Till(BaseModel):
    looks: int = 0


class Clerk(DurableAgent[Till]):
    """Looks on and on in one turn."""

    tools = [look]

    @on
    async def on_and_on(self, request: LookAlone, ctx: DurableContext) -> str:
        """Each look is a step."""
        for number in range(TIMES):
            await ctx.tools.call(look, {"at": number, "file": request.file})
            died = Path(f"{request.file}.died")
            if number == 2 and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return "enough"


app = App(
    "guarded",
    Supervisor(
        max_restarts=100,
        children=[child(Boss, id="boss"), child(Looker, id="looker"), child(Clerk, id="clerk")],
    ),
    guards=Guards(max_calls=MAX_CALLS, repeats_warn=2, repeats_end=4),
)

plain = App("plain", Supervisor(max_restarts=100, children=[child(AsksAgain, id="asks"), child(Loops, id="loops")]))
"""Without a journal and without a cap: what needs a Redis here is the count of calls alone."""
