"""`regrow top` in a terminal: looks each second, draws, and listens to keys; the terminal is as before afterwards."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
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
from regrow.cluster.top import Choice, Look, ids_of, keys_in, pressed, settled
from regrow.runtime.errors import Misuse, RegrowError, TooLate

REFRESH_S = 1.0
"""Between two looks."""
TYPED_BYTES = 64
"""How much of what is typed is read at once."""


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
    now, before, choice = look_at(app), None, Choice()  # an app that does not run is told before the screen is taken
    console = console_for(to)
    with _listening(keys), Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while not choice.is_over:
                choice = settled(choice, ids_of(now.tree))
                _draw(live, before, now, choice, settings)
                due_s = now.at_s + REFRESH_S
                if typed := _typed(keys, within_s=due_s - time.monotonic()):
                    for key in keys_in(typed):
                        choice = pressed(choice, key, ids_of(now.tree))
                if time.monotonic() >= due_s:
                    before, now = now, _look_again(app, now)
        except KeyboardInterrupt:
            return


def _look_again(app: str, known: Look) -> Look:
    try:
        return look_at(app)
    except AppNotRunning:
        return Look(at_s=time.monotonic(), about={**known.about, "state": "ended", "started_at": None})
    except (TooLate, ControlError) as error:
        return replace(known, at_s=time.monotonic(), note=str(error))


def _draw(live: Live, before: Look | None, now: Look, choice: Choice, settings: Settings) -> None:
    console = live.console
    if choice.is_open:
        live.update(
            top_views.why_frame(_why(settings, choice.agent), rows=console.height, console=console), refresh=True
        )
    else:
        live.update(top_views.frame(before, now, choice, at=datetime.now(UTC), rows=console.height), refresh=True)


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


def _typed(keys: int, *, within_s: float) -> bytes:
    ready, _, _ = select.select([keys], [], [], max(0.0, within_s))
    return os.read(keys, TYPED_BYTES) if ready else b""
