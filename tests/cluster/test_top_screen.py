"""`regrow top` in a terminal of its own, with real keys, and into a pipe; the app is one of this process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rich.cells import cell_len

from regrow.actors import Agent, on
from regrow.cluster.app import App, Running
from regrow.cluster.config import Settings
from regrow.cluster.control import ControlSocket
from regrow.cluster.control_client import TREE_TIMEOUT_S
from regrow.cluster.top_lookout import Lookout
from regrow.cluster.tree import Stretch
from regrow.runtime import Closed, Message
from regrow.supervisors import Supervisor, child
from tests.integration.waiting import until
from tests.terminal import COMMAND, TopProgram

pytestmark = [pytest.mark.slow, pytest.mark.program]


class Fall(Message):
    pass


class Clerk(Agent):
    @on
    async def fall(self, message: Fall) -> None:
        raise ValueError("it fell")


class Steady(Agent): ...


DESK = App("desk", Supervisor(children=[child(Steady), child(Clerk)]))


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("REGROW_DATA_DIR", str(tmp_path / "data"))
    return {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}


@asynccontextmanager
async def desk(folder: Path) -> AsyncIterator[Running]:
    """The app, as it can be reached from outside."""
    settings = Settings(data_dir=folder / "data")
    async with (
        ControlSocket("desk", engine="inline", request_stop=lambda: None, settings=settings) as control,
        DESK.start(engine="inline", settings=settings) as app,
    ):
        control.attach(app)
        yield app


@pytest.fixture
async def running(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Running]:
    async with desk(tmp_path) as app:
        yield app


class Terminal(TopProgram):
    """The program with an app of this loop, which goes on while somebody waits."""

    async def shown(self, *texts: str) -> None:
        """Waits until all this has been shown since the last key."""
        await asyncio.to_thread(self.shows, *texts)

    async def drawn_anew(self, *, rows: int, columns: int) -> None:
        """Somebody draws the window smaller or larger, which a terminal tells its program."""
        self.size(rows=rows, columns=columns)
        self.program.send_signal(signal.SIGWINCH)

    async def fits(self, *, rows: int, columns: int, last: str, beside: str) -> None:
        """Waits for a frame of that size whose last line says one thing, and which shows another beside it."""

        def is_so() -> bool:
            lines = [line.rstrip() for line in self.frame()]
            says = [line for line in lines if line]
            is_whole = len(lines) == rows and all(cell_len(line) <= columns for line in lines)
            return is_whole and bool(says) and last in says[-1] and beside in "\n".join(says)

        await until(is_so, f"{rows} rows of {columns} columns with {last!r} and {beside!r}")

    async def ended(self) -> int:
        """Waits for the end of the program; its exit code."""
        await until(lambda: self.read() is not None and self.program.poll() is not None, "it ends", within_s=30)
        return self.program.returncode


def terminal_of(environment: dict[str, str], *, rows: int = 24, columns: int = 80) -> Terminal:
    return Terminal("desk", rows=rows, columns=columns, environment=environment)


async def test_keys_choose_an_agent_open_its_why_go_back_and_end(running: Running, environment: dict[str, str]) -> None:
    await running.ref(Clerk).tell(Fall())
    terminal = terminal_of(environment)
    try:
        await terminal.shown("steady", "clerk", "messages/s", "q end")
        terminal.press("\r")
        await terminal.shown("who died below it", "regrow why desk/clerk", "Esc back")
        terminal.press("\x1b")
        await terminal.shown("clerk")
        terminal.press("\x1b[B\x1b[B")
        await terminal.shown("clerk")
        terminal.press("\r")
        await terminal.shown("desk/clerk", "what to do next", "ValueError: it fell", "Esc back")
        terminal.press("\x1b")
        await terminal.shown("steady", "messages/s")
        terminal.press("q")
        assert await terminal.ended() == 0
        assert "\x1b[?1049l" in terminal.read()  # the screen of before is back
    finally:
        terminal.close()


async def test_keys_are_heard_while_the_app_does_not_answer(
    running: Running, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def never() -> AsyncIterator[Stretch]:
        asked.set()
        await over.wait()
        raise Closed("the test is over")
        yield

    terminal = terminal_of(environment)
    try:
        await terminal.shown("clerk", "q end")
        monkeypatch.setattr(running.engine, "walk", never)
        await asked.wait()
        asked_s = time.monotonic()
        terminal.press("\x1b[Bj\x1b[5~q")

        assert await terminal.ended() == 0
        assert time.monotonic() - asked_s < TREE_TIMEOUT_S - 1.0
    finally:
        over.set()
        terminal.close()


async def test_a_window_of_another_size_is_filled_at_once(running: Running, environment: dict[str, str]) -> None:
    terminal = terminal_of({name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")})
    try:
        await terminal.shown("messages/s", "q end")
        assert "node" not in terminal.read()  # there is no room for it in 80 columns
        terminal.size(rows=40, columns=140)
        terminal.program.send_signal(signal.SIGWINCH)
        await terminal.shown("node")
    finally:
        terminal.close()


async def test_tree_and_why_fit_every_window_also_while_it_is_drawn_smaller_and_larger(
    running: Running, environment: dict[str, str]
) -> None:
    for _ in range(3):
        await running.ref(Clerk).tell(Fall())
    terminal = terminal_of({name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")})
    try:
        await terminal.fits(rows=24, columns=80, last="q end", beside="└─ clerk")
        terminal.press("jj\r")
        await terminal.fits(rows=24, columns=80, last="Esc back", beside="it fell")
        await terminal.drawn_anew(rows=10, columns=50)
        await terminal.fits(rows=10, columns=50, last="Esc back", beside="desk/clerk")
        await terminal.drawn_anew(rows=40, columns=140)
        await terminal.fits(rows=40, columns=140, last="Esc back", beside="what to do next")
        terminal.press("\x1b")
        await terminal.fits(rows=40, columns=140, last="q end", beside="└─ clerk")
    finally:
        terminal.close()


async def test_an_app_that_ends_is_shown_as_ended_and_when_it_is_back_as_running(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with desk(tmp_path):
        terminal = terminal_of(environment)
        await terminal.shown("clerk", "q end")
    try:
        await terminal.shown("desk · inline", "ended")
        terminal.press("?")
        async with desk(tmp_path):
            await terminal.shown("running for", "clerk")
            terminal.press("q")
            assert await terminal.ended() == 0
    finally:
        terminal.close()


async def test_without_colours_it_has_none(running: Running, environment: dict[str, str]) -> None:
    terminal = terminal_of({**environment, "NO_COLOR": "1"})
    try:
        await terminal.shown("clerk", "q end")
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.read())
    finally:
        terminal.close()


# ---- the lookout alone ---------------------------------------------------------------------------


def test_a_terminal_that_is_gone_ends_the_watch() -> None:
    keys, terminal = os.pipe()
    os.close(terminal)

    with Lookout() as lookout:
        assert lookout.typed_or_seen(keys, within_s=30) is None
    os.close(keys)


def test_a_look_that_fails_is_told_where_the_view_is() -> None:
    def look() -> Callable[[], None]:
        raise ValueError("broken")

    keys, terminal = os.pipe()
    with Lookout() as lookout:
        lookout.take(look)
        assert lookout.typed_or_seen(keys, within_s=30) == b""
        with pytest.raises(ValueError, match="broken"):
            lookout.seen()
    os.close(keys)
    os.close(terminal)


async def test_into_a_pipe_it_is_one_frame_and_as_json_one_value(running: Running, environment: dict[str, str]) -> None:
    async def said(*words: str) -> str:
        command = await asyncio.create_subprocess_exec(
            *COMMAND, *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment
        )
        out, _ = await command.communicate()
        assert command.returncode == 0
        return out.decode()

    text, value = await said(), json.loads(await said("desk", "--json"))

    assert text.startswith("desk · inline · pid")
    assert "└─ clerk" in text
    assert "\x1b" not in text
    assert [node["id"] for node in value["tree"][0]["children"]] == ["desk/steady", "desk/clerk"]
    assert value["metrics"]["total"]["agents"] == 2


async def test_without_an_app_it_is_one_sentence(environment: dict[str, str]) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [*COMMAND], check=False, env=environment, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "regrow: no app is running here; start one with: regrow run MODULE:APP\n"
