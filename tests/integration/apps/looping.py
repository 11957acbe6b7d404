"""Agents whose loops are killed: their tools write down in a file what they do."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Request, Step, Supervisor, child, on, tool
from tests.integration.waiting import until

HELD_S = 60.0
"""How long a tool waits for the test at most."""


def _write(folder: str, line: str) -> None:
    with (Path(folder) / "done").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@tool
async def post(folder: str, text: str) -> str:
    """Posts a letter, each time that it is run."""
    _write(folder, f"post {text}")
    return "posted"


@tool(idempotent=True)
async def file(folder: str, text: str, step: Step) -> str:
    """Files a text under its key, when the test lets it."""
    _write(folder, f"begin {text}")
    await until((Path(folder) / "go").exists, "the word of the test", within_s=HELD_S)
    _write(folder, f"file {text} {step.key}")
    return "filed"


class Serve(Request[str]):
    """Has an agent run its loop."""


class Book(BaseModel):
    served: int = 0


class Durable(DurableAgent[Book]):
    tools = [post, file]

    @on
    async def serve(self, request: Serve, ctx: DurableContext) -> str:
        answer = await ctx.models.run("Serve")
        self.state.served += 1
        return f"{answer.text} {self.state.served}"


class Plain(Agent):
    tools = [post, file]

    @on
    async def serve(self, request: Serve, ctx: Context) -> str:
        return (await ctx.models.run("Serve")).text


app = App("looping", Supervisor(children=[child(Durable, id="durable"), child(Plain, id="plain")]))
