"""The embedded Redis, with the real server: it keeps data and URL over crashes and leaves nothing behind."""

from __future__ import annotations

import asyncio
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import AuthenticationError

from regrow.cluster import redis_server
from regrow.cluster.errors import FolderLocked, PortInUse, RedisUnavailable
from regrow.cluster.redis_process import RedisProgram, find_redis, parse_version
from regrow.cluster.redis_server import RedisServer
from regrow.runtime.errors import Closed

pytestmark = [pytest.mark.redis, pytest.mark.slow]

OWNER = """
import asyncio, sys
from pathlib import Path
from regrow.cluster.redis_server import RedisServer

async def main():
    server = RedisServer(Path(sys.argv[1]))
    await server.start()
    print(server.pid, server.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    await server.start()
    yield server
    await server.stop()


async def put(url: str, value: str) -> None:
    async with Redis.from_url(url) as client:
        await client.set("kept", value)


async def get(url: str) -> str:
    async with Redis.from_url(url, decode_responses=True) as client:
        return str(await client.get("kept"))


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def dies(pid: int, timeout_s: float = 30) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], timeout_s)[0])
    finally:
        os.close(handle)


def killed_owner(data_dir: Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Starts a server under an owner of its own, SIGKILLs the owner, and gives the server's pid and URL."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(data_dir)], stdout=subprocess.PIPE, text=True, env=env)
    assert owner.stdout
    with owner.stdout:
        for line in owner.stdout:  # the log goes to standard output, too
            words = line.split()
            if len(words) == 2 and words[1].startswith("redis://"):
                owner.kill()
                owner.wait()
                return int(words[0]), words[1]
    raise AssertionError("the owner ended before its server ran")


@pytest.mark.again  # a few seconds of loading
async def test_it_is_started_when_it_has_loaded_what_it_keeps(server: RedisServer) -> None:
    async with Redis.from_url(server.url) as client:
        await client.eval("for n = 1, 200000 do redis.call('SET', 'key' .. n, n) end", 0)
    await server.stop()

    await server.start()

    async with Redis.from_url(server.url, decode_responses=True) as client:
        assert await client.get("key200000") == "200000"


async def test_stop_leaves_no_process_and_nothing_but_data(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    await put(await server.start(), "value")
    pid = server.pid

    await server.stop()

    assert not lives(pid)
    left = {path.name for path in (tmp_path / "redis").iterdir()}
    assert not left & {"server.json", "server.new", "redis.pid"}
    with pytest.raises(Closed):
        _ = server.url


async def test_neither_git_nor_ray_takes_the_data_along(server: RedisServer, tmp_path: Path) -> None:
    def taken(path: Path) -> None:
        found.add(path.relative_to(tmp_path).as_posix())

    found: set[str] = set()
    (tmp_path / "app.py").touch()

    packaging = importlib.import_module("ray._private.runtime_env.packaging")
    packaging._dir_travel(tmp_path, [], taken, include_gitignore=True)

    assert "app.py" in found
    assert not [name for name in found if name.startswith("redis/")]


async def test_what_was_written_is_there_after_stop_and_start(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    await put(await server.start(), "value")
    await server.stop()

    try:
        assert await get(await server.start()) == "value"
    finally:
        await server.stop()


async def test_acknowledged_writes_survive_sigkill_of_the_server(server: RedisServer) -> None:
    url, pid = server.url, server.pid
    await put(url, "acknowledged")
    os.kill(pid, signal.SIGKILL)
    assert await server.wait_exit() == -signal.SIGKILL

    await server.restart()

    assert (server.url, server.pid != pid) == (url, True)
    assert await get(url) == "acknowledged"


async def test_keep_restarts_a_server_that_died_and_ends_with_stop(server: RedisServer) -> None:
    keeping = asyncio.create_task(server.keep())
    first = server.pid
    os.kill(first, signal.SIGKILL)

    # Clients that try again find the new life at the old URL.
    patient = Redis.from_url(server.url, retry=Retry(ConstantBackoff(0.01), 1_000))
    async with patient, asyncio.timeout(60):
        await patient.set("kept", "again")
        second = server.pid
        await server.stop()
        await keeping

    assert first != second
    assert not lives(second)


async def test_keep_gives_up_on_a_server_that_dies_too_often(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "MAX_RESTARTS", 0)
    os.kill(server.pid, signal.SIGKILL)

    with pytest.raises(RedisUnavailable, match="died 1 times"):
        await server.keep()


async def test_a_second_owner_of_the_folder_is_refused_with_the_pid_of_the_first(
    server: RedisServer, tmp_path: Path
) -> None:
    with pytest.raises(FolderLocked, match=f"in use by process {os.getpid()}") as caught:
        await RedisServer(tmp_path).start()

    assert caught.value.pid == os.getpid()
    assert lives(server.pid)


async def test_the_server_dies_with_its_owner(tmp_path: Path) -> None:
    pid, _ = killed_owner(tmp_path)

    assert dies(pid)


async def test_after_a_killed_owner_the_next_one_serves_the_same_url_and_data(tmp_path: Path) -> None:
    without_setpriv = {**os.environ, "PATH": ""}
    orphan, url = killed_owner(tmp_path, env=without_setpriv)
    await put(url, "left behind")
    assert lives(orphan)

    server = RedisServer(tmp_path)
    try:
        assert await server.start() == url
        assert not lives(orphan)
        assert await get(url) == "left behind"
    finally:
        await server.stop()


async def test_a_pid_file_that_names_somebody_else_harms_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, cwd=folder) as innocent:
        (folder / "redis.pid").write_text(f"{innocent.pid}\n")
        server = RedisServer(tmp_path)

        await server.start()
        await server.stop()

        assert innocent.poll() is None


async def test_a_taken_port_is_refused_when_it_was_asked_for(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = RedisServer(tmp_path, port=port)

        with pytest.raises(PortInUse, match=f"port {port} is taken"):
            await server.start()

    # Neither process nor lock is left, so the same server starts once the port is free.
    await server.start()
    await server.stop()


async def test_the_port_of_the_last_life_is_given_up_when_somebody_took_it(tmp_path: Path) -> None:
    pid, url = killed_owner(tmp_path)
    assert dies(pid)
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    server = RedisServer(tmp_path)

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        other = await server.start()

    await server.stop()
    assert other != url


async def test_an_unreadable_identity_costs_the_url_and_not_the_data(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    await put(await server.start(), "value")
    await server.stop()
    (tmp_path / "redis" / "server.json").write_text('{"port": 1')

    try:
        assert await get(await server.start()) == "value"
    finally:
        await server.stop()


async def test_a_folder_that_can_not_be_made_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(RedisUnavailable, match=r"can not be written .*; make it writable, or set another data_dir"):
        await RedisServer(tmp_path / "file").start()


async def test_data_of_a_newer_redis_are_refused_and_not_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis" / "appendonlydir").mkdir(parents=True)
    old = RedisProgram(Path("/opt/old/redis-server"), (6, 2, 14), bundled=False)
    monkeypatch.setattr(redis_server, "find_redis", lambda: old)

    with pytest.raises(RedisUnavailable, match=r"written by Redis 7 or newer, and /opt/old/redis-server is 6\.2\.14"):
        await RedisServer(tmp_path).start()


async def test_data_that_can_not_be_read_end_the_start_with_the_servers_own_words(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    await put(await server.start(), "value")
    await server.stop()
    (data,) = (tmp_path / "redis").rglob("*.aof")
    data.write_bytes(data.read_bytes() + b"nonsense\r\n" * 3)

    with pytest.raises(RedisUnavailable, match=r"ended at its start with code 1 \(.*append only file"):
        await server.start()


async def test_a_cancelled_start_leaves_no_process_and_no_lock(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    starting = asyncio.create_task(server.start())
    pid_path = tmp_path / "redis" / "redis.pid"
    while not pid_path.exists() and not starting.done():
        await asyncio.wait({starting}, timeout=0.001)

    starting.cancel()
    await asyncio.wait({starting})

    if starting.cancelled():  # else it was faster than the cancellation
        assert not lives(int(pid_path.read_text()))
        await server.start()
    await server.stop()


async def test_a_server_that_hangs_is_killed_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("CALL_TIMEOUT_S", "STOP_TIMEOUT_S"):
        monkeypatch.setattr(redis_server, limit, 0.05)
    server = RedisServer(tmp_path)
    monkeypatch.setattr(redis_server, "CALL_TIMEOUT_S", 1.0)
    await server.start()
    pid = server.pid
    monkeypatch.setattr(redis_server, "CALL_TIMEOUT_S", 0.05)
    os.kill(pid, signal.SIGSTOP)

    await server.stop()

    assert not lives(pid)


async def test_the_password_shows_in_no_process_list_and_no_log(server: RedisServer, tmp_path: Path) -> None:
    password = server.url.split(":")[2].split("@")[0]

    for shown in ("cmdline", "environ"):
        assert password not in Path(f"/proc/{server.pid}/{shown}").read_text(errors="replace")
    assert password not in (tmp_path / "redis" / "redis.log").read_text()
    assert (tmp_path / "redis").stat().st_mode & 0o077 == 0
    assert (tmp_path / "redis" / "server.json").stat().st_mode & 0o077 == 0


async def test_ctrl_c_in_the_terminal_does_not_reach_the_server(server: RedisServer) -> None:
    assert os.getpgid(server.pid) != os.getpgid(0)


async def test_it_listens_on_loopback_only_and_wants_the_password(server: RedisServer) -> None:
    async with Redis.from_url(server.url, decode_responses=True) as client:
        settings = [await client.config_get(name) for name in ("bind", "appendonly", "appendfsync")]
    assert settings == [{"bind": "127.0.0.1"}, {"appendonly": "yes"}, {"appendfsync": "always"}]

    async with Redis.from_url(f"redis://{server.url.split('@')[1]}") as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.ping()


async def test_a_long_log_is_put_aside_at_a_start(tmp_path: Path) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    (folder / "redis.log").write_bytes(b"x" * 5_000_001)
    server = RedisServer(tmp_path)

    await server.start()
    await server.stop()

    assert (folder / "redis.log.1").stat().st_size == 5_000_001
    assert (folder / "redis.log").stat().st_size < 100_000


def fake_program(folder: Path, name: str, says: str) -> Path:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


def test_a_server_on_the_path_comes_before_the_one_of_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = fake_program(tmp_path, "valkey-server", "Valkey server v=8.1.3 sha=00000000:0 malloc=jemalloc bits=64")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_redis() == RedisProgram(program, (8, 1, 3), bundled=False)


def test_a_server_on_the_path_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_program(tmp_path, "redis-server", "Redis server v=5.0.7 sha=00000000:0")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_redis().bundled


def test_without_any_server_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_program(tmp_path, "redis-server", "Redis server v=5.0.7 sha=00000000:0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(RedisUnavailable, match=r"redis-server is 5\.0\.7\); install redis or valkey"):
        find_redis()


@pytest.mark.parametrize(
    ("text", "version"),
    [("Redis server v=6.2.14 sha=40305114:0", (6, 2, 14)), ("Valkey server v=9.0.1", (9, 0, 1)), ("what?", None)],
)
def test_versions_are_read_from_what_servers_print(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version
