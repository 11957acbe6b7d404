"""An agent that has handlers for almost nothing."""

from __future__ import annotations

from regrow import Agent, Context, on
from tests.conformance.placements.player import Here, Life, Watch


class Plain(Agent):
    """Watches others, and has no handler for what it is told of them."""

    @on
    async def watch(self, message: Watch, ctx: Context) -> int:
        number = ctx.monitor(message.of)
        await ctx.ask(message.of, Here())  # it is answered behind the monitor
        return number

    @on
    async def life(self, message: Life, ctx: Context) -> int:
        return ctx.incarnation
