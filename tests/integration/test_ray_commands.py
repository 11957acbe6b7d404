"""What the guide "Let it crash" has people type in a second terminal, typed against its example on Ray."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.integration.belongings import alive
from tests.integration.shells import REGROW, RUNS, Program, Run, Shell, a_shell
from tests.integration.test_examples import EXAMPLES, GUIDE, blocks
from tests.integration.waiting import until_now

pytestmark = [pytest.mark.slow, pytest.mark.ray]

SAYS_OF_A_KILL = re.compile(r"It says what came of it, `([^`]+)`")
"""The sentence of the guide that shows what `regrow kill` prints."""

TOO_OFTEN = 3
"""So many kills in a minute, says the guide, and `payments` escalates."""

Lives = dict[str, int]


@pytest.fixture
def shell(local_ray: Path, tmp_path: Path) -> Iterator[Shell]:
    """A terminal in the folder of the examples, for a Ray that runs already."""
    with a_shell(tmp_path, {}) as made:
        joins = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "RAY_AUTH_MODE": "token"}
        yield replace(made, folder=EXAMPLES, env={**made.env, **joins, "REGROW_DATA_DIR": str(tmp_path / "data")})


@pytest.fixture
def started() -> Iterator[list[Program]]:
    """What is put into this list is killed at the end."""
    programs: list[Program] = []
    yield programs
    for program in programs:
        program.kill()


@pytest.mark.again
@pytest.mark.usefixtures("alone")
def test_the_commands_of_the_guide_do_on_ray_what_it_says_of_them(shell: Shell, started: list[Program]) -> None:
    run, tree, watch, kill, restart, letters, stop = _typed()
    app = Run(shell, *run[1:])
    started.append(app)
    app.err.wait(RUNS)
    watching = Program(shell, "-c", REGROW, *watch)
    started.append(watching)
    watching.out.wait("shop · ray")

    drawn = shell.regrow(*tree)
    before = _settled(shell)
    killed = shell.regrow(*kill)
    after = _settled(shell)

    assert "payments  permanent · rest_for_one, 2 in 60 s" in drawn.stdout
    assert _without_numbers(killed.stdout) == _without_numbers(_said_of_a_kill()), killed.stderr
    old, new = re.findall(r"pid (\d+)", killed.stdout)
    assert old != new and not alive(int(old)), "SIGKILL to its process"
    assert _grown(before, after) == {"shop/payments/session", "shop/payments/cashier"}, "rest_for_one at work"
    watching.out.wait("Killed")

    for _ in range(TOO_OFTEN - 1):
        assert shell.regrow(*kill).returncode == 0
    before, after = after, _settled(shell)
    assert _grown(before, after) == {"shop/payments", "shop/payments/session", "shop/payments/cashier"}

    restarted = shell.regrow(*restart)
    before, after = after, _settled(shell)
    assert re.match(r"shop/payments was stopped \(#\d+.*\) and runs again after .*: #\d+", restarted.stdout)
    assert _grown(before, after) == {"shop/payments", "shop/payments/session", "shop/payments/cashier"}
    assert shell.regrow(*letters).stdout == "shop has no dead letters: every message was handled\n"

    assert shell.regrow(*stop).returncode == 0
    code, out, err = watching.wait_end()
    assert (code, err) == (0, "")
    assert out.splitlines()[-1].endswith("· ended")
    assert app.wait_end()[0] == 0


def _typed() -> list[list[str]]:
    """The arguments of each `regrow` in the guide, in order, without what is said of it."""
    lines = [line for block in blocks(GUIDE, "console") for line in block.splitlines()]
    commands = [shlex.split(line.rpartition("&& ")[2], comments=True) for line in lines]
    return [arguments for name, *arguments in commands if name == "regrow"]


def _said_of_a_kill() -> str:
    (said,) = SAYS_OF_A_KILL.findall(GUIDE.read_text("utf-8"))
    return f"{' '.join(said.split())}\n"


def _without_numbers(sentence: str) -> str:
    """Lives, pids and times are others each time."""
    return re.sub(r"[\d.]+ (ms|s)\b", "N ms", re.sub(r"(#|pid )\d+", r"\1N", sentence))


def _settled(shell: Shell) -> Lives:
    """The incarnation of everybody, once all run; a restart of several may still be under way."""

    def look() -> Lives | None:
        (root,) = shell.json("tree", "shop")
        nodes = list(_walk(root))
        if len(nodes) < 6 or any(node["state"] != "running" for node in nodes):
            return None
        return {node["id"]: node["incarnation"] for node in nodes}

    return until_now(look, "everybody runs")


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node["children"]:
        yield from _walk(child)


def _grown(before: Lives, after: Lives) -> set[str]:
    """Who has a new life."""
    assert before.keys() == after.keys()
    return {id for id in after if after[id] > before[id]}
