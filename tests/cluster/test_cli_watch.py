"""`regrow ps --watch` of a real app in this process: a frame for each change, an end that is told, Ctrl-C as way out.

The view runs in a thread, as it runs in a process of its own; the app and its control socket are served by the test's
loop. Whatever happens to the app happens between two looks, so no test waits for a time.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from regrow.actors import agent
from regrow.cluster import cli_calls
from regrow.cluster.app import App, Running
from regrow.cluster.cli_watch import ChangingScreen, LiveScreen, Screen, screen_for, watch
from regrow.cluster.config import Settings
from regrow.cluster.control import CONNECTIONS_LIMIT, ControlSocket
from regrow.cluster.control_client import socket_path
from regrow.cluster.errors import AppNotRunning
from regrow.cluster.views import tree_table
from tests.cluster.test_cli import AGENT, ROOT
from tests.integration.waiting import until


@agent
async def clerk(name: str) -> str:
    return f"hello {name}"


DESK = App("desk", clerk)

Step = Callable[[], Coroutine[Any, Any, None]]
"""What happens between two looks."""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A runtime folder of the test's own; short, since a socket's path has a limit."""
    with tempfile.TemporaryDirectory(prefix="rg") as short:
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        yield


class Desk:
    """The app, that starts and ends when it is told to."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._running: Running | None = None
        self._crowd: list[socket.socket] = []

    async def open(self) -> None:
        """Starts it."""
        control = ControlSocket("desk", engine="inline", request_stop=lambda: None)
        await self._stack.enter_async_context(control)
        self._running = await self._stack.enter_async_context(
            DESK.start(engine="inline", settings=Settings.model_construct())
        )
        control.attach(self._running)

    async def nothing(self) -> None:
        """Lets it be as it is."""

    async def change(self) -> None:
        """Stops its one agent."""
        assert self._running is not None
        await self._running.stop_child("clerk")

    async def crowd(self) -> None:
        """Takes all places at its control socket, so that nobody else is answered."""
        for _ in range(CONNECTIONS_LIMIT):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, os.fspath(socket_path("desk")))
            self._crowd.append(connection)
        await until(_is_refused, "all places are taken")

    async def scatter(self) -> None:
        """Leaves them again."""
        self._leave()
        await until(_is_answered, "the places are free again")

    async def end(self) -> None:
        """Stops it, if it runs."""
        self._leave()
        await self._stack.aclose()

    def _leave(self) -> None:
        while self._crowd:
            self._crowd.pop().close()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """An app that does not run yet."""
    made = Desk()
    yield made
    await made.end()


async def watched(screen: Screen, app: str | None, *steps: Step) -> None:
    """Has the app watched; after each look comes a step, and after the last one somebody presses Ctrl-C."""
    loop, left = asyncio.get_running_loop(), iter(steps)

    def wait(_: float) -> None:
        step = next(left, None)
        if step is None:
            raise KeyboardInterrupt
        asyncio.run_coroutine_threadsafe(step(), loop).result()

    await asyncio.to_thread(watch, app, screen, wait=wait)


async def lines(*steps: Step, app: str | None = "desk", as_json: bool = False) -> str:
    """What the watch writes into a file or pipe."""
    to = io.StringIO()
    await watched(ChangingScreen(to, one_app=app is not None, as_json=as_json), app, *steps)
    return to.getvalue()


async def seen() -> dict[str, Any] | None:
    """The app as any verb of the command line sees it."""
    return await asyncio.to_thread(cli_calls.seen_anyway, "desk", os.getpid())


async def _is_refused() -> bool:
    app = await seen()
    return app is not None and "as many as it can" in app.get("note", "")


async def _is_answered() -> bool:
    app = await seen()
    return app is not None and app["state"] == "running"


async def test_a_frame_is_printed_for_each_change_and_none_for_a_look_without_one(desk: Desk) -> None:
    await desk.open()

    frames = (await lines(desk.nothing, desk.change, desk.nothing, desk.nothing)).split("\n\n")

    assert len(frames) == 2
    assert [frame.splitlines()[1].split(" · ")[:3] for frame in frames] == [
        ["desk", "inline", f"pid {os.getpid()}"]
    ] * 2
    assert [frame.splitlines()[-1].split()[:3] for frame in frames] == [
        ["└─", "clerk", "running"],
        ["└─", "clerk", "stopped"],
    ]


async def test_as_json_each_frame_is_one_line_and_the_last_says_that_the_app_has_ended(desk: Desk) -> None:
    await desk.open()
    before = await seen()

    written = await lines(desk.nothing, desk.change, desk.end, as_json=True)

    first, second, last = map(json.loads, written.splitlines())
    assert first == before
    assert second["tree"][0]["children"][0]["state"] == "stopped"
    assert (last["app"], last["state"], last["tree"]) == ("desk", "ended", [])


async def test_the_end_of_the_app_ends_the_watch_and_is_told(desk: Desk) -> None:
    await desk.open()

    written = await lines(desk.end, desk.open)  # the second is never reached

    assert written.splitlines()[-1] == f"desk · inline · pid {os.getpid()} · ended"
    assert await seen() is None


async def test_an_app_that_does_not_answer_is_shown_as_such_and_watched_on(desk: Desk) -> None:
    await desk.open()

    frames = (await lines(desk.crowd, desk.scatter)).split("\n\n")

    state, note = frames[1].splitlines()[1:]
    assert state == f"desk · pid {os.getpid()} · no answer"
    assert note.startswith("desk answers as many as it can")
    assert "running" in frames[2]


async def test_an_app_that_ends_after_it_gave_no_answer_is_told_as_ended_and_nothing_else(desk: Desk) -> None:
    await desk.open()

    frames = (await lines(desk.crowd, desk.end)).split("\n\n")

    assert "no answer" in frames[1]
    assert frames[2].splitlines()[1:] == [f"desk · pid {os.getpid()} · ended"]


async def test_an_app_that_never_was_is_an_error_and_no_watch() -> None:
    with pytest.raises(AppNotRunning):
        await lines()


async def test_a_watch_of_all_apps_tells_which_ended_and_goes_on(desk: Desk) -> None:
    written = await lines(desk.open, desk.end, desk.nothing, app=None, as_json=True)

    none, one, ended = map(json.loads, written.splitlines())
    assert none == []
    assert [each["state"] for each in one] == ["running"]
    assert [(each["app"], each["state"]) for each in ended] == [("desk", "ended")]


async def test_on_a_terminal_the_last_frame_stays(desk: Desk) -> None:
    await desk.open()
    to = io.StringIO()

    with Live(console=Console(file=to, force_terminal=True, width=100), auto_refresh=False) as live:
        await watched(LiveScreen(live, one_app=True), "desk", desk.end)

    shown = to.getvalue()
    assert "Ctrl-C ends this view" in shown
    assert shown.rindex("· ended") > shown.rindex("Ctrl-C")
    assert shown.endswith("\x1b[?25h")  # the cursor is back


def test_what_is_no_terminal_gets_lines() -> None:
    with screen_for(io.StringIO(), one_app=True, as_json=False) as screen:
        assert isinstance(screen, ChangingScreen)


def test_on_a_narrow_terminal_a_long_reason_is_cut_and_nothing_else() -> None:
    agent = {**AGENT, "last_reason": "ValueError: " + "much text " * 50}
    to = io.StringIO()

    Console(file=to, force_terminal=True, width=80, color_system=None).print(
        tree_table([{**ROOT, "children": [agent]}])
    )

    _, _, line = to.getvalue().splitlines()
    assert line.startswith("└─ clerk  restarting")
    assert " 42  node-a  ValueError: much" in line
    assert line.rstrip().endswith("…")
