"""Durable agents whose processes are killed: what was accepted is done, and done once."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from regrow import Agent, App, DurableAgent, DurableContext, Message, Packed, Request, Supervisor, child, on
from tests.integration.waiting import until


class Sums(BaseModel):
    total: int = 0
    seen: list[int] = []


class Add(Request[int]):
    """Adds, and answers with the sum."""

    number: int


class Entry(Message):
    """Adds what must be added once."""

    number: int


class Seen(Request[tuple[int, ...]]):
    """All numbers of entries, in the order in which they were handled."""


class Where(Request[int]):
    """The process it runs in."""


class Total(Request[int]):
    """The sum that was committed last, at once."""


class AddSlowly(Request[int]):
    """Adds, but leaves a word in `begun` before and waits until there is a file `go`."""

    number: int
    begun: str
    go: str


class Mail(Request[int]):
    """Takes a step that writes a line, and then waits until there is a file `go`; the step may not be repeated."""

    text: str
    file: str
    go: str


class Pass(Message):
    """Has an entry sent to the other."""

    number: int


class Remind(Request[int]):
    """Has an entry come to itself in so many seconds."""

    number: int
    after_s: float


class Sum(Message):
    """What is to be added."""

    number: int = 1


class AddLater(Request[int]):
    """Adds what somebody says, whenever that is; leaves a line in `file` before."""

    file: str


class Book(DurableAgent[Sums]):
    """Adds up."""

    @on
    async def add(self, request: Add) -> int:
        self.state.total += request.number
        return self.state.total

    @on
    async def entry(self, message: Entry) -> None:
        self.state.seen.append(message.number)

    @on
    async def seen(self, request: Seen) -> tuple[int, ...]:
        return tuple(self.state.seen)

    @on
    async def where(self, request: Where) -> int:
        return os.getpid()

    @on(read_only=True)
    async def total(self, request: Total) -> int:
        return self.state.total

    @on
    async def add_slowly(self, request: AddSlowly) -> int:
        self.state.total += request.number
        _note(request.begun)
        await _appears(request.go)
        return self.state.total

    @on
    async def mail(self, request: Mail, ctx: DurableContext) -> int:
        await ctx.step("mail", _mail, request.text, request.file, request.go)
        self.state.total += 1
        return self.state.total

    @on
    async def relay(self, message: Pass, ctx: DurableContext) -> None:
        await ctx.tell("ledger/copy", Entry(number=message.number))

    @on
    async def remind(self, request: Remind, ctx: DurableContext) -> int:
        ctx.remind(f"entry {request.number}", Entry(number=request.number), after_s=request.after_s)
        return request.number

    @on
    async def add_later(self, request: AddLater, ctx: DurableContext) -> int:
        await ctx.step("note", _note, request.file)
        more = await ctx.wait_for(Sum)
        self.state.total += more.number
        return self.state.total


class Ping(Request[int]):
    """Answers with its number."""

    number: int


class Plain(Agent):
    """Not durable, so it needs no Redis."""

    @on
    async def ping(self, request: Ping) -> int:
        return request.number


async def _mail(text: str, file: str, go: str) -> None:
    _note(file, text)
    await _appears(go)


def _note(file: str, text: str = "begun") -> None:
    with Path(file).open("a", encoding="utf-8") as opened:
        opened.write(f"{text}\n")


async def _appears(file: str) -> None:
    await until(Path(file).exists, f"there is {file}", within_s=120)


app = App(
    "ledger",
    Supervisor(
        max_restarts=1_000,
        within_s=1.0,
        children=[
            child(Book, id="book"),
            child(Book, id="copy"),
            child(Book, id="packed", placement=Packed("books")),
            child(Plain, id="plain"),
        ],
    ),
)

again = App("again", Supervisor(children=[child(Book, id="book")]))
