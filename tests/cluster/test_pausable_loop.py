"""A debugger that has the process stops the clock of asks; a notebook's loop runs an app inline."""

from __future__ import annotations

import ast
import asyncio
import inspect
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

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
        print(app.ask("thinker", Think(), timeout_s=0.5))
    except AskTimeout:
        print("too late")
"""

LOOKS_FOR_LONG = "import time; time.sleep(1.5)\ncontinue\n"
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
    assert said(tmp_path, PROGRAM.replace("LOOK", "__import__('time').sleep(1.5)")) == "too late\n"


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
