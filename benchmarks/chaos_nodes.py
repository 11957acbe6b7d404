"""A Ray of several nodes on this machine for a chaos run: a head, which stays, and others that are killed and stopped.

The driver and the guardian are on the head. Every other node is a raylet with all that runs below it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import ray
from chaos_leftovers import title_of
from chaos_log import Spoilt
from chaos_processes import Processes
from ray._private.node import Node
from ray.cluster_utils import Cluster

from regrow.cluster.ray_connect import PRELOADED

CPUS = 2
HEALTH = {"health_check_period_ms": 1_000, "health_check_timeout_ms": 1_000, "health_check_failure_threshold": 4}
"""Ray finds a node dead after some seconds, and not after the quarter of a minute that is its default."""
VARIABLES = {
    "RAY_preload_python_modules": PRELOADED,
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
DEAD_LIMIT_S = 90.0
"""For Ray to find a node dead, and for what ran there to end."""
LOOK_S = 0.1


class ChaosNodes:
    """A Ray of so many nodes. Its processes work in RAY_TMPDIR."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._cluster: Any = None
        self._others: list[Node] = []

    def start(self) -> str:
        """Starts it; its address. Blocks for seconds, and is called where signals are handled: in the main thread."""
        os.environ.update(VARIABLES)
        head = {"num_cpus": CPUS, "include_dashboard": False, "include_log_monitor": False, "_system_config": HEALTH}
        self._cluster = _come_up(partial(Cluster, initialize_head=True, head_node_args=head))
        # Who joins later is started in a thread, where no signal handler can be set. It ends with the head, which ends
        # with this process.
        self._cluster._shutdown_at_exit = False
        while len(self._others) < self._number - 1:
            self._add()
        return str(self._cluster.address)

    def with_any(self, pids: set[int], dice: random.Random) -> Node | None:
        """A node, not the head, on which one of these processes runs."""
        found = []
        for node in self._others:
            with _running_on(node) as processes:
                if not pids.isdisjoint(processes.left()):
                    found.append(node)
        return dice.choice(found) if found else None

    async def kill(self, node: Node) -> float:
        """Kills a node with all that runs on it; when. Another one has joined when this returns."""
        with _running_on(node) as processes:
            at_s = monotonic()
            processes.send(signal.SIGKILL)
        await self._replace(node)
        return at_s

    @asynccontextmanager
    async def stopped(self, node: Node, *, hosts: bool) -> AsyncIterator[None]:
        """Until the end that node says nothing, and Ray has found it dead; its `hosts` are stopped too, or go on.

        Then it is woken, and all of it has to end. Another node has joined when this returns. Raises TimeoutError where
        something of it does not end.
        """
        with _running_on(node) as processes, Processes([_raylet(node)]) as raylet:
            stopped = processes if hosts else raylet
            stopped.send(signal.SIGSTOP)
            try:
                await _until_dead(node)
                yield
            finally:
                stopped.send(signal.SIGCONT)
            try:
                await _until(lambda: not processes.left(), "what ran on a node that was stopped has not ended")
            except TimeoutError as error:
                left = ", ".join(title_of(Path(f"/proc/{pid}")) for pid in processes.left())
                raise TimeoutError(f"{error}: {left}") from None
            finally:
                await self._replace(node)

    def close(self) -> None:
        """Ends it all; not before the driver has left it. Blocks."""
        if self._cluster is not None:
            self._cluster.shutdown()

    async def _replace(self, node: Node) -> None:
        await _until_dead(node)
        await asyncio.to_thread(self._cluster.remove_node, node, allow_graceful=False)
        self._others.remove(node)
        await asyncio.to_thread(self._add)

    def _add(self) -> None:
        self._others.append(_come_up(partial(self._cluster.add_node, num_cpus=CPUS, include_log_monitor=False)))


def _come_up(start: Callable[[], Any]) -> Any:
    try:
        return start()
    except Exception as error:  # the very class that Ray raises where a node does not come up in time
        raise Spoilt(f"Ray could not start a node ({error}); has this machine too much to do?") from error


def _running_on(node: Node) -> Processes:
    return Processes.with_children(_raylet(node))


def _raylet(node: Node) -> int:
    (raylet,) = node.all_processes["raylet"]
    return int(raylet.process.pid)


async def _until_dead(node: Node) -> None:
    """Until Ray has found it dead. Raises TimeoutError."""
    await _until(lambda: not _lives(node), "Ray has not found a node dead")


def _lives(node: Node) -> bool:
    """Whether Ray believes so."""
    rows: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return any(row["Alive"] and row["ObjectStoreSocketName"] == node.plasma_store_socket_name for row in rows)


async def _until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = monotonic() + DEAD_LIMIT_S
    while not await asyncio.to_thread(holds):
        if monotonic() > deadline:
            raise TimeoutError(f"{otherwise} within {DEAD_LIMIT_S:g} s")
        await asyncio.sleep(LOOK_S)
