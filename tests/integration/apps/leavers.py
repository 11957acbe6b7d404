"""Agents that leave the program, in the ways in which Python lets them."""

from __future__ import annotations

import asyncio
import sys

from regrow import Agent, App, Packed, Request, Supervisor, child, on


class Leave(Request[str]):
    """Calls sys.exit in the handler."""


class LeaveLater(Request[str]):
    """Calls sys.exit in a task of the agent's own, which asyncio lets through to end the loop."""


class Hello(Request[str]):
    """Expects a greeting."""


class Leaver(Agent):
    """Does so when asked."""

    @on
    async def leave(self, request: Leave) -> str:
        sys.exit(4)

    @on
    async def leave_later(self, request: LeaveLater) -> str:
        async def leave() -> None:
            sys.exit(5)

        self.task = asyncio.create_task(leave())
        await asyncio.Event().wait()
        return ""

    @on
    async def hello(self, request: Hello) -> str:
        return "hello"


app = App(
    "leavers",
    Supervisor(
        max_restarts=10,
        children=[child(Leaver, id=name, placement=Packed("one", hosts=1)) for name in ("one", "other")],
    ),
)
