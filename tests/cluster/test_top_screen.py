"""`regrow top` in a terminal of its own, with real keys, and into a pipe; the app is one of this process."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from regrow.actors import Agent, on
from regrow.cluster.app import App, Running
from regrow.cluster.config import Settings
from regrow.cluster.control import ControlSocket
from regrow.cluster.control_client import TREE_TIMEOUT_S
from regrow.cluster.top_lookout import Lookout
from regrow.runtime import Closed, Message
from regrow.supervisors import Supervisor, child
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.program]

COMMAND = (sys.executable, "-c", "from regrow.cluster.entry import main; main()", "top")


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
    async with (
        ControlSocket("desk", engine="inline", request_stop=lambda: None) as control,
        DESK.start(engine="inline", settings=Settings(data_dir=folder / "data")) as app,
    ):
        control.attach(app)
        yield app


@pytest.fixture
async def running(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Running]:
    async with desk(tmp_path) as app:
        yield app


class Terminal:
    """A terminal with `regrow top` in it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._main, end = pty.openpty()
        self.size(rows=24, columns=80)
        os.set_blocking(self._main, False)
        self.program = subprocess.Popen([*COMMAND, "desk"], stdin=end, stdout=end, stderr=end, env=environment)
        os.close(end)
        self._shown = ""

    def size(self, *, rows: int, columns: int) -> None:
        """Somebody draws the window larger or smaller."""
        termios.tcsetwinsize(self._main, (rows, columns))

    def press(self, keys: str) -> None:
        """Somebody presses these; what was shown before is forgotten."""
        self._shown = ""
        os.write(self._main, keys.encode())

    async def shows(self, *texts: str) -> None:
        """Waits until all this has been shown since the last key."""
        await until(lambda: all(text in self._read() for text in texts), f"{texts} is shown", within_s=30)

    async def ended(self) -> int:
        """Waits for the end of the program; its exit code."""
        await until(lambda: self._read() is not None and self.program.poll() is not None, "it ends", within_s=30)
        return self.program.returncode

    @property
    def shown(self) -> str:
        """What was shown since the last key."""
        return self._read()

    def close(self) -> None:
        self.program.kill()
        self.program.wait()
        os.close(self._main)

    def _read(self) -> str:
        try:
            self._shown += os.read(self._main, 100_000).decode(errors="replace")
        except (BlockingIOError, OSError):  # nothing new, or the program has ended
            pass
        return self._shown


async def test_keys_choose_an_agent_open_its_why_go_back_and_end(running: Running, environment: dict[str, str]) -> None:
    await running.ref(Clerk).tell(Fall())
    terminal = Terminal(environment)
    try:
        await terminal.shows("steady", "clerk", "messages/s", "q end")
        terminal.press("\x1b[B")
        await terminal.shows("clerk")
        terminal.press("\r")
        await terminal.shows("desk/clerk", "what to do next", "ValueError: it fell", "Esc back")
        terminal.press("\x1b")
        await terminal.shows("steady", "messages/s")
        terminal.press("q")
        assert await terminal.ended() == 0
        assert "\x1b[?1049l" in terminal.shown  # the screen of before is back
    finally:
        terminal.close()


async def test_keys_are_heard_while_the_app_does_not_answer(
    running: Running, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, over = asyncio.Event(), asyncio.Event()

    async def never() -> None:
        asked.set()
        await over.wait()
        raise Closed("the test is over")

    terminal = Terminal(environment)
    try:
        await terminal.shows("clerk", "q end")
        monkeypatch.setattr(running.engine, "trees", never)
        await asked.wait()
        asked_s = time.monotonic()
        terminal.press("\x1b[Bj\x1b[5~q")

        assert await terminal.ended() == 0
        assert time.monotonic() - asked_s < TREE_TIMEOUT_S / 2
    finally:
        over.set()
        terminal.close()


async def test_a_window_of_another_size_is_filled_at_once(running: Running, environment: dict[str, str]) -> None:
    terminal = Terminal({name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")})
    try:
        await terminal.shows("messages/s", "q end")
        assert "node" not in terminal.shown  # there is no room for it in 80 columns
        terminal.size(rows=40, columns=140)
        terminal.program.send_signal(signal.SIGWINCH)
        await terminal.shows("node")
    finally:
        terminal.close()


async def test_an_app_that_ends_is_shown_as_ended_and_when_it_is_back_as_running(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with desk(tmp_path):
        terminal = Terminal(environment)
        await terminal.shows("clerk", "q end")
    try:
        await terminal.shows("desk · inline", "ended")
        terminal.press("?")
        async with desk(tmp_path):
            await terminal.shows("running for", "clerk")
            terminal.press("q")
            assert await terminal.ended() == 0
    finally:
        terminal.close()


async def test_without_colours_it_has_none(running: Running, environment: dict[str, str]) -> None:
    terminal = Terminal({**environment, "NO_COLOR": "1"})
    try:
        await terminal.shows("clerk", "q end")
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.shown)
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
