"""What `regrow top` shows and what its keys do, decided without a terminal: looks at an app, rates, who is chosen."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

REFRESH_S = 1.0
"""Between two looks."""
LOOK_SHARE = 9.0
"""So many times what a look has taken passes before the next: an app spends a tenth of its time on who watches it."""


class Key(StrEnum):
    """What somebody has pressed."""

    UP = "up"
    DOWN = "down"
    PAGE_UP = "page up"
    PAGE_DOWN = "page down"
    FIRST = "first"
    LAST = "last"
    TROUBLE = "trouble"
    OPEN = "open"
    BACK = "back"
    QUIT = "quit"


PAGE = 10
"""How many rows a page key goes."""
_KEYS = {
    b"\x1b[A": Key.UP,
    b"\x1bOA": Key.UP,
    b"k": Key.UP,
    b"\x1b[B": Key.DOWN,
    b"\x1bOB": Key.DOWN,
    b"j": Key.DOWN,
    b"\x1b[5~": Key.PAGE_UP,
    b"\x1b[6~": Key.PAGE_DOWN,
    b" ": Key.PAGE_DOWN,
    b"\x1b[H": Key.FIRST,
    b"\x1bOH": Key.FIRST,
    b"\x1b[1~": Key.FIRST,
    b"g": Key.FIRST,
    b"\x1b[F": Key.LAST,
    b"\x1bOF": Key.LAST,
    b"\x1b[4~": Key.LAST,
    b"G": Key.LAST,
    b"n": Key.TROUBLE,
    b"\r": Key.OPEN,
    b"\n": Key.OPEN,
    b"w": Key.OPEN,
    b"\x1b": Key.BACK,
    b"q": Key.QUIT,
}
_MOVES = {
    Key.UP: -1,
    Key.DOWN: 1,
    Key.PAGE_UP: -PAGE,
    Key.PAGE_DOWN: PAGE,
    Key.FIRST: -sys.maxsize,
    Key.LAST: sys.maxsize,
}
_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)|.", re.DOTALL)
_BEGUN = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")


def keys_in(typed: bytes) -> Iterator[Key]:
    """The keys in what a terminal has sent; what means nothing, such as a function key, is passed over as a whole."""
    for found in _SEQUENCE.finditer(typed):
        if key := _KEYS.get(found[0]):
            yield key


def may_go_on(typed: bytes) -> bool:
    """Whether the rest of a key may still be under way: a terminal sends one in several bytes."""
    return _BEGUN.search(typed) is not None


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
    """Who is chosen, whether its `why` is open, and how many lines before its end that is read."""

    agent: str = ""
    is_open: bool = False
    lines_back: int = 0
    is_over: bool = False


def settled(choice: Choice, ids: Sequence[str]) -> Choice:
    """The choice where these are there: somebody who has gone is chosen no longer, unless its `why` is open."""
    if choice.agent in ids or choice.is_open:
        return choice
    return replace(choice, agent=ids[0] if ids else "")


def pressed(choice: Choice, key: Key, ids: Sequence[str], troubled: Collection[str] = ()) -> Choice:
    """The choice after a key; `ids` are all who can be chosen, from the top, and `troubled` those that are not well."""
    match key:
        case Key.QUIT:
            return replace(choice, is_over=True)
        case Key.BACK:
            return replace(choice, is_open=False, lines_back=0)
        case Key.OPEN:
            return replace(choice, is_open=bool(choice.agent))
        case Key.TROUBLE:
            return replace(choice, agent=choice.agent if choice.is_open else _next_of(choice.agent, ids, troubled))
        case _ if choice.is_open:
            return replace(choice, lines_back=max(0, choice.lines_back - _MOVES[key]))
        case _ if ids:
            at = (ids.index(choice.agent) if choice.agent in ids else 0) + _MOVES[key]
            return replace(choice, agent=ids[min(max(at, 0), len(ids) - 1)])
        case _:
            return choice


def _next_of(agent: str, ids: Sequence[str], among: Collection[str]) -> str:
    """The next one of these behind an agent, and behind the last the first; the agent itself where there is none."""
    at = ids.index(agent) + 1 if agent in ids else 0
    return next((each for each in (*ids[at:], *ids[:at]) if each in among), agent)


def troubled_in(tree: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Who does not run as it should, or has been started again."""
    found: set[str] = set()
    for node in tree:
        if node["state"] != "running" or node["restarts"]:
            found.add(node["id"])
        found |= troubled_in(node["children"])
    return frozenset(found)


def ids_of(tree: Sequence[Mapping[str, Any]]) -> list[str]:
    """Everybody as they stand in the tree; the root comes first, whose `why` tells where to begin."""
    found: list[str] = []
    for node in tree:
        found += [node["id"], *ids_of(node["children"])]
    return found


def window(count: int, at: int, *, room: int) -> range:
    """Which of so many rows are shown where there is room for fewer: those around the chosen one."""
    first = min(max(0, at - room // 2), max(0, count - room))
    return range(first, min(count, first + max(0, room)))


def rooms(lines: int, *, tree: int, hosts: int, models: int) -> tuple[int, int, int]:
    """How many lines each part gets, which wants this many: all of them where they fit, else the tree has half."""
    tree = min(tree, max(lines - hosts - models, (lines + 1) // 2))
    left = lines - tree
    hosts = min(hosts, max(left - models, (left + 1) // 2))
    return tree, hosts, min(models, left - hosts)


def pause_s(took_s: float) -> float:
    """How long after a look the next one begins: a look at ten thousand agents takes their app half a second."""
    return max(REFRESH_S, LOOK_SHARE * took_s)
