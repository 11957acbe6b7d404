"""The command line as people use it: real processes, on the inline engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

pytestmark = pytest.mark.slow

LIMIT_S = 60.0
"""For a command that is expected to end; a busy machine takes seconds for the start of Python alone."""

RUNS = "look at it with: regrow ps"
"""The last line that `regrow run` prints once the app runs."""

REGROW = "from regrow.cluster.cli import main; main()"
"""The entry point, since its script may not be on the PATH of whoever runs the tests."""

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


@dataclass(frozen=True, slots=True)
class Shell:
    """A folder with apps in it, and an environment without anything of ours."""

    folder: Path
    env: dict[str, str]

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def regrow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python("-c", REGROW, *arguments)

    def json(self, *arguments: str) -> Any:
        """The one JSON value that a command that ends well prints."""
        done = self.regrow(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


class Lines:
    """What a process writes to one stream, read as it comes so that the process never waits for us."""

    def __init__(self, stream: IO[str] | None) -> None:
        assert stream is not None
        self._stream = stream
        self._seen: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait(self, text: str) -> list[str]:
        """The lines up to the one that holds the text."""

        def found() -> int:
            return next((number for number, line in enumerate(self._seen, start=1) if text in line), 0)

        with self._more:
            self._more.wait_for(lambda: found() or self._ended, LIMIT_S)
            assert found(), f"it has not said {text!r}; it said: {''.join(self._seen)}"
            return self._seen[: found()]

    def whole(self) -> str:
        """Everything, once the process has ended."""
        self._reader.join(LIMIT_S)
        self._stream.close()
        return "".join(self._seen)

    def _read(self) -> None:
        for line in self._stream:
            with self._more:
                self._seen.append(line)
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()


class Run:
    """A `regrow run` in the background."""

    def __init__(self, shell: Shell, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", REGROW, "run", *arguments],
            cwd=shell.folder,
            env=shell.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)

    def wait_end(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        code = self.process.wait(LIMIT_S)
        return code, self.out.whole(), self.err.whole()

    def kill(self) -> None:
        """Whatever state it is in, it is gone afterwards."""
        self.process.kill()
        self.wait_end()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    (tmp_path / "hello.py").write_text(HELLO)
    (tmp_path / "trouble.py").write_text(TROUBLE)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("REGROW_", "OPENAI_", "RAY_"))}
    with tempfile.TemporaryDirectory(prefix="rg") as short:
        yield Shell(tmp_path, {**env, "XDG_RUNTIME_DIR": short, "COLUMNS": "120"})
        assert list(Path(short).rglob("*.sock")) == [], "a socket was left"


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


def test_what_a_killed_run_leaves_is_in_nobodys_way(shell: Shell, hello: Run, runs: list[Run]) -> None:
    hello.kill()
    again = Run(shell, "hello:app")
    runs.append(again)
    again.err.wait(RUNS)

    again.kill()

    assert shell.json("ps") == []


def test_a_handler_that_never_returns_does_not_hold_up_the_end(shell: Shell, runs: list[Run]) -> None:
    runs.append(Run(shell, "trouble:stuck"))
    runs[0].err.wait(RUNS)
    asked = shell.regrow("ask", "stuck/block", "x", "--timeout", "0.2")
    assert "did not answer block.Request within 0.2 s" in asked.stderr

    runs[0].process.send_signal(signal.SIGTERM)
    code, out, err = runs[0].wait_end()

    assert (code, out) == (0, "blocked\n")
    assert "a handler did not return; the process is ended without it" in err


def test_a_new_app_runs_and_passes_its_test(shell: Shell) -> None:
    assert shell.regrow("new", "shop").returncode == 0
    shop = Shell(shell.folder / "shop", shell.env)

    ran = shop.python("shop.py")
    tested = shop.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "hello world\n", "")
    assert tested.returncode == 0, tested.stdout
    assert "1 passed" in tested.stdout


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
