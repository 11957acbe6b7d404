"""What a capability reaches: a complete list of the actors and tools that a turn, and all it causes, may use.

On the wire it is a short list of words, sent once a frame: the id of an actor, which stands for all below it as
well, or `!` and the name of a tool. `*` stands for every actor and `!*` for every tool; None, which most envelopes
carry, for both. `^` and the name of a tool is one call of it, which the gate has allowed, see `one_call`. What is not
listed is not allowed, so that a process that does not know a word allows less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

EVERY_ACTOR = "*"
TOOL_MARK = "!"
"""Before the name of a tool; no id of an actor begins with it."""
EVERY_TOOL = TOOL_MARK + "*"
CALL_MARK = "^"
"""Before the name of a tool, where it is for one call of it alone, which the gate has allowed."""
TAB_MARK = "$"
"""Before a tab; no id of an actor begins with it."""

tools_only: ContextVar[frozenset[str] | None] = ContextVar("regrow_tools_only", default=None)
"""The names of the tools to which the code that runs here has limited itself, and what it sends."""

for_one_call: ContextVar[tuple[str, ...] | None] = ContextVar("regrow_for_one_call", default=None)
"""What the call of a tool that the gate has allowed sends with, where it is carried out by another actor."""


@contextmanager
def one_call(actor: str, tool: str) -> Iterator[None]:
    """As long as this lasts, what is sent may address this actor, run this tool, and nothing else.

    Only a call that the gate has allowed is sent so, and its receiver takes no other: the capability is neither more
    nor less than `of_one_call`, which no narrowing of another one gives.
    """
    token = for_one_call.set(of_one_call(actor, tool))
    try:
        yield
    finally:
        for_one_call.reset(token)


def of_one_call(actor: str, tool: str) -> tuple[str, ...]:
    """The capability of one call that the gate has allowed and this actor carries out; narrowing makes none."""
    return (actor, CALL_MARK + tool)


@contextmanager
def only_tools(names: Iterable[str]) -> Iterator[None]:
    """As long as this lasts, the code in it may run these tools alone, and so may all that it asks and tells."""
    outer = tools_only.get()
    token = tools_only.set(frozenset(names) if outer is None else outer.intersection(names))
    try:
        yield
    finally:
        tools_only.reset(token)


def reaches(capability: tuple[str, ...] | None, actor: str) -> bool:
    """True when `actor` may be addressed: it is listed, or what it is below of, up to a `/`."""
    if capability is None:
        return True
    return any(actor == word or actor.startswith(word + "/") or word == EVERY_ACTOR for word in capability)


def allows_tool(capability: tuple[str, ...] | None, tool: str) -> bool:
    """True when the tool of that name may be run."""
    return capability is None or TOOL_MARK + tool in capability or EVERY_TOOL in capability


def narrowed(capability: tuple[str, ...] | None, tools: Iterable[str]) -> tuple[str, ...]:
    """The same for actors, and of the tools only those of these names that it has. It never reaches further."""
    words = (EVERY_ACTOR, EVERY_TOOL) if capability is None else capability
    actors = tuple(word for word in words if not word.startswith(TOOL_MARK))
    return actors + tuple(TOOL_MARK + tool for tool in sorted(set(tools)) if allows_tool(capability, tool))


def told(capability: tuple[str, ...] | None) -> str:
    """The tools of a capability, for people."""
    if capability is None or EVERY_TOOL in capability:
        return "every tool"
    return ", ".join(word[len(TOOL_MARK) :] for word in capability if word.startswith(TOOL_MARK)) or "no tool"
