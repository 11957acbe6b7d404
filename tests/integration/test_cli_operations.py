"""Looks at and orders for a running app, as people give them: real processes, on the inline engine."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.shells import LIMIT_S, REGROW, RUNS, Program, Run, Shell, a_shell

pytestmark = pytest.mark.slow

SHOP = """\
from regrow import App, Supervisor, agent, child


@agent
async def greet(name: str) -> str:
    return f"hello {name}"




payments = Supervisor(strategy="rest_for_one", children=[child(greet, id="session"), child(greet, id="cashier")])
app = App("shop", Supervisor(children=[child(payments, id="payments"), child(greet, id="once", restart="temporary")]))
frail = App("frail", Supervisor(max_restarts=0, children=[child(greet)]))
"""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with a_shell(tmp_path, {"shop.py": SHOP}) as made:
        yield made


@pytest.fixture
def started(shell: Shell) -> Iterator[list[Program]]:
    """What is put into this list is killed at the end."""
    programs: list[Program] = []
    yield programs
    for program in programs:
        program.kill()


def run(shell: Shell, started: list[Program], target: str) -> Program:
    app = Run(shell, target)
    started.append(app)
    app.err.wait(RUNS)
    return app


@pytest.fixture
def shop(shell: Shell, started: list[Program]) -> Program:
    """The shop, running."""
    return run(shell, started, "shop:app")


def test_look_kill_restart_and_look_again(shell: Shell, shop: Program) -> None:
    drawn = shell.regrow("tree", "shop")
    killed = shell.json("kill", "shop/payments/session")
    restarted = shell.regrow("restart", "shop/payments")
    gone = shell.regrow("kill", "shop/once")
    (root,) = shell.json("tree", "shop")
    letters = shell.regrow("dead-letters", "shop")

    assert (
        drawn.stdout.splitlines()[1].rstrip().startswith("├── payments  permanent · rest_for_one, 3 in 5 s · running")
    )
    assert (killed["state"], killed["before"]["pid"]) == ("running", shop.process.pid)
    assert killed["after"]["incarnation"] > killed["before"]["incarnation"]
    assert "shop/payments was stopped (#" in restarted.stdout
    assert "and runs again after" in restarted.stdout
    assert "is not started again: it is temporary" in gone.stdout
    assert [child["id"] for child in root["children"]] == ["shop/payments"]
    assert [done.returncode for done in (drawn, restarted, gone, letters)] == [0, 0, 0, 0]
    assert letters.stdout == "shop has no dead letters: every message was handled\n"
    assert shell.regrow("ask", "shop/payments/cashier", "you").stdout == "hello you\n"
    assert shell.regrow("stop", "shop").returncode == 0


def test_what_can_be_mended_is_one_sentence_and_code_2(shell: Shell, shop: Program) -> None:
    for arguments, told in [
        (("kill", "shop/payments/sesion"), "did you mean shop/payments/session?"),
        (("restart", "shop/once"), "shop/once is temporary"),
        (("kill", "shop"), "write APP/AGENT"),
        (("tree", "shops"), "no app 'shops' is running here, only shop"),
    ]:
        done = shell.regrow(*arguments)

        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
    assert shell.regrow("stop", "shop").returncode == 0


def test_a_kill_that_takes_the_app_along_is_code_1_and_says_so(shell: Shell, started: list[Program]) -> None:
    frail = run(shell, started, "shop:frail")

    done = shell.regrow("kill", "frail/greet")

    assert (done.returncode, done.stderr) == (1, "")
    assert "and the whole app ended with it: Escalated" in done.stdout
    assert frail.wait_end()[0] == 1


def test_a_watch_into_a_pipe_prints_changes_and_ends_with_the_app(
    shell: Shell, shop: Program, started: list[Program]
) -> None:
    lines = Program(shell, "-c", REGROW, "ps", "shop", "--watch", "--json")
    plain = Program(shell, "-c", REGROW, "ps", "shop", "--watch")
    started += [lines, plain]
    lines.out.wait('"state": "running"')
    plain.out.wait("shop · inline")

    shell.regrow("kill", "shop/payments/session")
    lines.out.wait('"last_reason": "Killed')
    plain.out.wait("Killed")
    shell.regrow("stop", "shop")

    code, out, err = lines.wait_end()
    frames = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert (frames[0]["state"], frames[-1]["state"], frames[-1]["tree"]) == ("running", "ended", [])
    code, out, err = plain.wait_end()
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].endswith("· ended")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_a_watch_on_a_terminal_ends_cleanly(shell: Shell, shop: Program, number: signal.Signals, code: int) -> None:
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-c", REGROW, "ps", "--watch"],
        cwd=shell.folder,
        env={**shell.env, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    shown = _read_until(ours, "Ctrl-C ends this view")

    watching.send_signal(number)
    shown += _read_until(ours, None)
    _, err = watching.communicate(timeout=LIMIT_S)
    os.close(ours)

    assert (watching.returncode, err) == (code, "")
    assert "cashier" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor was hidden, and is back
    assert shell.regrow("stop", "shop").returncode == 0


def _read_until(terminal: int, text: str | None) -> str:
    """What comes until it holds a text, or until nobody writes any more."""
    shown = ""
    while text is None or text not in shown:
        try:
            part = os.read(terminal, 65_536).decode(errors="replace")
        except OSError:  # Linux's way of saying that the other side is closed
            break
        shown += part
    return shown
