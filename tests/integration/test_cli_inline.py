"""The command line as people use it: real processes, on the inline engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.shells import LIMIT_S, REGROW, RUNS, Program, Run, Shell, a_shell

pytestmark = pytest.mark.slow

HELLO = """\
from regrow import App, agent


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


app = App("hello", greet)

if __name__ == "__main__":
    print(app.ask(greet, "world"))
"""

TROUBLE = """\
import asyncio
import threading

from regrow import Agent, App, Supervisor, agent, child


@agent
async def fail(why: str) -> str:
    raise ValueError(why)


@agent
def block(text: str) -> str:
    print("blocked", flush=True)
    threading.Event().wait()
    return text


class Slow(Agent):
    async def started(self, ctx):
        print("is starting", flush=True)
        await asyncio.Event().wait()


weak = App("weak", Supervisor(max_restarts=0, children=[child(fail)]))
stuck = App("stuck", Supervisor(children=[child(block, shutdown_s=0.1)]))
slow = App("slow", Slow)
"""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with a_shell(tmp_path, {"hello.py": HELLO, "trouble.py": TROUBLE}) as made:
        yield made


@pytest.fixture
def runs(shell: Shell) -> Iterator[list[Run]]:
    """What is put into this list is killed at the end."""
    started: list[Run] = []
    yield started
    for run in started:
        run.kill()


@pytest.fixture
def hello(shell: Shell, runs: list[Run]) -> Run:
    """The hello app, running."""
    run = Run(shell, "hello:app")
    runs.append(run)
    run.err.wait(RUNS)
    return run


def test_a_plain_program_prints_its_answer_and_nothing_else(shell: Shell) -> None:
    done = shell.python("hello.py")

    assert (done.returncode, done.stdout, done.stderr) == (0, "hello world\n", "")


def test_run_ps_ask_stop(shell: Shell, hello: Run) -> None:
    (seen,) = shell.json("ps")
    (root,) = seen["tree"]
    assert (seen["app"], seen["engine"], seen["pid"], seen["state"]) == (
        "hello",
        "inline",
        hello.process.pid,
        "running",
    )
    assert (root["id"], root["state"], root["children"][0]["id"]) == ("hello", "running", "hello/greet")

    asked = shell.regrow("ask", "hello/greet", "world")
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "hello world\n", "")
    assert shell.json("ask", "hello/greet", '{"name": "you"}')["reply"] == "hello you"

    stopped = shell.json("stop", "hello")
    code, out, err = hello.wait_end()
    assert stopped["reason"]["kind"] == "shutdown"
    assert (code, out) == (0, "")
    assert "hello ended: Shutdown" in err
    assert shell.json("ps") == []


def test_the_tree_is_shown_once_it_runs(shell: Shell, runs: list[Run]) -> None:
    runs.append(Run(shell, "hello:app", "--engine", "inline"))

    lines = runs[0].err.wait(RUNS)

    assert lines[0] == f"regrow: hello runs on inline, as process {runs[0].process.pid}\n"
    assert [line.split()[:3] for line in lines[2:4]] == [["hello", "running", "0"], ["└─", "greet", "running"]]
    assert shell.regrow("stop", "hello").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_in_order(shell: Shell, hello: Run, number: signal.Signals) -> None:
    hello.process.send_signal(number)
    hello.err.wait("stopping in order")

    code, _, err = hello.wait_end()

    assert code == 0
    assert "hello ended: Shutdown" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_it_runs_undoes_the_start(shell: Shell, runs: list[Run], number: signal.Signals) -> None:
    runs.append(Run(shell, "trouble:slow"))
    runs[0].out.wait("is starting")
    assert shell.json("ps", "slow")["state"] == "starting"

    runs[0].process.send_signal(number)
    code, _, err = runs[0].wait_end()

    assert code == 128 + number
    assert "stopped before it ran" in err
    assert "Traceback" not in err


def test_stop_undoes_a_start_that_takes_for_ever(shell: Shell, runs: list[Run]) -> None:
    runs.append(Run(shell, "trouble:slow"))
    runs[0].out.wait("is starting")

    assert "stopped before it ran" in shell.json("stop", "slow")["text"]

    assert runs[0].wait_end()[0] == 0


def test_a_root_that_gives_up_is_code_1_and_one_json_value(shell: Shell, runs: list[Run]) -> None:
    runs.append(Run(shell, "trouble:weak", "--json"))
    runs[0].err.wait(RUNS)

    asked = shell.regrow("ask", "weak/fail", "no luck")
    code, out, err = runs[0].wait_end()

    assert asked.returncode == 2
    assert "died handling fail.Request (ValueError: no luck at trouble.py:9)" in asked.stderr
    assert code == 1
    assert json.loads(out)["reason"]["kind"] == "escalated"
    assert "weak ended: Escalated" in err


def test_a_second_run_of_the_same_app_is_refused_and_harms_nothing(shell: Shell, hello: Run) -> None:
    second = shell.regrow("run", "hello:app")

    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr.count("\n") == 1
    assert f"already running here (process {hello.process.pid})" in second.stderr
    assert shell.regrow("ask", "hello/greet", "you").stdout == "hello you\n"
    assert shell.regrow("stop", "hello").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("ps",), 0, "no app is running here; start one with: regrow run MODULE:APP"),
        (("ps", "hello"), 2, "no app 'hello' is running here; start it with: regrow run MODULE:APP"),
        (("stop", "hello"), 2, "no app 'hello' is running here; start it with: regrow run MODULE:APP"),
        (("ask", "hello/greet", "x"), 2, "no app 'hello' is running here; start it with: regrow run MODULE:APP"),
    ],
)
def test_the_socket_of_a_killed_app_is_removed_silently(
    shell: Shell, hello: Run, arguments: tuple[str, ...], code: int, told: str
) -> None:
    hello.kill()
    assert shell.sockets() == ["hello.sock"]

    done = shell.regrow(*arguments)

    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"regrow: {told}\n")
    assert shell.sockets() == []


def test_a_killed_app_runs_again_as_if_nothing_had_been(shell: Shell, hello: Run, runs: list[Run]) -> None:
    hello.kill()
    again = Run(shell, "hello:app")
    runs.append(again)

    lines = again.err.wait(RUNS)

    assert lines[0] == f"regrow: hello runs on inline, as process {again.process.pid}\n"
    assert shell.regrow("stop", "hello").returncode == 0


def test_a_handler_that_never_returns_does_not_hold_up_the_end(shell: Shell, runs: list[Run]) -> None:
    runs.append(Run(shell, "trouble:stuck"))
    runs[0].err.wait(RUNS)
    asking = Program(shell, "-c", REGROW, "ask", "stuck/block", "x")
    runs[0].out.wait("blocked")

    runs[0].process.send_signal(signal.SIGTERM)
    code, out, err = runs[0].wait_end()
    asked, _, _ = asking.wait_end()

    assert (asked, code, out) == (2, 0, "blocked\n")
    assert err.endswith("regrow: stuck ended: Shutdown (interrupted)\n")


def test_a_new_app_runs_and_passes_its_test(shell: Shell) -> None:
    assert shell.regrow("new", "shop").returncode == 0
    shop = Shell(shell.folder / "shop", shell.env)

    ran = shop.python("shop.py")
    tested = shop.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "hello world\n", "")
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout


def test_a_reader_that_has_seen_enough_is_no_error(shell: Shell) -> None:
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run(
        [sys.executable, "-c", REGROW, "ps", "--json"],
        cwd=shell.folder,
        env=shell.env,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    os.close(write)

    assert (done.returncode, done.stderr) == (0, "")


def test_doctor_looks_at_this_machine(shell: Shell) -> None:
    told = json.loads(shell.regrow("doctor", "--json").stdout)

    assert {"Python", "packages", "ray", "Redis", "config", "ports"} <= {each["subject"] for each in told["findings"]}
