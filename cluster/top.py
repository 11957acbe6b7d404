"""What `regrow top` shows and what its keys do, decided without a terminal: looks at an app, rates, who is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Key(StrEnum):
    """What somebody has pressed."""

    UP = "up"
    DOWN = "down"
    OPEN = "open"
    BACK = "back"
    QUIT = "quit"


_KEYS = {
    b"\x1b[A": Key.UP,
    b"\x1bOA": Key.UP,
    b"k": Key.UP,
    b"\x1b[B": Key.DOWN,
    b"\x1bOB": Key.DOWN,
    b"j": Key.DOWN,
    b"\r": Key.OPEN,
    b"\n": Key.OPEN,
    b"w": Key.OPEN,
    b"\x1b": Key.BACK,
    b"q": Key.QUIT,
}
_LONGEST = max(map(len, _KEYS))


def keys_in(typed: bytes) -> Iterator[Key]:
    """The keys in what a terminal has sent; what means nothing is passed over."""
    while typed:
        size = next((size for size in range(_LONGEST, 0, -1) if typed[:size] in _KEYS), 0)
        if size:
            yield _KEYS[typed[:size]]
        typed = typed[size or 1 :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at an app, `at_s` monotonic seconds."""

    at_s: float
    about: Mapping[str, Any]
    tree: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, Any] | None = None
    note: str = ""
    """Why it could not be seen, in the place of what it showed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What happened in a second between two looks."""

    messages: float = 0.0
    turns: float = 0.0
    tokens: float = 0.0
    cost_usd: float = 0.0


def rates(before: Mapping[str, Any] | None, now: Mapping[str, Any], *, seconds: float) -> Rates:
    """What the counts of one process, or of all, have grown by in a second; nothing where there is one look alone."""
    if before is None or seconds <= 0:
        return Rates()

    def grown(name: str) -> float:
        return max(0.0, float(now[name]) - float(before[name])) / seconds

    return Rates(messages=grown("messages"), turns=grown("turns"), tokens=grown("tokens"), cost_usd=grown("cost_usd"))


def host_rates(before: Look | None, now: Look) -> dict[str, Rates]:
    """The rates of each process, by its host's id."""
    if now.metrics is None:
        return {}
    earlier = {each["host"]: each for each in before.metrics["hosts"]} if before and before.metrics else {}
    seconds = now.at_s - before.at_s if before else 0.0
    return {each["host"]: rates(earlier.get(each["host"]), each, seconds=seconds) for each in now.metrics["hosts"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Who is chosen, and whether its `why` is open."""

    agent: str = ""
    is_open: bool = False
    is_over: bool = False


def settled(choice: Choice, ids: Sequence[str]) -> Choice:
    """The choice where these are there: somebody who has gone is chosen no longer, unless its `why` is open."""
    if choice.agent in ids or choice.is_open:
        return choice
    return replace(choice, agent=ids[0] if ids else "")


def pressed(choice: Choice, key: Key, ids: Sequence[str]) -> Choice:
    """The choice after a key; `ids` are all who can be chosen, from the top."""
    match key:
        case Key.QUIT:
            return replace(choice, is_over=True)
        case Key.BACK:
            return replace(choice, is_open=False)
        case Key.OPEN:
            return replace(choice, is_open=bool(choice.agent))
        case Key.UP | Key.DOWN if not choice.is_open and ids:
            at = ids.index(choice.agent) if choice.agent in ids else 0
            at += 1 if key is Key.DOWN else -1
            return replace(choice, agent=ids[min(max(at, 0), len(ids) - 1)])
        case _:
            return choice


def ids_of(tree: Sequence[Mapping[str, Any]]) -> list[str]:
    """Everybody below the roots, as they stand in the tree; of the roots nobody is told why."""
    found: list[str] = []
    for node in tree:
        for child in node["children"]:
            found += [child["id"], *ids_of([child])]
    return found


def window(count: int, at: int, *, room: int) -> range:
    """Which of so many rows are shown where there is room for fewer: those around the chosen one."""
    room = max(1, room)
    first = min(max(0, at - room // 2), max(0, count - room))
    return range(first, min(count, first + room))
