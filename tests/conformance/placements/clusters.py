"""The Ray of the placements: one head on this machine, and a second raylet when it is needed."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.waiting import until_now

NODE_CPUS = 2

HEALTH = {"health_check_period_ms": 1_000, "health_check_timeout_ms": 1_000, "health_check_failure_threshold": 4}
"""A killed raylet is found dead after some seconds, not after the quarter of a minute that is Ray's default."""


class Clusters:
    """A Ray with one raylet or two, started when first needed; this process is connected to the first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._patch = pytest.MonkeyPatch()
        self._cluster: Any = None
        self._others: list[Any] = []
        self._killed: list[Any] = []

    def need(self, raylets: int) -> None:
        """Returns when there are at least so many."""
        if self._cluster is None:
            self._start()
        assert self._cluster is not None
        self.forget_killed()
        while len(self._others) < raylets - 1:
            self._others.append(self._cluster.add_node(num_cpus=NODE_CPUS, include_log_monitor=False))
        self._cluster.wait_for_nodes()

    def kill_second(self) -> None:
        """Kills the second raylet by SIGKILL."""
        node = self._others.pop()
        (raylet,) = node.all_processes["raylet"]
        os.kill(raylet.process.pid, signal.SIGKILL)
        self._killed.append(node)

    def forget_killed(self) -> None:
        """Waits until Ray has noticed that a killed raylet is dead, and tidies up; `need` starts another."""
        from regrow.cluster.ray_nodes import living_nodes

        if self._killed:
            until_now(lambda: len(living_nodes()) == 1, "Ray knows of the death of the raylet", within_s=60.0)
        while self._killed:
            self._cluster.remove_node(self._killed.pop(), allow_graceful=False)

    def close(self) -> None:
        """Ends it all."""
        if self._cluster is None:
            return
        import ray

        ray.shutdown()
        self._cluster.shutdown()
        self._patch.undo()
        self._cluster = None

    def _start(self) -> None:
        import ray  # here, since the inline placement needs none of it
        from ray.cluster_utils import Cluster

        from regrow.cluster.ray_connect import PRELOADED
        from regrow.cluster.ray_transport import NAMESPACE

        if ray.is_initialized():
            pytest.fail("another Ray is open in this process; run tests/conformance in a pytest of its own, or first")
        variables = {
            "RAY_TMPDIR": str(self._folder),
            "RAY_preload_python_modules": PRELOADED,
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }
        for name, value in variables.items():
            self._patch.setenv(name, value)
        self._patch.delenv("RAY_ADDRESS", raising=False)
        # Nobody reads what agents print here, so nothing need watch for it.
        head: dict[str, object] = {"num_cpus": NODE_CPUS, "include_dashboard": False, "include_log_monitor": False}
        head["_system_config"] = HEALTH
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        ray.init(address=self._cluster.address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
