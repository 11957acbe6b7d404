"""The durable agents that are harmed, and what they do outside. Hosts import this module, so it holds nothing more.

A clerk writes what it is told: a step appends a line to the file of effects, and its state counts. Some of it it tells
the archive, which does the same, and is a clerk of its own for what clients tell it. All that is handled counts, or a
message that is handled twice would not be seen: its effect honours the key and is there once.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from chaos_effects import effect
from pydantic import BaseModel

from regrow import App, DurableAgent, DurableContext, Message, Packed, Request, Supervisor, child, on

FOLDER = "CHAOS_FOLDER"
"""The environment variable that names the folder of the run; hosts have it from the Ray that the run has started."""
CLOCK = "clock"
"""The file there that says how far ahead the clocks of new hosts are."""

ARCHIVE = "chaos/archive"
CLERKS = ("chaos/desk/alone", "chaos/desk/apart", "chaos/desk/one", "chaos/desk/other")
"""Two have a process of their own each, two share one."""
AGENTS = (*CLERKS, ARCHIVE)
SUPERVISOR = "chaos/desk"

WRITE, FILE = "write", "file"
"""The effects."""

WHILE_LIVES = 1_000_000
"""Restarts that a supervisor accepts here: they are ordered."""


class Poisoned(Exception):
    """What a clerk raises on planted poison."""


class Count(BaseModel):
    """What an agent has committed."""

    position: int = 0


class Written(Message):
    """The place that a command took, and in which life of its agent."""

    position: int
    epoch: int


class Write(Request[Written]):
    """Write this down: once, and have it filed if that is wanted.

    `command`, `source` and `number` are what its client calls it.
    """

    command: str
    source: str
    number: int
    is_filed: bool = False
    poison: bool = False
    clock_ahead_s: float | None = None


class Writing(Message):
    """The same without a reply."""

    command: str
    source: str
    number: int
    is_filed: bool = False


class Filed(Message):
    """A clerk has written something."""

    command: str
    source: str
    number: int


class Total(Request[int]):
    """How many commands an agent has committed."""


class Clerk(DurableAgent[Count]):
    """Writes, counts, and has it filed."""

    @on
    async def write(self, request: Write, ctx: DurableContext) -> Written:
        """One command: an effect, a count, and a message."""
        if request.clock_ahead_s is not None:
            shift_clock(request.clock_ahead_s)
        if request.poison:
            raise Poisoned(f"{request.command} is poison")
        epoch = await self._write(request, ctx)
        return Written(position=self.state.position, epoch=epoch)

    @on
    async def writing(self, message: Writing, ctx: DurableContext) -> None:
        """The same."""
        await self._write(message, ctx)

    @on
    async def filed(self, message: Filed, ctx: DurableContext) -> None:
        """Another has written: an effect and a count."""
        await ctx.step(FILE, effect, FILE, ctx.id, message.command, message.source, message.number, idempotent=True)
        self.state.position += 1

    @on
    async def total(self, request: Total) -> int:
        """Its count."""
        return self.state.position

    async def _write(self, message: Write | Writing, ctx: DurableContext) -> int:
        await ctx.step(WRITE, effect, WRITE, ctx.id, message.command, message.source, message.number, idempotent=True)
        self.state.position += 1
        if message.is_filed:
            await ctx.tell(ARCHIVE, Filed(command=message.command, source=ctx.id, number=self.state.position))
        assert ctx.turn is not None
        return ctx.turn.epoch


def shift_clock(ahead_s: float) -> None:
    """Sets this process's wall clock ahead, or behind where it is below 0, for all that is written in Python.

    Durations are told by the monotonic clock, which no jump of a real clock moves either.
    """
    time.time = lambda: _time() + ahead_s
    time.time_ns = lambda: _time_ns() + int(ahead_s * 1e9)


_time, _time_ns = time.time, time.time_ns
_folder = os.environ.get(FOLDER)
if _folder is not None and (_clock := Path(_folder) / CLOCK).exists():
    shift_clock(float(_clock.read_text()))  # a host that starts after a jump starts with it

app = App(
    "chaos",
    Supervisor(
        max_restarts=WHILE_LIVES,
        within_s=1.0,
        children=[
            child(Clerk, id="archive"),
            child(
                Supervisor(
                    max_restarts=WHILE_LIVES,
                    within_s=1.0,
                    children=[
                        child(Clerk, id="alone"),
                        child(Clerk, id="apart"),
                        child(Clerk, id="one", placement=Packed("pool")),
                        child(Clerk, id="other", placement=Packed("pool")),
                    ],
                ),
                id="desk",
            ),
        ],
    ),
)
