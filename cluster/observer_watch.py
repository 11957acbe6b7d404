"""What an observer sees of its app: looked at again and again while anybody watches, once for all who do.

Its trees are looked at six times in a second, so that a death is seen at once; what waits for people, and what was
lost, once in a second. Where a look takes long, the next one comes later: an app is busy with looks at it for a fifth
of its time at most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from regrow.cluster import cli_calls
from regrow.cluster.errors import AppNotRunning
from regrow.cluster.observer_calls import Calls
from regrow.cluster.observer_news import News, news_between, news_of_app
from regrow.cluster.observer_tree import Forest
from regrow.runtime.errors import RegrowError

TREE_EVERY_S = 0.15
REST_EVERY_S = 1.0
REST_SHARE = 4.0
"""After a look there are at least so many times what it took without one."""
TIMES_KEPT = 5
"""The shortest of so many looks counts: what is longer waited for a busy machine, and cost the app no more."""
NODE_S = 0.001
"""Nor does a look cost an app more than this for each of its agents: what takes longer waited for processes of Ray."""
PAUSE_LIMIT_S = 5.0
"""The longest time without a look, however long one takes."""
FRESH_S = 5.0
"""How long what was seen is told to who comes next, such as the same page that shows another part of the tree."""
NEWS_KEPT = 60
LETTERS_TOLD = 30
WAITING_TOLD = 50
"""How many of those that wait, or are in quarantine, are told; of the rest that there are more."""

HOSTS_TOLD = 50
"""Those with the most agents."""
OF_HOST = ("host", "pid", "node", "alive", "agents", "mailbox_depth", "loop_lag_ms", "turns", "tokens", "cost_usd")

NOT_RUNNING = "not running"

Parts = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that was seen until one moment; `number` grows with each change. `parts` are what every page is told."""

    number: int = 0
    forest: Forest = field(default_factory=Forest)
    parts: Parts = field(default_factory=dict)


Look = Callable[[], tuple[Parts, Forest | None]]
"""Gives what one look has seen; no forest where it was none at the trees."""


