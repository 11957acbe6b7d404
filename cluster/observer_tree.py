"""What a page shows of the trees of an app: the rows of what it has opened, with counts of what is closed. Pure.

A page never gets more rows than it can show: ten thousand agents below one supervisor are a count until somebody opens
it, and then the first hundred of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHOWN = 100
"""How many children of one supervisor are shown until somebody wants more."""
SHOWN_LIMIT = 1_000
OPENED_LIMIT = 200
"""How many supervisors a page may have opened, services included."""
OPEN_AT_FIRST_ROWS = 60
"""Supervisors are open at first, from the top down, as long as no more rows than this come of it."""
ROWS_LIMIT = 2_000
"""How many rows a page shows at most, whatever it has opened; it has to draw them."""
FOUND_LIMIT = 100
"""How many agents are shown to somebody who looks for one."""
REASON_CHARS = 300

Node = Mapping[str, Any]
Row = dict[str, Any]

SUPERVISOR = "supervisor"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one page shows of the trees.

    `opened` are the supervisors whose children it shows, None for those that are open at first. Of each, `shown`
    children. With `find` it shows the agents whose ids hold this text, and nothing else.
    """

    opened: frozenset[str] | None = None
    shown: int = SHOWN
    find: str = ""


@dataclass(slots=True, kw_only=True)
class Branch:
    """What there is below one supervisor: all agents, and what they come to."""

    agents: int = 0
    mailbox: int = 0
    restarts: int = 0
    states: Counter[str] = field(default_factory=Counter)

    def add(self, node: Node) -> None:
        """Counts one agent or supervisor."""
        self.restarts += node["restarts"]
        if node["kind"] != SUPERVISOR:
            self.agents += 1
            self.mailbox += node["mailbox"]
            self.states[node["state"]] += 1

    def take(self, below: Branch) -> None:
        """Counts all of a branch below this one."""
        self.agents += below.agents
        self.mailbox += below.mailbox
        self.restarts += below.restarts
        self.states.update(below.states)

    def told(self) -> dict[str, Any]:
        """As a page reads it."""
        return {
            "agents": self.agents,
            "mailbox": self.mailbox,
            "restarts": self.restarts,
            "states": dict(sorted(self.states.items())),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """The trees of an app at one moment, ready to be looked at. `nodes` are all, by their ids, parents first."""

    roots: tuple[Node, ...] = ()
    nodes: Mapping[str, Node] = field(default_factory=dict)
    branches: Mapping[str, Branch] = field(default_factory=dict)

    @property
    def agents(self) -> int:
        """How many agents there are in the user's tree, which is the first."""
        return self.branches[self.roots[0]["id"]].agents if self.roots else 0

    @classmethod
    def of(cls, roots: Sequence[Node]) -> Forest:
        """The forest of what the order `tree` tells."""
        nodes = {node["id"]: node for node in walk(roots)}
        branches: dict[str, Branch] = {}
        for node in reversed(nodes.values()):
            if node["kind"] == SUPERVISOR:
                branch = branches[node["id"]] = Branch()
                for child in node["children"]:
                    branch.add(child)
                    if (below := branches.get(child["id"])) is not None:
                        branch.take(below)
        return cls(roots=tuple(roots), nodes=nodes, branches=branches)


def walk(roots: Sequence[Node]) -> Iterator[Node]:
    """Every node, a parent before its children and these in their order."""
    waiting = list(reversed(roots))
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(node["children"])


def rows_of(forest: Forest, view: View) -> dict[str, Row]:
    """The rows that a page shows, by id, in the order in which they stand below each other."""
    if view.find:
        wanted = view.find.lower()
        found = [node for node in forest.nodes.values() if wanted in node["id"].lower()][:FOUND_LIMIT]
        return {node["id"]: _row(forest, node, depth=0, is_open=False) for node in found}
    opened = view.opened if view.opened is not None else opened_at_first(forest)
    rows: dict[str, Row] = {}
    room = ROWS_LIMIT - len(forest.roots)
    waiting = [(node, 0) for node in reversed(forest.roots)]
    while waiting:
        node, depth = waiting.pop()
        is_open = node["id"] in opened and bool(node["children"])
        row = rows[node["id"]] = _row(forest, node, depth=depth, is_open=is_open)
        if is_open:
            shown = node["children"][: min(view.shown, room)]
            room -= len(shown)
            row["more"] = len(node["children"]) - len(shown)
            waiting += [(child, depth + 1) for child in reversed(shown)]
    return rows


def opened_at_first(forest: Forest) -> frozenset[str]:
    """The supervisors that are open where nobody has said which."""
    opened: list[str] = []
    rows = len(forest.roots)
    waiting = list(forest.roots)
    for node in waiting:
        rows += len(node["children"])
        if node["children"] and rows <= OPEN_AT_FIRST_ROWS:
            opened.append(node["id"])
            waiting += node["children"]
        else:
            rows -= len(node["children"])
    return frozenset(opened)


def _row(forest: Forest, node: Node, *, depth: int, is_open: bool) -> Row:
    row: Row = {
        "kind": node["kind"],
        "depth": depth,
        "state": node["state"],
        "life": node["incarnation"],
        "mailbox": node["mailbox"],
        "restarts": node["restarts"],
        "pid": node["pid"],
        "node": node["node"],
        "restart": node["restart"],
        "reason": node["last_reason"][:REASON_CHARS],
    }
    branch = forest.branches.get(node["id"])
    if branch is not None:
        row |= {
            "open": is_open,
            "opens": bool(node["children"]),
            "strategy": node["strategy"],
            "intensity": node["intensity"],
            "below": branch.told(),
        }
    return row
