"""A program that runs its app on a Ray of its own, and how it ends: by Ctrl-C, by SIGKILL, by itself."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from redis import Redis

from regrow.cluster.ray_engine import OWNER_TTL_VARIABLE
from tests.integration.belongings import IDLE_RAY, Process, app_processes
from tests.integration.conftest import named_actors
from tests.integration.drivers import BEGIN_S, Driver, driver
from tests.integration.waiting import until_none, until_now
from tests.memory.redis_server import RunningRedis, running_redis

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.redis]

GONE_S = 30.0
"""After a SIGKILL nobody is there to tidy up at once; Ray looks for its driver every few seconds."""

FOR_GOOD = -1
"""What Redis says of the lifetime of a key that never ends."""

KINDS = {"gcs_server", "raylet", "redis-server", "ray::RayHost", "ray::Guardian"}
"""What runs for an app on a Ray of its own that uses its memory."""

PROGRAM = '''\
import os
from pathlib import Path

from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, Request, Supervisor, child, on


class Learn(Request[int]):
    text: str


class Tally(BaseModel):
    total: int = 0


class Clerk(DurableAgent[Tally]):
    """Whose host holds a lease in Redis."""

    @on
    async def learn(self, request: Learn) -> int:
        self.state.total += 1
        return self.state.total


class Pupil(Agent):
    """Defined in the program itself, which is `__main__` here and `program` in a host."""

    async def started(self, ctx: Context) -> None:
        await ctx.memory.remember("it has started", source="pupil")
        print("pupil", os.getpid(), __name__, flush=True)

    async def stopping(self, reason: object, ctx: Context) -> None:
        (Path(__file__).parent / "stopped.txt").write_text(str(reason))


app = App("program", Supervisor(children=[child(Clerk), child(Pupil, restart="transient")]))

if __name__ == "__main__":
    print("driver", os.getpid(), flush=True)
    reason = app.run(engine="ray")
    print("ended:", reason, flush=True)
'''


@pytest.mark.again
def test_ctrl_c_ends_a_program_in_order_and_nothing_is_left_though_its_guardian_was_killed() -> None:
    with driver({"program.py": PROGRAM}, "program.py") as program:
        program.wait_said(" program\n")
        program.wait_runs("program")
        assert any("redis-server" in process.title for process in program.processes())

        (guardian,) = [process for process in program.processes() if "ray::Guardian" in process.title]
        guardian.kill()
        until_now(lambda: program.said.count(" program\n") == 2, "its agent has grown back", within_s=BEGIN_S)
        program.wait_runs("program")

        program.send(signal.SIGINT)
        program.send(signal.SIGINT)  # an impatient one changes nothing

        assert program.wait_end() == 0
        assert "ended: Shutdown (interrupted)" in program.said
        assert "Traceback" not in program.said
        program.wait_nothing_left(within_s=10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_leaves_nothing(number: signal.Signals) -> None:
    with driver({"program.py": PROGRAM}, "program.py") as program:
        program.wait_said("driver ")

        program.send(number)

        assert program.wait_end() != 0
        program.wait_nothing_left(within_s=GONE_S)


@pytest.mark.again
def test_after_a_sigkill_of_the_program_everything_is_gone_within_half_a_minute() -> None:
    with driver({"program.py": PROGRAM}, "program.py") as program:
        program.wait_said(" program\n")
        before = program.processes()
        assert _kinds(program) == KINDS

        program.send(signal.SIGKILL)
        program.process.wait()

        program.wait_nothing_left(within_s=GONE_S, but="data/redis/")  # whose next owner needs to know its port
        assert not [process for process in before if process.lives]


@pytest.mark.again  # what is left of a stop and of a signal stays by day
def test_in_a_ray_and_a_redis_of_others_nothing_is_left_of_who_was_killed_and_the_name_is_free_again(
    local_ray: Path, redis_of_others: RunningRedis
) -> None:
    actors, processes = named_actors(), app_processes(local_ray)
    variables = {
        "REGROW_REDIS__URL": redis_of_others.url,
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        "RAY_DEDUP_LOGS": "0",  # which keeps a line to itself that is like one of the last seconds
        "RAY_AUTH_MODE": "token",  # a Ray that a program starts for itself wants one
        OWNER_TTL_VARIABLE: "20",  # longer than the next one needs to come to it, on a busy machine
    }
    with driver({"program.py": PROGRAM}, "program.py", **variables) as first:
        first.wait_said(" program\n")
        assert leases(redis_of_others), "of the durable agent's host, and of the guardian"
        first.send(signal.SIGKILL)
        first.process.wait()

        with driver({"program.py": PROGRAM}, "program.py", **variables) as second:
            second.wait_said(" program\n")
            assert "its driver has died; waiting for that" in second.said

            of_the_killed = leases(redis_of_others)
            (guardian,) = _guardians(local_ray)
            guardian.kill()
            until_now(lambda: second.said.count(" program\n") == 2, "its agent has grown back", within_s=BEGIN_S)
            assert leases(redis_of_others) - of_the_killed, "its new life has leases of its own"
            second.send(signal.SIGTERM)
            assert second.wait_end() in (0, 128 + signal.SIGTERM)  # its agent speaks before the app has started
            assert leases(redis_of_others) <= of_the_killed, "an orderly stop gives its leases back"
            second.wait_nothing_left(within_s=GONE_S)

        first.wait_nothing_left(within_s=GONE_S)
    until_none(lambda: sorted(named_actors() - actors), "of the apps among the actors of Ray", within_s=GONE_S)
    until_none(lambda: [p for p in app_processes(local_ray) if p not in processes], "of the apps", within_s=GONE_S)
    until_none(lambda: sorted(leases(redis_of_others)), "of the killed among the leases", within_s=GONE_S)
    with Redis.from_url(redis_of_others.url) as client:
        kept = [key.decode() for key in client.scan_iter()]
        assert kept and all(key.startswith("regrow:") for key in kept)
        assert [key for key in kept if client.ttl(key) != FOR_GOOD] == []


@pytest.fixture
def redis_of_others() -> Iterator[RunningRedis]:
    """A server that was there before the app, and stays."""
    folder = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))  # short, for its socket
    with running_redis(folder, durable=True) as redis:
        yield redis
    shutil.rmtree(folder)


def leases(redis: RunningRedis) -> set[str]:
    """The leases of hosts and guardians that Redis holds."""
    with Redis.from_url(redis.url) as client:
        return {key.decode() for key in client.scan_iter(match="*:lease:*")}


def _guardians(ray_folder: Path) -> list[Process]:
    return [process for process in app_processes(ray_folder) if "ray::Guardian" in process.title]


def _kinds(program: Driver) -> set[str]:
    titles = " ".join(process.title for process in program.processes() if not process.title.startswith(IDLE_RAY))
    return {kind for kind in KINDS if kind in titles}
