"""Two apps of the same agent."""

from __future__ import annotations

from regrow import Agent, App, Context, Request, on


class Name(Request[str]):
    pass


class Side(Agent):
    """Says who it is."""

    @on
    async def name(self, request: Name, ctx: Context) -> str:
        return ctx.id


left = App("left", Side)
right = App("right", Side)
