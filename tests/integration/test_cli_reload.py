"""`regrow run --reload` as people use it: a real process whose files are changed under it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration import shells
from tests.integration.shells import RUNS, Run, a_shell

pytestmark = [pytest.mark.slow, pytest.mark.program]

RAY_LIMIT_S = 240.0
"""A Ray of its own, and a start anew of the app, on a busy machine."""

SHOP = """\
from pydantic import BaseModel

from regrow import App, DurableAgent, Request, Supervisor, agent, child, on


class Count(Request[int]):
    pass


class Tally(BaseModel):
    count: int = 0


class Counter(DurableAgent[Tally]):
    @on
    async def count(self, request: Count) -> int:
        self.state.count += 1
        return self.state.count


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


app = App("shop", Supervisor(children=[child(Counter, id="counter"), child(greet, id="greet")]), journal="memory")
"""


def write(folder: Path, code: str) -> None:
    """Puts other code in the place of that of the shop, of which nobody ever reads a half."""
    new = folder / "shop.py.new"
    new.write_text(code, "utf-8")
    new.replace(folder / "shop.py")


@pytest.mark.parametrize("engine", ["inline", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.again])])
def test_a_running_app_takes_new_code_and_keeps_what_its_durable_agents_know(
    engine: str, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "ray":
        monkeypatch.setattr(shells, "LIMIT_S", RAY_LIMIT_S)
    with a_shell(tmp_path, {"shop.py": SHOP}) as made:
        shell = replace(made, env={**made.env, "RAY_TMPDIR": str(root)})
        run = Run(shell, "shop:app", "--engine", engine, "--reload")
        try:
            run.err.wait(RUNS)
            assert shell.json("ask", "shop/counter", "{}")["reply"] == 1

            write(tmp_path, SHOP.replace("hello {", "welcome, {"))
            run.err.wait("new code: shop/counter" if engine == "inline" else "it runs, started anew")
            assert shell.json("ask", "shop/greet", "ada")["reply"] == "welcome, ada"
            assert shell.json("ask", "shop/counter", "{}")["reply"] == 2

            write(tmp_path, SHOP + "oops(\n")
            assert "SyntaxError" in run.err.wait("the code before goes on")[-1]
            assert shell.json("ask", "shop/greet", "ada")["reply"] == "welcome, ada"

            assert shell.regrow("stop", "shop").returncode == 0
            code, _, err = run.wait_end()
            assert (code, "Traceback" in err) == (0, False), err
        finally:
            run.kill()
