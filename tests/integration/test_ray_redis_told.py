"""What a person at the command line is told when the Redis of durable agents refuses: one sentence, exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import ray
from redis import Redis

from tests.conformance.redis_servers import embedded_program, started
from tests.integration.shells import RUNS, Run, Shell, a_shell
from tests.integration.waiting import until_now

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.redis]

CLERK = """\
from pydantic import BaseModel

from regrow import App, DurableAgent, Request, Supervisor, child, on


class Sums(BaseModel):
    total: int = 0
    text: str = ""


class Add(Request[int]):
    number: int


class Write(Request[int]):
    size: int


class Clerk(DurableAgent[Sums]):
    @on
    async def add(self, request: Add) -> int:
        self.state.total += request.number
        return self.state.total

    @on
    async def write(self, request: Write) -> int:
        self.state.text = "w" * request.size
        return request.size


app = App("desk", Supervisor(children=[child(Clerk, id="clerk")]))
"""
RENAMED = CLERK.replace("total", "sum")


@pytest.fixture
def shell(local_ray: Path, tmp_path: Path) -> Iterator[Shell]:
    """A terminal for a Ray that runs already, and a Redis that the test has started."""
    with a_shell(tmp_path, {"desk.py": CLERK, "renamed.py": RENAMED}) as made:
        joins = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address, "RAY_AUTH_MODE": "token"}
        ours = {"REGROW_DATA_DIR": str(tmp_path / "data"), "REGROW_REDIS__URL": f"unix://{tmp_path}/redis.sock"}
        yield replace(made, env={**made.env, **joins, **ours})


def one_sentence(done: CompletedProcess[str] | tuple[int, str, str]) -> str:
    """What a command has told that ended with 2: a sentence of ours, and no traceback."""
    code, err = (done[0], done[2]) if isinstance(done, tuple) else (done.returncode, done.stderr)
    assert code == 2, err
    assert "Traceback" not in err and "user_script" not in err
    told, *where = [line for line in err.splitlines() if line.startswith("regrow: ")]
    assert all(line.startswith("regrow: what led to that is told by: regrow why desk") for line in where), err
    return told


def not_taken(shell: Shell) -> str:
    """Why a message was not taken; nothing where a busy machine brings that word too late."""
    said = one_sentence(shell.regrow("ask", "desk/clerk", "number=40", "--type", "Add", "--timeout", "4"))
    return "" if "did not answer" in said else said


@pytest.mark.again
def test_each_refusal_of_redis_is_one_sentence_at_the_command_line(shell: Shell, tmp_path: Path) -> None:
    keeps = ("port 0", "appendonly yes", "appendfsync always")
    with started(embedded_program(), tmp_path, *keeps), Redis(unix_socket_path=f"{tmp_path}/redis.sock") as admin:
        app = Run(shell, "desk:app", "--engine", "ray")
        try:
            app.err.wait(RUNS)
            assert shell.json("ask", "desk/clerk", "number=2", "--type", "Add")["reply"] == 2

            admin.config_set("maxmemory", 1)
            full = until_now(lambda: not_taken(shell), "who asks is told why")
            examined = shell.regrow("doctor")
            admin.config_set("maxmemory", 0)
            too_large = one_sentence(shell.regrow("ask", "desk/clerk", "size=2000000", "--type", "Write"))
            listed = shell.regrow("quarantine", "list", "desk")
            after = shell.json("ask", "desk/clerk", "number=1", "--type", "Add", "--timeout", "60")["reply"]
            assert shell.regrow("stop", "desk").returncode == 0
            assert app.wait_end()[0] == 0
        finally:
            app.kill()
        renamed = one_sentence(Run(shell, "renamed:app", "--engine", "ray").wait_end())
        again = Run(shell, "desk:app", "--engine", "ray")
        try:
            again.err.wait(RUNS)
            assert shell.json("ask", "desk/clerk", "number=1", "--type", "Add")["reply"] == 4
            admin.flushall()
            gone = one_sentence(shell.regrow("ask", "desk/clerk", "number=1", "--type", "Add", "--timeout", "20"))
            shell.regrow("stop", "desk")
            _, _, ended = again.wait_end()
        finally:
            again.kill()
        wiped = one_sentence(Run(shell, "desk:app", "--engine", "ray").wait_end())

    assert "desk/clerk has not taken Add: " in full and "is full (OOM command not allowed" in full
    assert "is full (command not allowed" in examined.stdout
    assert "left a state of 2,000,0" in too_large and "the limit is 1,048,576 (state_bytes)" in too_large
    assert "desk/clerk@" in listed.stdout
    assert after == 3
    assert "the state of desk/clerk holds 'total', and Sums has no such field" in renamed
    # Whichever comes first: its host learns of it, the supervisor of the agent gives up, or the whole app ends.
    assert any(word in gone for word in ("wiped", "has ended for good", "the app stopped"))
    assert "wiped" in ended and "Traceback" not in ended
    assert "wiped" in wiped
