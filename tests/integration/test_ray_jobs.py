"""`ray job submit -- regrow run …` on a Ray that somebody started with `ray start --head`, and how such a job ends."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.belongings import Process, is_of_app, processes_in
from tests.integration.drivers import Driver, environment
from tests.integration.waiting import until_none, until_now
from tests.ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.redis]

COMMAND_S = 60.0
"""What one call of `ray` or `regrow` may take on a busy machine."""

OWNER_TTL_S = 8.0
"""How long these apps outlive a driver that was killed, or held up; 15 s otherwise."""

GONE_S = OWNER_TTL_S + 20.0
"""Until what a killed driver left is gone."""

OF_THE_JOB = "ray::JobSupervisor"
"""Ray's own actor for a job, which ends with the job."""

LOOK = """
import ray
ray.init(log_to_driver=False)
print([actor for actor in ray.util.list_named_actors(all_namespaces=True) if actor["namespace"] == "regrow"])
"""

APP = """\
import asyncio
import os
from pathlib import Path

from regrow import Agent, App, Context, Request, Supervisor, child, on


class Name(Request[str]):
    text: str


class Greeter(Agent):
    async def started(self, ctx: Context) -> None:
        if os.environ["REMEMBERS"]:
            await ctx.memory.remember("it has started", source="greeter")  # which starts a Redis

    @on
    async def greet(self, name: Name) -> str:
        print("greets", name.text, flush=True)
        return f"hello {name.text}"

    async def stopping(self, reason: object, ctx: Context) -> None:
        await asyncio.sleep(float(os.environ["STOPPING_S"]))
        Path(os.environ["STOPPED"]).write_text(str(reason))


app = App("jobbed", Supervisor(children=[child(Greeter, id="greeter")]))
"""