class Watch:
    """Looks at one app, while anybody watches."""

    def __init__(self, app: str) -> None:
        self.app = app
        self.seen = Seen()
        self._about: dict[str, Any] = {"app": app, "engine": None, "pid": None, "started_at": None}
        self._forest = Forest()
        self._news: deque[News] = deque(maxlen=NEWS_KEPT)
        self._watchers = 0
        self._watched_s = 0.0
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._calls = Calls(2, of="looks at the app")  # one of each lane
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failed: BaseException | None = None
        self._ended = False

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While entered, the app is looked at. Who comes first is told nothing of what was seen long before that."""
        loop = asyncio.get_running_loop()
        self._watchers += 1
        if self._watchers == 1 and loop.time() - self._watched_s > FRESH_S:
            self.seen = Seen(number=self.seen.number)
        self._look_on()
        try:
            yield
        finally:
            self._watchers -= 1
            self._watched_s = loop.time()
            self.hurry()  # so that nothing goes on when nobody watches

    async def next(self, number: int) -> Seen | None:
        """What is seen once it is newer than `number`, and the app is; None when the observer ends.

        Raises what ended the looking, which begins again with the next who watches.
        """
        while (self.seen.number <= number or "app" not in self.seen.parts) and not self._ended:
            if self._failed is not None:
                raise self._failed
            await self._changed.wait()
        return None if self._ended else self.seen

    def hurry(self) -> None:
        """Something was done to the app: looks at it now and not at the next time."""
        hurry, self._hurry = self._hurry, asyncio.Event()
        hurry.set()

    def end(self) -> None:
        """Nobody is told anything any more."""
        self._ended = True
        self._tell()

    # ---- looking -------------------------------------------------------------------------------

    def _look_on(self) -> None:
        """Begins what does not go on by itself. Of a look that hangs no second one is begun, whoever comes and goes."""
        lanes: dict[str, tuple[Look, float]] = {
            "tree": (self._look_at_tree, TREE_EVERY_S),
            "rest": (self._look_at_rest, REST_EVERY_S),
        }
        for name, (look, every_s) in lanes.items():
            if name not in self._lanes or self._lanes[name].done():
                self._failed = None
                lane = self._lanes[name] = asyncio.create_task(self._again(look, every_s))
                lane.add_done_callback(self._over)
        self.hurry()

    async def _again(self, look: Look, every_s: float) -> None:
        loop = asyncio.get_running_loop()
        took_s: deque[float] = deque(maxlen=TIMES_KEPT)
        while self._watchers:
            hurry, began_s = self._hurry, loop.time()
            parts, forest = await self._calls.do(look)
            self._publish(parts, forest)
            took_s.append(loop.time() - began_s)
            pause = pause_s(every_s, took_s, nodes=len(self.seen.forest.nodes))
            try:
                await asyncio.wait_for(hurry.wait(), pause)
            except TimeoutError:
                pass

    def _over(self, lane: asyncio.Task[None]) -> None:
        """Ends the streams of all pages, where a fault of ours has ended the looking: they would show it as it was."""
        if not lane.cancelled() and (error := lane.exception()) is not None:
            self._failed = error
            self._tell()

    def _look_at_tree(self) -> tuple[Parts, Forest]:
        """In a thread: how the app is, its trees, and what has happened in them."""
        known, before = self._about, self._forest
        try:
            told = cli_calls.seen_anyway(self.app, known["pid"] or 0)
        except (RegrowError, OSError) as error:  # its socket can not be used, or this process has no file left
            return {"app": {**known, "state": cli_calls.NO_ANSWER, "note": str(error)}}, before
        ended = {
            "app": self.app,
            "engine": known["engine"],
            "state": NOT_RUNNING,
            "pid": 0,
            "started_at": None,
            "tree": [],
        }
        seen: dict[str, Any] = ended if told is None else told
        if seen["state"] == cli_calls.NO_ANSWER:
            seen["pid"] = known["pid"]
        tree = seen.pop("tree")
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._about = seen
        self._news.extend(news_of_app(known, seen, at=at))
        # Of an app that gives no answer what was seen last stays in sight.
        if tuple(tree) != before.roots and seen["state"] != cli_calls.NO_ANSWER:
            self._forest = Forest.of(tree)
            if seen["pid"] == known["pid"]:  # its agents live for the first time in another process
                self._news.extend(news_between(before, self._forest, at=at))
        return {"app": seen, "news": list(self._news)}, self._forest

    def _look_at_rest(self) -> tuple[Parts, None]:
        """In a thread: dead letters, quarantine, what waits for people, and what was counted."""
        looks = {
            "letters": self._letters,
            "quarantine": self._quarantine,
            "waits": self._waits,
            "metrics": self._metrics,
        }
        return {name: self._told(look) for name, look in looks.items()}, None

    def _told(self, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What is seen, or a note why it is not: an app without durable agents has no quarantine, others may hang."""
        again = {"note": f"Shown again when {self.app} runs."}
        try:
            return again if self._about["pid"] == 0 else look()
        except AppNotRunning:
            return again
        except (RegrowError, OSError) as error:
            return {"note": str(error)}

    def _letters(self) -> dict[str, Any]:
        told = cli_calls.dead_letters(self.app)
        return {"total": told["total"], "counts": told["counts"], "latest": told["latest"][-LETTERS_TOLD:]}

    def _quarantine(self) -> dict[str, Any]:
        told = cli_calls.set_aside(self.app)
        return _first(told["messages"], told["more"])

    def _waits(self) -> dict[str, Any]:
        told = cli_calls.waits(self.app)
        return _first(told["waits"], told["more"])

    def _metrics(self) -> dict[str, Any]:
        told = cli_calls.metrics(self.app)
        hosts = sorted(told["hosts"], key=lambda host: (-host["alive"], -host["agents"]))
        return {
            "hosts": [_of_host(host) for host in hosts[:HOSTS_TOLD]],
            "more": max(0, len(hosts) - HOSTS_TOLD),
            "total": _of_host(told["total"]),
            "models": told["models"],
        }

    def _publish(self, parts: Parts, forest: Forest | None = None) -> None:
        known = self.seen
        differs = any(known.parts.get(name) != part for name, part in parts.items())
        if differs or (forest is not None and forest is not known.forest):
            self.seen = Seen(
                number=known.number + 1,
                forest=forest if forest is not None else known.forest,
                parts={**known.parts, **parts},
            )
            self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def pause_s(every_s: float, took_s: Iterable[float], *, nodes: int) -> float:
    """How long nobody looks after the latest of these looks, at trees of so many nodes."""
    cost_s = min(*took_s, max(nodes, 1) * NODE_S)
    return min(max(every_s, cost_s * REST_SHARE), PAUSE_LIMIT_S)


def _of_host(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: told[name] for name in OF_HOST if name in told}


def _first(rows: list[Any], more: bool) -> dict[str, Any]:
    return {"rows": rows[:WAITING_TOLD], "more": more or len(rows) > WAITING_TOLD}
