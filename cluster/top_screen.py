"""`regrow top` in a terminal: looks each second, draws, and listens to keys; the terminal is as before afterwards."""

from __future__ import annotations

import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import IO, Any

from rich.live import Live
from rich.text import Text

from regrow.cluster import cli_calls, control_client, top_views, why_views
from regrow.cluster.config import Settings
from regrow.cluster.control_client import running_apps
from regrow.cluster.errors import AppNotRunning, ControlError
from regrow.cluster.past_incidents import found_of
from regrow.cluster.terminal import console_for
from regrow.cluster.top import (
    REFRESH_S,
    Choice,
    Key,
    Look,
    ids_of,
    keys_in,
    pause_s,
    pressed,
    settled,
    troubled_in,
)
from regrow.cluster.top_lookout import Lookout
from regrow.runtime.errors import Misuse, RegrowError, TooLate


def app_meant(app: str | None) -> str:
    """The app that is named, or the one that runs here. Raises AppNotRunning, Misuse where several do."""
    if app is not None:
        return app
    found = running_apps()
    if not found:
        raise AppNotRunning("", "no app is running here; start one with: regrow run MODULE:APP")
    if len(found) > 1:
        raise Misuse(f"several apps run here; name one of them: {', '.join(found)}")
    return found[0]


def look_at(app: str) -> Look:
    """How an app is now. Raises AppNotRunning, ControlError, TooLate."""
    seen = cli_calls.seen(app)
    tree = seen.pop("tree")
    if not tree:
        return Look(at_s=time.monotonic(), about=seen)
    metrics: dict[str, Any] = control_client.call(app, "metrics", wait_s=control_client.TREE_TIMEOUT_S)
    return Look(at_s=time.monotonic(), about=seen, tree=tree, metrics=metrics)


def told(look: Look) -> dict[str, Any]:
    """A look as JSON."""
    return {**look.about, "tree": list(look.tree), "metrics": look.metrics}


def show_once(look: Look, *, to: IO[str]) -> None:
    """One frame, for a file or pipe."""
    rows = sys.maxsize
    console_for(to).print(
        top_views.frame(None, look, Choice(), at=datetime.now(UTC), rows=rows), no_wrap=True, crop=False
    )


def watch(app: str, settings: Settings, *, to: IO[str], keys: int) -> None:
    """Shows an app until somebody ends that; `keys` is the descriptor of the terminal at which they are pressed."""
    now = look_at(app)  # an app that does not run is told before the screen is taken
    console = console_for(to)
    with _listening(keys), Live(console=console, screen=True, auto_refresh=False) as live, Lookout() as lookout:
        try:
            _Watch(app, settings, live, lookout, now).run(keys)
        except KeyboardInterrupt:
            return


class _Watch:
    """One watch: keys are heard at once, while looks are taken on a thread of their own."""

    def __init__(self, app: str, settings: Settings, live: Live, lookout: Lookout, now: Look) -> None:
        self._app = app
        self._settings = settings
        self._live = live
        self._lookout = lookout
        self._before: Look | None = None
        self._now = now
        self._choice = Choice()
        self._why: tuple[str, list[why_views.Part]] = ("", [])
        """Whose it is, and what it says."""
        self._due_s = time.monotonic() + REFRESH_S

    def run(self, keys: int) -> None:
        """Until somebody ends it, or the terminal is gone."""
        while not self._choice.is_over:
            if self._lookout.is_free and time.monotonic() >= self._due_s:
                self._lookout.take(self._look)
            self._choice = settled(self._choice, ids_of(self._now.tree))
            self._draw()
            rest_s = self._due_s - time.monotonic() if self._lookout.is_free else REFRESH_S
            typed = self._lookout.typed_or_seen(keys, within_s=max(0.0, min(REFRESH_S, rest_s)))
            if typed is None:
                return
            for key in keys_in(typed):
                self._press(key)
            if (seen := self._lookout.seen()) is not None:
                self._due_s = time.monotonic() + pause_s(seen.took_s)
                seen.take_in()

    def _press(self, key: Key) -> None:
        before = self._choice
        self._choice = pressed(before, key, ids_of(self._now.tree), troubled_in(self._now.tree))
        if self._choice.is_open != before.is_open:
            self._due_s = 0.0  # what is shown now is older than what was shown until now

    def _look(self) -> Callable[[], None]:
        """On the thread of the lookout: looks, and gives what takes in what was seen."""
        agent = self._choice.agent if self._choice.is_open else ""
        if agent:
            why = _why(self._settings, agent)
            return lambda: setattr(self, "_why", (agent, why))
        now = _look_again(self._app, self._now)
        return lambda: self._take_in(now)

    def _take_in(self, now: Look) -> None:
        self._before, self._now = self._now, now

    def _draw(self) -> None:
        console, choice = self._live.console, self._choice
        if not choice.is_open:
            shown = top_views.frame(
                self._before, self._now, choice, at=datetime.now(UTC), rows=console.height, columns=console.width
            )
        else:
            of, why = self._why
            lines = top_views.why_lines(why, console=console) if of == choice.agent else [Text(top_views.LOOKING)]
            furthest = max(0, len(lines) - top_views.why_room(console.height))
            self._choice = choice = replace(choice, lines_back=min(choice.lines_back, furthest))
            shown = top_views.why_frame(lines, choice, rows=console.height)
        self._live.update(shown, refresh=True)


def _look_again(app: str, known: Look) -> Look:
    try:
        return look_at(app)
    except AppNotRunning:
        return Look(at_s=time.monotonic(), about={**known.about, "state": "ended", "started_at": None})
    except (TooLate, ControlError) as error:
        return replace(known, at_s=time.monotonic(), note=str(error))


def _why(settings: Settings, agent: str) -> list[why_views.Part]:
    try:
        return list(why_views.parts(found_of(settings, agent)))
    except RegrowError as error:
        return [Text(str(error), style="yellow")]


@contextmanager
def _listening(keys: int) -> Iterator[None]:
    """Keys come one by one and are not echoed."""
    before = termios.tcgetattr(keys)
    try:
        tty.setcbreak(keys)
        yield
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)
