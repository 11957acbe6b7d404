"""The supervision tree as people and machines see it: one node for each supervisor and agent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

from regrow.runtime.message import Message

STRETCH_NODES = 100
"""Of a look at a large app nobody is held up longer than it takes to write down so many of its agents."""


class TreeNode(Message):
    """One supervisor or agent. `mailbox` counts messages that wait; pid and host are empty while it does not run.

    `restart` is its restart type, empty for a root. `strategy` and `intensity`, such as `3 in 5 s`, are
    those of a supervisor, empty for an agent and while the supervisor does not run.
    """

    id: str
    kind: str
    state: str
    incarnation: int = 0
    mailbox: int = 0
    restarts: int = 0
    pid: int = 0
    host: str = ""
    node: str = ""
    last_reason: str = ""
    restart: str = ""
    strategy: str = ""
    intensity: str = ""
    children: tuple[TreeNode, ...] = ()

    def walk(self, depth: int = 0) -> Iterator[tuple[int, TreeNode]]:
        """This node and everything below, each with its depth."""
        yield depth, self
        for node in self.children:
            yield from node.walk(depth + 1)


class Stretch(Message):
    """Some nodes of the trees of an app, parents first, each without its children; `depths` is 0 for a root.

    A look at ten thousand agents is taken, sent and read by stretches, so that none of it is long.
    """

    nodes: tuple[TreeNode, ...]
    depths: tuple[int, ...]


def grown(stretches: Sequence[Stretch]) -> tuple[TreeNode, ...]:
    """The trees of which these are all the stretches, one behind the other."""
    below: dict[int, list[TreeNode]] = {}
    for stretch in reversed(stretches):
        for node, depth in zip(reversed(stretch.nodes), reversed(stretch.depths), strict=True):
            children = below.pop(depth + 1, [])
            whole = node.model_copy(update={"children": tuple(reversed(children))}) if children else node
            below.setdefault(depth, []).append(whole)
    return tuple(reversed(below.get(0, [])))


async def written(walk: AsyncIterator[Stretch], *, redact: Callable[[str], str]) -> bytes:
    """The same trees as one JSON text, as `model_dump` has them, and what agents died of without secrets."""
    parts: list[str] = []
    last = -1
    async for stretch in walk:
        for node, depth in zip(stretch.nodes, stretch.depths, strict=True):
            parts.append("]}" * (last - depth + 1) + ("," if depth <= last else ""))
            fields = json.dumps(
                {**node.model_dump(mode="json", exclude={"children"}), "last_reason": redact(node.last_reason)}
            )
            parts.append(f'{fields[:-1]}, "children": [')
            last = depth
    return f"[{''.join(parts)}{']}' * (last + 1)}]".encode()


class Counts(Message):
    """What an app has done so far: messages handled by its agents, dead letters by reason."""

    messages: int = 0
    dead_letters: tuple[tuple[str, int], ...] = ()

    @property
    def dead(self) -> int:
        """All dead letters together."""
        return sum(count for _, count in self.dead_letters)

    def with_dead(self, more: Mapping[str, int]) -> Counts:
        """These counts and the dead letters of one more process."""
        total = Counter(dict(self.dead_letters))
        total.update(more)
        return Counts(messages=self.messages, dead_letters=tuple(sorted(total.items())))


class Trees(Message):
    """The trees of an app, the user's first, and its counts."""

    roots: tuple[TreeNode, ...]
    counts: Counts = Counts()

    def find(self, id: str) -> TreeNode | None:
        """The node of that id."""
        return next((node for root in self.roots for _, node in root.walk() if node.id == id), None)
