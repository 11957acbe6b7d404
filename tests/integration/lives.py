"""Who lives in an app, seen through its tree."""

from __future__ import annotations

from regrow import Running
from regrow.cluster.tree import TreeNode


async def node_of(running: Running, id: str) -> TreeNode:
    """The node of an agent or supervisor, by its full id."""
    return next(node for root in await running.tree() for _, node in root.walk() if node.id == id)


async def lives(running: Running) -> dict[str, int]:
    """The incarnation of everybody in the app's own tree who runs."""
    tree = (await running.tree())[0]
    return {node.id: node.incarnation for _, node in tree.walk() if node.state == "running"}


async def restarted(running: Running, before: dict[str, int], id: str) -> dict[str, int] | None:
    """The lives now, once this one (its id without the app's name) has a later life, and all who ran run again.

    All, since hosts are looked at one beside the other: a sibling that started before it may not be seen yet.
    """
    now = await lives(running)
    id = f"{running.app.name}/{id}"
    return now if now.get(id, 0) > before[id] and before.keys() <= now.keys() else None


async def dead_letters(running: Running, reason: str) -> int:
    """How many dead letters the app has counted for this reason."""
    return dict((await running.counts()).dead_letters).get(reason, 0)
