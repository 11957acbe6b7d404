"""An app whose agents stand in processes of their own, to see one trace go through all of them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Request, Supervisor, Work, child, on, tool
from tests.integration.waiting import until


class Question(Request[str]):
    """Begins a line in `begun` for each run of the clerk, which waits until there is a file `go`."""

    text: str
    begun: str
    go: str


class Record(Request[int]):
    text: str
    begun: str
    go: str


class Records(BaseModel):
    texts: list[str] = []


@tool
async def book(room: str) -> str:
    """Books a room."""
    return f"{room} is booked"


class Analyst(Agent):
    tools = [book]

    @on
    async def answer(self, question: Question, ctx: Context) -> str:
        await ctx.memory.remember("The blue room is free.", source="plan")
        hits = await ctx.memory.recall(question.text, k=2)
        reply = await ctx.models.complete(Work.EXTRACT, question.text, context=hits)
        await ctx.tools.call("book", {"room": "blue"})
        record = Record(text=reply.text, begun=question.begun, go=question.go)
        await ctx.ask("traced/clerk", record, timeout_s=60)
        return reply.text


class Clerk(DurableAgent[Records]):
    @on
    async def record(self, request: Record, ctx: DurableContext) -> int:
        with Path(request.begun).open("a") as begun:
            begun.write("begun\n")
        await until(Path(request.go).exists, "the clerk may go on", within_s=60)
        await ctx.step("notify", str)
        self.state.texts.append(request.text)
        return len(self.state.texts)


app = App("traced", Supervisor(children=[child(Clerk), child(Analyst)]))
