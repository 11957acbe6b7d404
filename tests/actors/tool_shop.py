"""An app of one agent that does with its tools what a test wants, on virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from regrow import Agent, App, Context, Request, on
from regrow.actors.tool import Tool

Use = Callable[[Context], Awaitable[object]]


class Do(Request[str]):
    """Has the agent do what the test has set."""


def shop(tools: Sequence[Tool[Any]], use: Use) -> App:
    """An app whose agent has these tools and uses them so; its reply is what comes of it, as text."""
    listed = tools

    class Shop(Agent):
        tools = listed

        @on
        async def do(self, request: Do, ctx: Context) -> str:
            return str(await use(ctx))

    return App("desk", Shop)


async def used(tools: Sequence[Tool[Any]], use: Use, *, timeout_s: float = 600.0) -> str:
    """What comes of it. Raises what the agent raises to its asker."""
    app = shop(tools, use)
    async with app.start(engine="inline") as running:
        reply: str = await running.ref("desk/shop").ask(Do(), timeout_s=timeout_s)
        return reply
