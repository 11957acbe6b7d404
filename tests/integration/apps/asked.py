"""Agents that are tools of others, each in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Request, Supervisor, agent, child, on, tool
from tests.integration.waiting import until


class Lines(BaseModel):
    count: int = 0


class Write(Request[int]):
    """Writes a line into a file, once there is a file `go` beside it, and gives how many it has written."""

    line: str
    file: str


class Clerk(DurableAgent[Lines]):
    @on
    async def write(self, request: Write, ctx: DurableContext) -> int:
        file = Path(request.file)
        file.with_name("begun").touch()
        await until(file.with_name("go").exists, "the word to go on")
        await ctx.step("write", _append, request.file, request.line)
        self.state = Lines(count=self.state.count + 1)
        return self.state.count


def _append(file: str, line: str) -> None:
    with Path(file).open("a", encoding="utf-8") as opened:
        opened.write(line + "\n")


@tool
async def secret() -> str:
    """Tells a secret."""
    return "42"


class Facts(Request[tuple[int, str, str]]):
    """Says in which process this is asked, on whose behalf, and which tools it may run."""

    about: str


class Analyst(Agent):
    tools = [secret]

    @on
    async def facts(self, facts: Facts, ctx: Context) -> tuple[int, str, str]:
        names = " ".join(each.name for each in ctx.tools.allowed())
        return os.getpid(), ctx.sender.id if ctx.sender is not None else "", names


class Do(Request[str]):
    """Has two lines written."""

    file: str


class Chief(DurableAgent[Lines]):
    tools = [Clerk.as_tool()]

    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        done = [await ctx.tools.call("clerk", {"line": line, "file": request.file}) for line in "ab"]
        return f"{done} {os.getpid()}"


@agent(tools=[Analyst.as_tool(), Analyst.as_tool(name="limited", only=[])])
async def plain(ctx: Context, name: str) -> tuple[int, int, str, str]:
    """Gives its own process and what the analyst says."""
    pid, sender, names = await ctx.tools.call(name, {"about": "you"})
    return os.getpid(), pid, sender, names


class Skilled(Agent):
    """Has one skill beside this file, and one in the folder that the settings name."""

    skills = ["counting@1.0", "shouting@2.1"]

    @on
    async def facts(self, facts: Facts, ctx: Context) -> tuple[int, str, str]:
        shouted = str(await ctx.tools.call("shout", {"text": facts.about}))
        return int(await ctx.tools.call("where")), shouted, " ".join(each.name for each in ctx.tools.allowed())


app = App(
    "asked",
    Supervisor(
        max_restarts=20,
        within_s=60,
        children=[
            child(Clerk, id="clerk"),
            child(Analyst, id="analyst"),
            child(Chief, id="chief"),
            child(plain, id="plain"),
            child(Skilled, id="skilled"),
        ],
    ),
)
