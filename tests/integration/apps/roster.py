"""An app whose agents take names, join groups, watch each other and keep what they hear."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

from regrow import Agent, App, Context, Request, Supervisor, child, on
from regrow.runtime import ContactLost, Down, NameTaken, Reachable, Unreachable


class Pid(Request[int]):
    pass


class Take(Request[str]):
    """Take a name; the reply is who has it."""

    name: str


class Enter(Request[int]):
    """Join a group so often; the reply is how many memberships it has then."""

    group: str
    times: int


class Watch(Request[int]):
    """Monitor somebody, and take the name at each Down if one is given."""

    of: str
    then_take: str = ""


class Heard(Request[tuple[str, ...]]):
    """What was heard of those that are watched, by class, and who has the name then."""


class Hold(Request[int]):
    """Touches the file and then never replies."""

    begun: str


class AskToHold(Request[str]):
    """Asks another to hold; the reply is what came of it."""

    of: str
    begun: str


class Block(Request[float]):
    """Gives nobody else a turn for so long."""

    seconds: float


class Clerk(Agent):
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.then_take = ""

    @on
    async def pid(self, request: Pid) -> int:
        return os.getpid()

    @on
    async def take(self, request: Take, ctx: Context) -> str:
        return await self._took(request.name, ctx)

    async def _took(self, name: str, ctx: Context) -> str:
        try:
            await ctx.register(name)
        except NameTaken as taken:
            return taken.winner.id if taken.winner is not None else "nobody"
        return ctx.id

    @on
    async def enter(self, request: Enter, ctx: Context) -> int:
        for _ in range(request.times):
            await ctx.join(request.group)
        return len(await ctx.members(request.group))

    @on
    async def watch(self, request: Watch, ctx: Context) -> int:
        self.then_take = request.then_take
        number = ctx.monitor(request.of)
        await ctx.ask(request.of, Pid())  # behind the monitor, so that it stands when this returns
        return number

    @on
    async def down(self, message: Down, ctx: Context) -> None:
        said = "Down"
        if self.then_take:
            left = len(await ctx.members("clerks"))
            said += f", name to {await self._took(self.then_take, ctx)}, {left} in the group"
        self.heard.append(said)

    @on
    async def unreachable(self, message: Unreachable) -> None:
        self.heard.append("Unreachable")

    @on
    async def reachable(self, message: Reachable) -> None:
        self.heard.append("Reachable")

    @on(concurrent=True)
    async def heard_so_far(self, request: Heard) -> tuple[str, ...]:
        return tuple(self.heard)

    @on
    async def hold(self, request: Hold) -> int:
        Path(request.begun).touch()
        await asyncio.Event().wait()
        return 0

    @on
    async def ask_to_hold(self, request: AskToHold, ctx: Context) -> str:
        try:
            await ctx.ask(request.of, Hold(begun=request.begun), timeout_s=120)
        except ContactLost as lost:
            return str(lost)
        return "it answered"

    @on
    async def block(self, request: Block) -> float:
        until_s = time.monotonic() + request.seconds
        while time.monotonic() < until_s:
            threading.Event().wait(0.05)
        return request.seconds


app = App(
    "roster",
    Supervisor(
        max_restarts=100,
        within_s=1.0,
        children=[child(Clerk, id=name, shutdown_s=1.0) for name in ("first", "second", "third")],
    ),
)
