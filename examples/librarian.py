"""A librarian that works with the tools of an MCP server, which dies and changes its tools meanwhile.

Run it as it stands: python examples/librarian.py. It needs `regrow[mcp]`, and neither Ray nor Redis. See
docs/guides/tools-from-mcp-servers.md.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import structlog

from regrow import Agent, App, Context, Request, Running, Supervisor, ToolError, child, mcp, on

SERVER = Path(__file__).with_name("notes_server.py")

notes = mcp("notes", command=[sys.executable, str(SERVER)], idempotent=["titles"], start_timeout_s=60)


class Run(Request[str]):
    """Asks for a tool by its name, with arguments as a model writes them."""

    tool: str
    arguments: str = "{}"


class Librarian(Agent):
    """Runs what it is asked for, as far as its list goes."""

    tools = [notes]

    @on
    async def run(self, request: Run, ctx: Context) -> str:
        try:
            return str(await ctx.tools.call(request.tool, request.arguments))
        except ToolError as error:
            return f"{type(error).__name__}: {error}"


class Visitor(Agent):
    """May look at the titles, and at nothing else."""

    tools = [notes.only("titles")]

    @on
    async def run(self, request: Run, ctx: Context) -> str:
        try:
            return str(await ctx.tools.call(request.tool, request.arguments))
        except ToolError as error:
            return f"{type(error).__name__}: {error}"


app = App("library", Supervisor(children=[child(notes), child(Librarian), child(Visitor)]))


async def show(what: str, running: Running, who: type[Agent], tool: str, arguments: str = "{}") -> None:
    answer = await running.ref(who).ask(Run(tool=tool, arguments=arguments), timeout_s=60)
    print(f"\n{what}\n  {shortened(answer)}")


def shortened(answer: str) -> str:
    """Without the command of the server, which differs from machine to machine."""
    before, command, after = answer.partition(f"({sys.executable} {SERVER})")
    return f"{before}(…){after}" if command else answer


async def main() -> None:
    async with app.start(engine="inline") as running:
        written = '{"title": "Shopping", "text": "milk"}'
        await show("A tool of the server.", running, Librarian, "notes_write", written)
        await show("Arguments that it does not take.", running, Librarian, "notes_write", '{"title": 1}')
        await show("A tool that is not in the visitor's list.", running, Visitor, "notes_write", written)
        await show("The server dies.", running, Librarian, "notes_burn")
        await show("It was started again, and has forgotten.", running, Visitor, "notes_titles")
        session = (await running.tree())[0].children[0]
        print(f"\nIts session in the tree.\n  {session.id}: {session.restarts} restart")
        await show("The server says that it has new tools.", running, Librarian, "notes_update")
        while "was not run" not in await running.ref(Librarian).ask(Run(tool="notes_write", arguments=written)):
            pass  # until the session has looked at them
        await show("One that is not what was consented to.", running, Librarian, "notes_write", written)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(main())
