"""What goes wrong before an app runs: one sentence with what to do next, exit code 2, nothing left running."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.redis_servers import embedded_program, redis_7_program, started
from tests.integration.drivers import driver
from tests.integration.shells import REGROW
from tests.memory.redis_server import RunningRedis, running_redis

pytestmark = pytest.mark.slow

GONE_S = 20.0

HELLO = """\
from regrow import App, agent


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


app = App("hello", greet)
"""

PUPIL = """\
from regrow import Agent, App, Context


class Pupil(Agent):
    async def started(self, ctx: Context) -> None:
        await ctx.memory.remember("it has started", source="pupil")


app = App("pupil", Pupil)
"""

BROKEN_REDIS = """\
#!/bin/sh
if [ "$1" = --version ]; then echo "Redis server v=7.2.0 sha=0:0 malloc=libc bits=64 build=0"; exit 0; fi
echo "can't open shared libraries"
exit 127
"""

ONLY_HERE = """\
import os

from regrow import App, agent

if "RAY_WORKER_MODE" in os.environ or "ray::" in open("/proc/self/cmdline").read():
    raise ImportError("no such library where the hosts run")


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


app = App("hello", greet)
"""


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of a program that listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def old_redis() -> Iterator[int]:
    """The port of a server that says that it is Redis 5."""

    class Old(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while (count := self.rfile.readline()).startswith(b"*"):
                words = [(self.rfile.readline(), self.rfile.readline())[1].strip() for _ in range(int(count[1:]))]
                info = b"redis_version:5.0.7\r\nredis_mode:standalone"
                is_info = words[0].upper() == b"INFO"
                self.wfile.write(b"$%d\r\n%s\r\n" % (len(info), info) if is_info else b"+OK\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Old) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def told(*arguments: str, files: dict[str, str] | None = None, **variables: str) -> str:
    """The one sentence of a `regrow run` that does not come to run; it has ended with 2 and left nothing."""
    with driver({"hello.py": HELLO} | (files or {}), "-c", REGROW, "run", *arguments, **variables) as program:
        code = program.wait_end()
        said = program.said
        assert code == 2, said
        assert "Traceback" not in said
        program.wait_nothing_left(within_s=GONE_S)
    others = "[warning", "RAY_testing_"  # what supervisors log on the way, and what Ray says of a delay for tests
    lines = [line for line in said.splitlines() if not any(other in line for other in others)]
    assert len(lines) == 1 and lines[0].startswith("regrow: "), said
    return lines[0]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nosuch:app", "there is no module 'nosuch' here; start it in the folder that holds nosuch.py"),
        ("hello:nosuch", "hello has no app 'nosuch'; its apps are: app"),
        ("hell:app", "importing hell needs 'hel', which is not installed"),
    ],
)
def test_an_unknown_module_or_app_is_named(target: str, said: str) -> None:
    assert said in told(target, files={"hell.py": "import hel\n"})


def test_an_unknown_config_key_is_named() -> None:
    assert "unknown key 'redis.ulr'" in told("hello:app", files={"regrow.toml": '[redis]\nulr = "x"\n'})


def test_a_redis_url_where_nobody_listens_is_told_before_anything_runs() -> None:
    said = told("hello:app", REGROW_REDIS__URL="redis://127.0.0.1:9/0")

    assert "can not be reached" in said and "start it, or correct redis.url" in said


@pytest.mark.redis
def test_a_redis_that_refuses_the_password_or_the_database_is_told_as_that(tmp_path: Path) -> None:
    with running_redis(tmp_path) as redis:
        refused = told("hello:app", REGROW_REDIS__URL=_with(redis, password="wrong"))
        no_database = told("hello:app", REGROW_REDIS__URL=f"{redis.url}?db=99")

    assert "refuses the password" in refused and "wrong@" not in refused
    assert "refuses (DB index is out of range)" in no_database


@pytest.mark.redis
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("maxmemory 1", "is full (command not allowed"),
        ("replicaof 127.0.0.1 9", "it is a replica; name its primary in redis.url"),
    ],
    ids=["full", "replica"],
)
def test_a_redis_that_takes_no_writes_is_told_before_anything_runs(tmp_path: Path, setting: str, said: str) -> None:
    with started(embedded_program(), tmp_path, "port 0", setting):
        found = told("hello:app", REGROW_REDIS__URL=f"unix://{tmp_path}/redis.sock")

    assert said in found and "script" not in found


@pytest.mark.redis
def test_a_redis_cluster_that_the_config_does_not_know_of_is_told_with_the_setting(tmp_path: Path) -> None:
    with started(redis_7_program(), tmp_path, "port 0", "cluster-enabled yes"):
        url = f"unix://{tmp_path}/redis.sock"
        unknown = told("hello:app", REGROW_REDIS__URL=url)
        alone = told("hello:app", REGROW_REDIS__URL=url, REGROW_REDIS__CLUSTER="true")

    assert "is a node of a Redis Cluster; set redis.cluster = true" in unknown
    assert "does not serve (cluster_state fail, 0 of 16384 slots)" in alone
    assert "needs the url of one of its nodes" in told("hello:app", REGROW_REDIS__CLUSTER="true")


def test_a_redis_below_the_floor_is_told_with_its_version(old_redis: int) -> None:
    found = told("hello:app", REGROW_REDIS__URL=f"redis://127.0.0.1:{old_redis}/0")

    assert "runs redis 5.0.7, and Regrow needs 6.2.0 or newer; upgrade it" in found


def test_a_port_for_redis_that_is_taken_is_named(listener: int) -> None:
    said = told("pupil:app", files={"pupil.py": PUPIL}, REGROW_REDIS__PORT=str(listener))

    assert f"port {listener} is taken" in said and "choose another" in said


def test_a_redis_that_can_not_start_is_told_in_its_own_words(tmp_path: Path) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text(BROKEN_REDIS)
    broken.chmod(0o755)

    said = told("pupil:app", files={"pupil.py": PUPIL}, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    assert "redis-server" in said and "can't open shared libraries" in said


def test_a_data_folder_that_is_a_file_is_named() -> None:
    said = told("pupil:app", files={"pupil.py": PUPIL, "taken.txt": ""}, REGROW_DATA_DIR="taken.txt")

    assert "taken.txt" in said and "set another data_dir" in said


def test_a_ray_address_that_is_no_rays_is_told_in_seconds(listener: int) -> None:
    said = told("hello:app", "--engine", "ray", RAY_ADDRESS=f"127.0.0.1:{listener}")

    assert "gave no answer" in said and "correct RAY_ADDRESS" in said


def test_a_folder_in_which_ray_can_not_start_is_named() -> None:
    said = told("hello:app", "--engine", "ray", RAY_TMPDIR="/no/such/folder")

    assert "RAY_TMPDIR is /no/such/folder, which can not be used" in said


@pytest.mark.ray
def test_a_ray_that_does_not_come_up_is_told_in_its_own_words_and_leaves_nothing() -> None:
    # Ray then gives up on the first of its processes, which runs by then, and is slower than that is waited for.
    said = told(
        "hello:app",
        "--engine",
        "ray",
        RAY_testing_asio_delay_us="*=5000000:5000000",
        RAY_gcs_server_port_wait_time_s="1",
    )

    assert "Ray could not start here (" in said


@pytest.mark.ray
@pytest.mark.again
def test_code_that_a_host_can_not_import_is_told_with_the_mend() -> None:
    said = told("only_here:app", "--engine", "ray", files={"only_here.py": ONLY_HERE})

    assert "a host could not import only_here" in said and "install what it needs where the hosts run" in said


def _with(redis: RunningRedis, *, password: str) -> str:
    scheme, _, rest = redis.url.partition("://")
    return f"{scheme}://:{password}@{rest.rpartition('@')[2]}"
