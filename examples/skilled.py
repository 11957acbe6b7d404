"""An agent that knows how to do one kind of work, from a folder; docs/guides/skills.md explains it.

python examples/skilled.py
"""

from __future__ import annotations

import asyncio

from regrow import Agent, App, Context, Request, on
from regrow.router import ToolCall


class Ask(Request[str]):
    """Does what a model does: it reads its prompt, or calls a tool with JSON."""

    tool: str = ""
    arguments: str = "{}"


class Clerk(Agent):
    """Has no tools of its own, and one skill."""

    skills = ["refunds@1.2"]

    @on
    async def ask(self, request: Ask, ctx: Context) -> str:
        if not request.tool:
            return ctx.skills.prompt()
        told = await ctx.tools.answer(ToolCall(id="1", name=request.tool, arguments=request.arguments))
        return told.content


app = App("shop", Clerk)


async def main() -> None:
    async with app.start(engine="inline") as running:
        clerk = running.ref(Clerk)
        for what, request in (
            ("What its prompt says.", Ask()),
            ("It reads on.", Ask(tool="read_skill", arguments='{"name": "refunds"}')),
            ("And further.", Ask(tool="read_skill", arguments='{"name": "refunds", "file": "references/fees.md"}')),
            ("It does as it has read.", Ask(tool="find_payment", arguments='{"order": "A-1"}')),
            ("", Ask(tool="pay_back", arguments='{"order": "A-1", "cents": 4500}')),
            ("What the skill does not declare.", Ask(tool="forget_payment", arguments='{"order": "A-1"}')),
        ):
            if what:
                print(f"\n{what}")
            for line in (await clerk.ask(request)).splitlines():
                print(f"  {line}".rstrip())


if __name__ == "__main__":
    asyncio.run(main())
