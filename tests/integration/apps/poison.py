"""Durable agents with messages that kill their process, and neighbours whose own messages must not pay for that."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from regrow import App, DurableAgent, DurableContext, Message, Packed, Request, Supervisor, child, keyed, on
from regrow.runtime.placement import Dedicated
from tests.integration.waiting import until


class Seen(BaseModel):
    numbers: list[int] = []


class Entry(Message):
    number: int


class Deadly(Message):
    """Leaves a line in `file`, and ends the process of who handles it."""

    file: str


class Failing(Message):
    """Its agent crashes on it."""


class Slow(Request[int]):
    """Leaves a line in `begun`, and waits for `go`; the step before may be repeated."""

    begun: str
    go: str


class Numbers(Request[tuple[int, ...]]):
    pass


class Where(Request[int]):
    """The process it runs in."""


class Book(DurableAgent[Seen]):
    @on
    async def entry(self, message: Entry) -> None:
        self.state.numbers.append(message.number)

    @on
    async def deadly(self, message: Deadly) -> None:
        _note(message.file)
        os._exit(7)

    @on
    async def failing(self, message: Failing) -> None:
        raise ValueError("poison")

    @on
    async def slow(self, request: Slow, ctx: DurableContext) -> int:
        _note(request.begun)
        await until(Path(request.go).exists, f"there is {request.go}", within_s=120)
        self.state.numbers.append(-1)
        return os.getpid()

    @on
    async def numbers(self, request: Numbers) -> tuple[int, ...]:
        return tuple(self.state.numbers)

    @on
    async def where(self, request: Where) -> int:
        return os.getpid()


class Kept(Book):
    """The same, reached by key."""


def _note(file: str) -> None:
    with Path(file).open("a", encoding="utf-8") as opened:
        opened.write("begun\n")


app = App(
    "poison",
    Supervisor(
        within_s=3600.0,  # none of the restarts would be forgotten by itself
        children=[
            child(Book, id="alone", placement=Dedicated()),
            keyed(Kept, id="kept", within_s=3600.0),
            child(Supervisor(within_s=3600.0, children=[child(Book, id="victim", placement=Packed("books"))]), id="a"),
            child(
                Supervisor(
                    max_restarts=100,
                    children=[
                        child(Book, id="idle", placement=Packed("books")),
                        child(Book, id="busy", placement=Packed("books")),
                    ],
                ),
                id="b",
            ),
        ],
    ),
)
