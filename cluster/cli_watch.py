"""`regrow ps --watch`: the trees of running apps, looked at again and again until somebody has seen enough."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import IO, Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from regrow.cluster import cli_calls, views
from regrow.cluster.terminal import console_for

REFRESH_S = 1.0
"""Between two looks; a look itself takes some milliseconds, more for each host on Ray."""

ENDED = "ended"
"""The state of an app in the last frame of a watch: it was there before and is there no more."""

ENDED_LIMIT = 5
"""Of how many apps that ended during a watch of all apps is told, the latest ones."""

EXIT_TERMINATED = 128 + signal.SIGTERM

Seen = dict[str, Any]
"""One app as `cli_calls.seen` gives it."""


class Screen(Protocol):
    """Shows what is seen, each time that somebody looked."""

    def show(self, apps: Sequence[Seen], *, now: datetime) -> None:
        """The apps as they are now; those that have ended come last."""
        ...


class LiveScreen:
    """A terminal: each frame replaces the one before, and the last one stays."""

    def __init__(self, live: Live, *, one_app: bool) -> None:
        self._live = live
        self._one_app = one_app

    def show(self, apps: Sequence[Seen], *, now: datetime) -> None:
        """See Screen."""
        parts: list[Any] = []
        for app in apps:
            parts += [*views.app_view(app, app["tree"], now=now), Text()]
        if self._one_app and apps[0]["state"] == ENDED:
            self._live.update(Group(*parts[:-1]), refresh=True)
            return
        if not apps:
            parts += [Text("no app is running here; start one with: regrow run MODULE:APP"), Text()]
        parts.append(Text(f"{now.astimezone():%H:%M:%S} · Ctrl-C ends this view and no app", style="dim"))
        self._live.update(Group(*parts), refresh=True)


class ChangingScreen:
    """A file or pipe: a frame for each change, as lines of text or as one JSON value on one line."""

    def __init__(self, to: IO[str], *, one_app: bool, as_json: bool) -> None:
        self._to = to
        self._one_app = one_app
        self._as_json = as_json
        self._last: Sequence[Seen] | None = None

    def show(self, apps: Sequence[Seen], *, now: datetime) -> None:
        """See Screen."""
        if apps == self._last:
            return
        is_first, self._last = self._last is None, apps
        if self._as_json:
            self._to.write(json.dumps(apps[0] if self._one_app else apps, ensure_ascii=False) + "\n")
        else:
            self._to.write("" if is_first else "\n")
            self._to.write(f"{now.astimezone():%Y-%m-%d %H:%M:%S}\n")
            for app in apps:
                views.show_app(app, app["tree"], to=self._to, now=now)
            if not apps:
                self._to.write("no app is running here\n")
        self._to.flush()


@contextmanager
def screen_for(to: IO[str], *, one_app: bool, as_json: bool) -> Iterator[Screen]:
    """The screen that suits where the frames go to; a terminal is as before afterwards."""
    if as_json or not to.isatty():
        yield ChangingScreen(to, one_app=one_app, as_json=as_json)
        return

    def terminated(number: int, frame: FrameType | None) -> None:
        sys.exit(EXIT_TERMINATED)  # through the way out below, which shows the cursor again

    before = signal.signal(signal.SIGTERM, terminated)
    console: Console = console_for(to)
    try:
        with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
            yield LiveScreen(live, one_app=one_app)
    finally:
        signal.signal(signal.SIGTERM, before)


def watch(app: str | None, screen: Screen, *, wait: Callable[[float], None] = time.sleep) -> None:
    """Shows one app until it has ended, or all apps for ever; Ctrl-C ends both.

    Raises what `cli_calls.seen` raises at the first look at one app; later an app that does not answer is
    shown as such.
    """
    looks = _looks_at(app) if app is not None else _looks_at_all()
    try:
        for apps in looks:
            screen.show(apps, now=datetime.now(UTC))
            if app is not None and apps[0]["state"] == ENDED:
                return
            wait(REFRESH_S)
    except KeyboardInterrupt:
        return  # the way in which a watch is meant to end


def _looks_at(app: str) -> Iterator[list[Seen]]:
    seen = cli_calls.seen(app)
    yield [seen]
    while (again := cli_calls.seen_anyway(app, seen["pid"])) is not None:
        seen = again
        yield [seen]
    yield [_ended(seen)]


def _looks_at_all() -> Iterator[list[Seen]]:
    before: dict[str, Seen] = {}
    ended: dict[str, Seen] = {}
    while True:
        now = {each["app"]: each for each in cli_calls.all_seen()}
        for name in before.keys() - now.keys():
            ended[name] = _ended(before[name])
        ended = {name: each for name, each in ended.items() if name not in now}
        ended = dict(list(ended.items())[-ENDED_LIMIT:])
        yield [*now.values(), *ended.values()]
        before = now


def _ended(app: Seen) -> Seen:
    told = {name: value for name, value in app.items() if name != "note"}  # why it gave no answer: it was ending
    return {**told, "started_at": None, "state": ENDED, "tree": []}
