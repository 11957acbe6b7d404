"""Makes folders of skills for tests."""

from __future__ import annotations

from pathlib import Path

TOOLS = '''
from regrow import tool
from regrow.actors import Context


@tool
async def find_order(order: str) -> int:
    """Finds an order."""
    return len(order)


@tool
async def refund(order: str, ctx: Context) -> str:
    """Pays back."""
    return f"{ctx.id} paid {order}"


@tool
async def delete_order(order: str) -> str:
    """Deletes; the skill does not declare it."""
    return order
'''


def shelve(
    place: Path,
    name: str = "refunds",
    version: str = "1.2",
    *,
    tools: str = '["find_order", "refund"]',
    code: str = TOOLS,
    folder: str = "",
) -> Path:
    """A skill in a folder below `place`; gives its folder."""
    made = place / (folder or name)
    made.mkdir(parents=True)
    head = f'name = "{name}"\nversion = "{version}"\ndescription = "How to pay\\n  money back."\ntools = {tools}'
    (made / "SKILL.md").write_text(f"+++\n{head}\n+++\n\n# {name} {version}\n\nAsk first.\n", "utf-8")
    if code:
        (made / "tools.py").write_text(code, "utf-8")
    return made