@dataclass(frozen=True, slots=True)
class Head:
    """A Ray started by `ray start --head`. All that belongs to it and its jobs works below `folder`."""

    folder: Path
    variables: dict[str, str]

    @property
    def stopped(self) -> Path:
        """Where the agent writes that it was told to stop."""
        return self.folder / "stopped.txt"

    def call(self, *command: str) -> str:
        """Runs one command as somebody at this machine would; gives what it prints."""
        __tracebackhide__ = True
        done = subprocess.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def of_app(self) -> list[Process]:
        """The driver, the guardian, the hosts and the Redis of the job's app."""
        return [
            process
            for process in processes_in(self.folder)
            if (is_of_app(process) and not process.title.startswith(OF_THE_JOB)) or "regrow run" in process.title
        ]

    def wait_nothing_left(self) -> None:
        """Waits until no process of an app is left; those of Ray itself stay."""
        __tracebackhide__ = True
        until_none(self.of_app, "after the job", within_s=GONE_S)

    def actors(self) -> str:
        """The named actors of apps, as Ray lists them; the next app of the same name would not start beside them."""
        return self.call(sys.executable, "-c", LOOK).strip()

    @contextmanager
    def job(self, name: str, *, stopping_s: float = 0.0, remembers: bool = False) -> Iterator[Driver]:
        """`ray job submit`, which prints what the job prints until the job ends, and fails if that does."""
        place = self.folder / name
        work = place / "work"
        work.mkdir(parents=True)
        (work / "jobs_app.py").write_text(APP, encoding="utf-8")
        variables = {
            "STOPPING_S": str(stopping_s),
            "STOPPED": str(self.stopped),
            "REMEMBERS": "yes" if remembers else "",
            "REGROW_INTERNAL_OWNER_TTL_S": str(OWNER_TTL_S),
        }
        command = ["ray", "job", "submit", "--submission-id", name, "--working-dir", str(work)]
        command += ["--runtime-env-json", json.dumps({"env_vars": variables})]
        command += ["--", "regrow", "run", "jobs_app:app", "--engine", "ray"]
        self.stopped.unlink(missing_ok=True)
        with (place / "said").open("wb") as said:
            process = subprocess.Popen(
                command, cwd=place, env=self.variables, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
            )
        try:
            yield Driver(place, process)
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One head for the module, on ports of its own and with a token of its own."""
    folder = Path(tempfile.mkdtemp(prefix="j", dir="/tmp"))  # short, for the sockets of a Ray
    gcs, dashboard, client, agent = free_ports(4)
    variables = environment(
        folder,
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=secrets.token_hex(32),
        RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
        RAY_USAGE_STATS_ENABLED="0",
        RAY_API_SERVER_ADDRESS=f"http://127.0.0.1:{dashboard}",
    )
    # As by default, data lie where Ray unpacks the folder of a job, which is below this one.
    del variables["REGROW_DATA_DIR"]
    started = Head(folder, variables | {"RAY_ADDRESS": f"127.0.0.1:{gcs}"})
    command = ["ray", "start", "--head", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", "--num-cpus=2"]
    command += [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    command += [f"--dashboard-agent-listen-port={agent}", "--min-worker-port=0", "--max-worker-port=0"]
    try:
        with (folder / "said").open("wb") as said:
            subprocess.run(
                [*command, f"--temp-dir={folder}"],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                timeout=COMMAND_S,
                check=True,
                start_new_session=True,
            )
        yield started
    finally:
        until_none(lambda: _killed(folder), "of the head")  # never `ray stop`, which ends every Ray of the machine
        shutil.rmtree(folder, ignore_errors=True)


def test_a_job_runs_an_app_that_answers_and_succeeds_once_it_is_stopped(head: Head) -> None:
    with head.job("answers") as job:
        job.wait_said("jobbed runs on ray")
        assert json.loads(head.call("regrow", "ps", "jobbed", "--json"))["engine"] == "ray"
        assert head.call("regrow", "ask", "jobbed/greeter", "world") == "hello world\n"
        job.wait_said("greets world")
        head.call("regrow", "stop", "jobbed")

        assert job.wait_end() == 0
        assert "Job 'answers' succeeded" in job.said
        assert "keep it with REGROW_DATA_DIR" in job.said
        assert head.stopped.read_text(encoding="utf-8") == "Shutdown"
        head.wait_nothing_left()


@pytest.mark.again
def test_ray_job_stop_ends_the_app_in_order(head: Head) -> None:
    with head.job("stops") as job:
        job.wait_said("jobbed runs on ray")

        head.call("ray", "job", "stop", "--no-wait", "stops")

        job.wait_end()
        assert "jobbed ended: Shutdown (interrupted)" in job.said
        assert "Job 'stops' was stopped" in job.said
        assert head.stopped.read_text(encoding="utf-8") == "Shutdown"
        head.wait_nothing_left()


@pytest.mark.again  # the end of a stop is tried by programs, that of a job by the one above
def test_an_agent_that_stops_slower_than_ray_waits_has_its_time_and_leaves_nothing(head: Head) -> None:
    with head.job("slow", stopping_s=OWNER_TTL_S + 1.0, remembers=True) as job:
        job.wait_said("jobbed runs on ray")
        assert any("redis-server" in process.title for process in head.of_app())

        head.call("ray", "job", "stop", "--no-wait", "slow")  # SIGKILL after 3 s, in the midst of the stop

        head.wait_nothing_left()
        assert head.actors() == "[]"
        assert "jobbed ended" not in job.said
        assert head.stopped.read_text(encoding="utf-8") == "Shutdown"


@pytest.mark.again
def test_a_job_killed_while_its_app_starts_leaves_no_guardian(head: Head) -> None:
    with head.job("early") as job:

        def begun() -> list[Process]:
            return [process for process in head.of_app() if process.title.startswith("ray::Guardian")]

        until_now(begun, "the guardian starts", within_s=COMMAND_S)
        for process in head.of_app():
            if "regrow run" in process.title:
                process.kill()

        assert job.wait_end() != 0
        head.wait_nothing_left()
        assert head.actors() == "[]"


def _killed(folder: Path) -> list[Process]:
    """Sends SIGKILL to what works below a folder; gives what it found."""
    found = processes_in(folder)
    for process in found:
        process.kill()
    return found
