"""Durable agents that are reached by key, two processes for all of them, whose processes are killed."""

from __future__ import annotations

import os
import signal

from pydantic import BaseModel

from regrow import App, Context, DurableAgent, DurableContext, Message, Packed, Request, Supervisor, keyed, on

IDLE_S = 2.0
BROKEN = "broken"
"""The key of one that never starts."""


class Sums(BaseModel):
    total: int = 0
    seen: list[int] = []
    starts: int = 0


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


class Remind(Request[int]):
    """Sends itself an entry later."""

    number: int
    after_s: float


class Pass(Request[int]):
    """Has an entry sent to another key."""

    key: str
    number: int


class Die(Request[int]):
    """Kills the process that handles it."""


class Account(DurableAgent[Sums]):
    async def started(self, ctx: Context) -> None:
        if ctx.id.endswith(f"/{BROKEN}"):
            raise ValueError("no paper")

    @on
    async def add(self, request: Add) -> int:
        self.state.total += request.number
        return self.state.total

    @on
    async def enter(self, entry: Entry) -> None:
        self.state.seen.append(entry.number)

    @on
    async def seen(self, request: Seen) -> tuple[int, ...]:
        return tuple(self.state.seen)

    @on
    async def where(self, request: Where) -> int:
        return os.getpid()

    @on
    async def remind(self, request: Remind, ctx: DurableContext) -> int:
        ctx.remind("entry", Entry(number=request.number), after_s=request.after_s)
        return request.number

    @on
    async def hand_on(self, request: Pass, ctx: DurableContext) -> int:
        await ctx.tell(ctx.ref(Account, key=request.key), Entry(number=request.number))
        return request.number

    @on
    async def die(self, request: Die) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0


app = App(
    "keys",
    Supervisor(
        max_restarts=100,
        within_s=1.0,
        children=[
            keyed(Account, id="account", idle_s=IDLE_S, placement=Packed("accounts", hosts=2), max_restarts=100),
        ],
    ),
)
