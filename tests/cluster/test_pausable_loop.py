"""A debugger that has the process stops the clock of asks; a notebook's loop runs an app inline."""

from __future__ import annotations

import ast
import asyncio
import bdb
import inspect
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

from regrow import Agent, App, Request, Supervisor, child, on
from regrow.cluster import cli_calls
from regrow.cluster.control import ControlSocket
from regrow.cluster.pausable_loop import run_pausable
from regrow.runtime import RegrowError

PROGRAM = """\
import asyncio
import sys

from regrow import Agent, App, AskTimeout, Request, on


class Think(Request[str]):
    pass


class Thinker(Agent):
    @on
    async def think(self, request: Think) -> str:
        LOOK
        await asyncio.sleep(0.05)
        return "thought"


app = App("thoughts", Thinker)

if __name__ == "__main__":
    try:
        print(app.ask("thinker", Think(), timeout_s=2.0))
    except AskTimeout:
        print("too late")
"""

LOOKS_FOR_LONG = "import time; time.sleep(3)\ncontinue\n"
"""What a person types into the debugger, whose thinking is simulated."""


def said(folder: Path, program: str, typed: str = "") -> str:
    (folder / "thoughts.py").write_text(program, "utf-8")
    done = subprocess.run(
        [sys.executable, "thoughts.py"],
        check=True,
        cwd=folder,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.program
def test_an_ask_does_not_time_out_while_a_debugger_has_the_process(tmp_path: Path) -> None:
    output = said(tmp_path, PROGRAM.replace("LOOK", "breakpoint()"), LOOKS_FOR_LONG)

    assert "(Pdb)" in output, "the debugger was there"
    assert "think" in output.splitlines()[0] + output.splitlines()[1], "and stood in the handler"
    assert output.rstrip().endswith("thought")


@pytest.mark.slow
@pytest.mark.program
def test_code_that_blocks_without_a_debugger_is_late(tmp_path: Path) -> None:
    assert said(tmp_path, PROGRAM.replace("LOOK", "__import__('time').sleep(3)")) == "too late\n"


@pytest.mark.slow
@pytest.mark.program
def test_time_stands_while_a_debugger_has_the_thread_of_a_handler(tmp_path: Path) -> None:
    in_thread = PROGRAM.replace("    async def think", "    def think").replace(
        "        await asyncio.sleep(0.05)\n", ""
    )

    output = said(tmp_path, in_thread.replace("LOOK", "breakpoint()"), LOOKS_FOR_LONG)

    assert "(Pdb)" in output, "the debugger was there"
    assert output.rstrip().endswith("thought")


@pytest.mark.slow
@pytest.mark.program
def test_code_that_blocks_is_late_where_a_debugger_is_only_loaded(tmp_path: Path) -> None:
    blocks = PROGRAM.replace("import asyncio\n", "import asyncio\nimport bdb\n")

    assert said(tmp_path, blocks.replace("LOOK", "__import__('time').sleep(3)")) == "too late\n"


class Think(Request[str]):
    pass


LOOKED_AT_S, PATIENCE_S = 3.0, 2.0


class Person(bdb.Bdb):
    """Looks at a line for so long."""

    def user_line(self, frame: types.FrameType) -> None:
        threading.Event().wait(LOOKED_AT_S)
        self.set_continue()


class LookedAt(Agent):
    @on
    async def think(self, request: Think) -> str:
        before = sys.gettrace()
        Person().runcall(lambda: None)
        sys.settrace(before)
        return "thought"


@pytest.mark.slow
@pytest.mark.heavy
def test_who_asks_from_another_terminal_waits_while_a_debugger_has_the_app(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(cli_calls, "ANSWER_MARGIN_S", 0.0)
    app = App("looked", Supervisor(children=[child(LookedAt, id="at")]))

    def ask() -> object:
        return cli_calls.asked("looked/at", [], type_name="", timeout_s=PATIENCE_S)["reply"]

    async def main() -> object:
        async with ControlSocket("looked", engine="inline", request_stop=lambda: None) as control:
            async with app.start(engine="inline") as running:
                control.attach(running)
                return await asyncio.to_thread(ask)

    assert run_pausable(main()) == "thought"


CELLS = (
    """
from regrow import Agent, App, Request, Supervisor, child, on

class Add(Request[int]):
    number: int

class Sum(Agent):
    def __init__(self) -> None:
        self.sum = 0

    @on
    async def add(self, request: Add) -> int:
        self.sum += request.number
        return self.sum

app = App("sums", Supervisor(children=[child(Sum, id="sum")]))
""",
    "running = await app.start()",
    "first = await running.ref(Sum).ask(Add(number=2))",
    "second = await running.ref('sum').ask(Add(number=3))\nkilled = (await running.kill('sum')).state",
    "third = await running.ref('sum').ask(Add(number=4))",
    "await running.stop()",
)


def test_a_notebook_runs_an_app_inline_from_cell_to_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cells are compiled and run as IPython does it: in one module without a file, each awaited on one loop."""
    monkeypatch.chdir(tmp_path)
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    namespace: dict[str, Any] = vars(notebook)
    loop = asyncio.new_event_loop()
    try:
        for number, cell in enumerate(CELLS):
            code = compile(cell, f"<cell {number}>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, namespace)
            if inspect.iscoroutine(result):
                loop.run_until_complete(result)
    finally:
        loop.close()

    assert [namespace[name] for name in ("first", "second", "killed", "third")] == [2, 5, "running", 4]


def test_a_cell_that_was_run_again_is_told_what_happened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    exec(CELLS[0], vars(notebook))

    async def main() -> None:
        async with notebook.app.start() as running:
            exec(CELLS[0], vars(notebook))
            with pytest.raises(RegrowError, match="cell was run again since; stop the app and start it again"):
                await running.ref("sum").ask(notebook.Add(number=1))

    asyncio.run(main())
