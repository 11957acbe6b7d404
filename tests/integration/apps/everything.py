"""An app in which one question goes through everything that a trace may hold, over two hosts.

A search, a model with a tool in a process of its own and one of an MCP server, an agent as a tool, an agent that was
spawned, one with a key, a stream, and steps of a durable agent of which one is retried and one fails.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import BaseModel

from regrow import (
    Agent,
    App,
    Context,
    DurableAgent,
    DurableContext,
    Message,
    Packed,
    Request,
    StreamRequest,
    Supervisor,
    child,
    keyed,
    mcp,
    on,
    tool,
)
from regrow.actors import Retries
from tests.integration.waiting import until, until_now

SERVER = Path(__file__).resolve().parents[2] / "actors/mcp_raw_server.py"
raw = mcp("raw", command=[sys.executable, "-I", str(SERVER), "well", "/dev/null"], timeout_s=60, start_timeout_s=60)
HERE, THERE = Packed("here"), Packed("there")


class Learn(Request[str]):
    text: str


class Question(Request[str]):
    """What is asked; the teller waits until there is a file `go`, where one is named."""

    text: str
    go: str = ""


class Count(Request[int]):
    text: str


class Tell(StreamRequest[str, int]):
    text: str
    go: str = ""


class Note(Request[int]):
    text: str


class Fall(Message):
    """Its agent crashes on it."""


class Block(Request[int]):
    """Holds up the loop of its host until there is a file `go`; there is a file `begun` as soon as it does."""

    begun: str
    go: str


class Broken(Request[int]):
    """Fails as long as there is no file `mended`."""

    mended: str


class Slow(Request[int]):
    """Begins a line in `begun` for each run, which waits until there is a file `go`."""

    begun: str
    go: str


class Pid(Request[int]):
    """The process it runs in."""


class Book(BaseModel):
    notes: int = 0


@tool(isolation="process", timeout_s=60)
def weigh(text: str) -> int:
    """Weighs a text in a process of its own.

    Args:
        text: what is weighed
    """
    return len(text)


@tool
async def temperature(city: str) -> str:
    """Tells how warm it is.

    Args:
        city: its name
    """
    return f"21 degrees in {city}"


class Counter(Agent):
    """Counts the letters of a text."""

    @on
    async def count(self, request: Count) -> int:
        return len(request.text)

    @on
    async def fall(self, message: Fall) -> None:
        raise ValueError("fallen")

    @on
    async def block(self, request: Block) -> int:
        Path(request.begun).touch()
        until_now(Path(request.go).exists, "the host may go on", within_s=60)
        return 1

    @on
    async def pid(self, request: Pid) -> int:
        return os.getpid()


class Teller(Agent):
    """Tells a text word by word."""

    @on
    async def tell(self, request: Tell, ctx: Context) -> int:
        words = request.text.split()
        for word in words:
            await ctx.emit(word)
            if request.go:
                await until(Path(request.go).exists, "the teller may go on", within_s=60)
        return len(words)


class Analyst(Agent):
    """Has everybody work at one question."""

    tools = [temperature, weigh, raw, Counter.as_tool(Count, name="counter")]

    @on
    async def learn(self, request: Learn, ctx: Context) -> str:
        return await ctx.memory.remember(request.text, source="the door")

    @on
    async def answer(self, question: Question, ctx: Context) -> str:
        hits = await ctx.memory.recall(question.text, k=1)
        answer = await ctx.models.run(question.text, context=hits, tools=[temperature])
        with ctx.span("look closer", day="Sunday"):
            await ctx.tools.call(weigh, {"text": answer.text})
            await ctx.tools.call("raw_echo", {"text": "grüß 東京"})
            await ctx.tools.call("counter", {"text": answer.text})
        own = await ctx.spawn(Counter, "own")
        letters: int = await ctx.ask(own, Count(text=answer.text))
        await own.stop()
        async with ctx.ref("teller").stream(Tell(text="one two three", go=question.go)) as stream:
            words = [word async for word in stream]
        await ctx.ask(ctx.ref(Account, key="東京"), Note(text=answer.text))
        return f"{answer.text} {letters} {len(words)}"


class Account(DurableAgent[Book]):
    """Writes down what was found, one for each city."""

    @on
    async def note(self, request: Note, ctx: DurableContext) -> int:
        failures = iter((ConnectionError("the bank does not answer"),))

        def write(text: str) -> str:
            for failure in failures:
                raise failure
            return text

        await ctx.step(
            "write", write, request.text, idempotent=True, retries=Retries(on=ConnectionError, first_wait_s=0.01)
        )
        self.state.notes += 1
        return self.state.notes

    @on
    async def broken(self, request: Broken) -> int:
        if not Path(request.mended).exists():
            raise ValueError("broken")
        return 1

    @on
    async def slow(self, request: Slow) -> int:
        with Path(request.begun).open("a") as begun:
            begun.write("begun\n")
        await until(Path(request.go).exists, "the account may go on", within_s=60)
        return 1

    @on
    async def pid(self, request: Pid) -> int:
        return os.getpid()


app = App(
    "everything",
    Supervisor(
        max_restarts=100,
        children=[
            child(raw),
            child(Counter, id="counter", placement=THERE),
            child(Teller, id="teller", placement=THERE),
            keyed(Account, id="account", placement=THERE, max_restarts=100),
            child(Analyst, id="analyst", placement=HERE),
        ],
    ),
)
