"""The agent that keeps the session with one MCP server: an ordinary child, which a supervisor starts again.

It takes calls that the gate has let pass, and no others. When its server ends it ends with the reason, so that the
supervisor counts it; the calls that were under way are answered before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from regrow.actors.agent import Agent, on
from regrow.actors.context import Context
from regrow.actors.mcp_call import CallTool, ToolAnswer
from regrow.actors.mcp_errors import ServerEnded
from regrow.actors.mcp_link import Link
from regrow.runtime.capability import of_one_call
from regrow.runtime.errors import NotAllowed
from regrow.runtime.lifecycle import ExitReason
from regrow.runtime.message import Message

if TYPE_CHECKING:
    from regrow.actors.mcp_server import McpServer


class LinkOver(Message):
    """From the session to itself: its server has ended."""


class McpSession(Agent):
    """Keeps the session with `server`; `mcp` makes a class of it for each server."""

    server: ClassVar[McpServer]
    _link: Link | None = None

    async def started(self, ctx: Context) -> None:
        self.server.check_usable()
        link = self._link = Link(self.server, lambda: ctx.after(0.0, LinkOver()))
        await link.open()
        link.compare()

    async def ended(self, reason: ExitReason) -> None:
        """Takes the server down at every end, also a kill and a start that failed."""
        if self._link is not None:
            await self._link.aclose()

    @on(concurrent=True)
    async def call(self, request: CallTool, ctx: Context) -> ToolAnswer:
        """Has the server run a tool. Raises NotAllowed for a request that did not come through the gate."""
        is_other = self.server.names.get(request.name, request.tool) != request.tool
        if is_other or ctx.origin().capability != of_one_call(ctx.id, request.tool):
            raise NotAllowed(
                f"{ctx.id} runs a tool for calls that the gate has let pass alone; write ctx.tools.call in an agent "
                "that lists it"
            )
        assert self._link is not None
        return await self._link.call(request, ctx.deadline)

    @on
    async def link_over(self, message: LinkOver) -> None:
        """Ends this life where the server has ended. Raises ServerEnded."""
        if self._link is not None and self._link.why is not None:
            raise ServerEnded(await self._link.told_end())
