"""How an observer looks at an app that hangs, whose socket is harmed, or that it can not understand: it goes on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from regrow import App, agent
from regrow.cluster import cli_calls
from regrow.cluster.control import ControlSocket
from regrow.cluster.control_client import socket_path
from regrow.cluster.observer_watch import NOT_RUNNING, Seen, Watch

pytestmark = pytest.mark.slow

PATIENCE_S = 30.0


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the control socket of the app is made."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = socket_path("shop")
    path.parent.mkdir(mode=0o700)
    return path


@asynccontextmanager
async def shop() -> AsyncIterator[None]:
    """The app, running."""
    app = App("shop", greet)
    control = ControlSocket("shop", engine="inline", request_stop=lambda: None)
    async with control, app.start(engine="inline") as running:
        control.attach(running)
        yield


async def seen_as(watch: Watch, state: str) -> Seen:
    """What is seen once the app is in that state."""
    async with asyncio.timeout(PATIENCE_S):
        number = 0
        while (seen := await watch.next(number)) is not None:
            if seen.parts["app"]["state"] == state:
                return seen
            number = seen.number
    raise AssertionError("the watch has ended")


async def test_an_app_that_hung_is_seen_again_however_often_its_page_was_loaded_meanwhile(place: Path) -> None:
    watch = Watch("shop")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place))
        silent.listen()
        for _ in range(20):
            async with watch.watched():
                await asyncio.to_thread(lambda: None)  # so that what has begun runs
        async with watch.watched():
            hung = await seen_as(watch, cli_calls.NO_ANSWER)
    place.unlink(missing_ok=True)  # who looks removes one that nobody serves
    async with watch.watched():
        ended = await seen_as(watch, NOT_RUNNING)
        async with shop():
            seen = await seen_as(watch, "running")

    assert "lets nobody in" in hung.parts["app"]["note"] or "did not answer" in hung.parts["app"]["note"]
    assert "note" not in ended.parts["app"]
    assert seen.forest.agents == 1


async def test_a_socket_that_can_not_be_used_is_told_and_the_app_is_seen_when_it_can(place: Path) -> None:
    watch = Watch("shop")
    place.touch()  # a file where the socket should be

    async with watch.watched():
        hindered = await seen_as(watch, cli_calls.NO_ANSWER)
        place.unlink()
        async with shop():
            await seen_as(watch, "running")
        await seen_as(watch, NOT_RUNNING)

    assert "is not what it should be" in hindered.parts["app"]["note"]


async def test_a_fault_of_ours_ends_the_streams_of_pages_and_the_next_page_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(app: str, pid: int) -> dict[str, Any]:
        raise KeyError("what we have forgotten")

    watch = Watch("shop")
    with monkeypatch.context() as patch:
        patch.setattr(cli_calls, "seen_anyway", broken)
        with pytest.raises(KeyError):
            async with watch.watched():
                await seen_as(watch, "running")

    async with shop(), watch.watched():
        await seen_as(watch, "running")
