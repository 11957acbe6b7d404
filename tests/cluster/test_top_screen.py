"""`regrow top` in a terminal of its own, with real keys, and into a pipe; the app is one of this process."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from regrow.actors import Agent, on
from regrow.cluster.app import App, Running
from regrow.cluster.config import Settings
from regrow.cluster.control import ControlSocket
from regrow.runtime import Message
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


@pytest.fixture
async def running(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Running]:
    settings = Settings(data_dir=tmp_path / "data")
    async with (
        ControlSocket("desk", engine="inline", request_stop=lambda: None) as control,
        DESK.start(engine="inline", settings=settings) as app,
    ):
        control.attach(app)
        yield app


class Terminal:
    """A terminal with `regrow top` in it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._main, end = pty.openpty()
        os.set_blocking(self._main, False)
        self.program = subprocess.Popen([*COMMAND, "desk"], stdin=end, stdout=end, stderr=end, env=environment)
        os.close(end)
        self._shown = ""

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
