"""The command line and programs that it did not start: those that call `App.run`, and those that hang."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.integration.shells import REGROW, RUNS, Program, Run, Shell, a_shell
from tests.integration.waiting import until_now

pytestmark = pytest.mark.slow

PROGRAM = """\
import asyncio
import sys
import threading

from regrow import Agent, App, Context, Supervisor, agent, child


class Pupil(Agent):
    async def started(self, ctx: Context) -> None:
        if "hang" in sys.argv:
            print("is starting", flush=True)
            await asyncio.Event().wait()


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


@agent
def block(text: str) -> str:
    print("blocked", flush=True)
    threading.Event().wait()
    return text


class Ready(Agent):
    async def started(self, ctx: Context) -> None:
        print("runs", flush=True)


app = App("program", *([Pupil] if "hang" in sys.argv else [greet, Ready]))
other = App("other", greet)
if "block" in sys.argv:
    app = App("program", Supervisor(children=[child(block, shutdown_s=0.1), child(Ready)]))

if __name__ == "__main__":
    try:
        print("ended:", app.run(engine="inline"), flush=True)
    except KeyboardInterrupt:
        print("KeyboardInterrupt", flush=True)
        raise SystemExit(7) from None
    except SystemExit as error:
        print("SystemExit", error.code, flush=True)
        raise
"""

INTERRUPTED_IMPORT = """\
import os
import signal

os.kill(os.getpid(), signal.SIGINT)
"""
"""Stands for typer, while whose import somebody is quick with Ctrl-C."""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with a_shell(tmp_path, {"program.py": PROGRAM}) as made:
        yield made


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    """What is put into this list is killed at the end."""
    started: list[Program] = []
    yield started
    for program in started:
        program.kill()


@pytest.fixture
def program(shell: Shell, programs: list[Program]) -> Program:
    """The program, with its app running."""
    program = Program(shell, "program.py")
    programs.append(program)
    program.out.wait("runs")
    # The agent says so a moment before the app has started as a whole.
    until_now(lambda: runs(shell), "the app runs")
    return program


def runs(shell: Shell) -> bool:
    """Whether the app runs; one that starts on a busy machine may be too slow to say how it is."""
    return "running" in [seen["state"] for seen in shell.json("ps")]


def test_a_program_that_runs_its_app_is_seen_asked_and_stopped(shell: Shell, program: Program) -> None:
    asked = shell.regrow("ask", "program/greet", "world")
    (seen,) = shell.json("ps")

    stopped = shell.json("stop", "program")
    code, out, err = program.wait_end()

    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "hello world\n", "")
    assert (seen["app"], seen["engine"], seen["pid"]) == ("program", "inline", program.process.pid)
    assert [node["id"] for node in seen["tree"][0]["children"]] == ["program/greet", "program/ready"]
    assert stopped["reason"]["kind"] == "shutdown"
    assert (code, out.splitlines()[-1]) == (0, "ended: Shutdown (interrupted)")
    assert "Traceback" not in err


def test_ctrl_c_ends_a_program_whose_handler_never_returns(shell: Shell, programs: list[Program]) -> None:
    programs.append(Program(shell, "program.py", "block"))
    programs[0].out.wait("runs")
    until_now(lambda: runs(shell), "the app runs")
    asking = Program(shell, "-c", REGROW, "ask", "program/block", "x")
    programs[0].out.wait("blocked")

    programs[0].process.send_signal(signal.SIGINT)
    code, out, err = programs[0].wait_end()
    asked, _, _ = asking.wait_end()

    assert (asked, code, out.splitlines()) == (2, 0, ["runs", "blocked", "ended: Shutdown (interrupted)"])
    assert "Traceback" not in err


def test_a_second_program_of_the_same_name_is_refused_and_harms_nothing(shell: Shell, program: Program) -> None:
    again = shell.python("program.py")
    by_command = shell.regrow("run", "program:app")

    told = f"an app 'program' is already running here (process {program.process.pid})"
    assert again.returncode == 1
    assert f"AppAlreadyRunning: {told}" in again.stderr
    assert (by_command.returncode, by_command.stderr.count("\n")) == (2, 1)
    assert told in by_command.stderr
    assert shell.json("stop", "program")["reason"]["kind"] == "shutdown"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_program_in_order_and_run_returns_why(program: Program, number: signal.Signals) -> None:
    program.process.send_signal(number)

    code, out, err = program.wait_end()

    assert (code, out.splitlines()[-1]) == (0, "ended: Shutdown (interrupted)")
    assert "stopping in order" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("number", "said", "code"), [(signal.SIGINT, "KeyboardInterrupt", 7), (signal.SIGTERM, "SystemExit 143", 143)]
)
def test_a_signal_before_its_app_runs_ends_a_program_as_python_ends_it(
    shell: Shell, programs: list[Program], number: signal.Signals, said: str, code: int
) -> None:
    program = Program(shell, "program.py", "hang")
    programs.append(program)
    program.out.wait("is starting")
    assert shell.json("ps", "program")["state"] == "starting"

    program.process.send_signal(number)
    ended, out, err = program.wait_end()

    assert (ended, out.splitlines()[-1]) == (code, said)
    assert "Traceback" not in err


def test_an_app_that_hangs_does_not_hide_the_others(shell: Shell, program: Program, programs: list[Program]) -> None:
    other = Run(shell, "program:other")
    programs.append(other)
    other.err.wait(RUNS)
    program.process.send_signal(signal.SIGSTOP)

    def both() -> tuple[CompletedProcess[str], list[dict[str, Any]]] | None:
        told = shell.regrow("ps"), shell.json("ps")
        return told if "other · inline" in told[0].stdout and told[1][0]["state"] == "running" else None

    table, (running, hung) = until_now(both, "the other is seen, also where a busy machine holds it up for a look")
    alone = shell.regrow("ps", "program")

    program.process.send_signal(signal.SIGCONT)
    assert (table.returncode, table.stderr) == (0, "")
    assert table.stdout.startswith("other · inline · pid ")
    assert f"program · pid {program.process.pid} · no answer\n" in table.stdout
    assert (running["app"], running["state"]) == ("other", "running")
    assert (hung["app"], hung["state"], hung["pid"]) == ("program", "no answer", program.process.pid)
    assert alone.returncode == 2
    assert f"look at what its process {program.process.pid} does, and try again" in alone.stderr
    assert shell.json("stop", "other")["reason"]["kind"] == "shutdown"
    assert shell.json("stop", "program")["reason"]["kind"] == "shutdown"


def test_ctrl_c_while_the_command_still_loads_is_no_traceback(shell: Shell) -> None:
    (shell.folder / "typer.py").write_text(INTERRUPTED_IMPORT)

    done = shell.regrow("ps")

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
