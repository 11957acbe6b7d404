"""Reapers: they kill host processes on other nodes by pid, and say when these are really gone.

Ray calls an actor dead as soon as it was told to kill it, whether or not its process could be reached. A
process that hangs could go on beside the next life of its agents, so its end is looked for on its own machine.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ray
from ray.exceptions import RayError

from regrow.cluster import host_process
from regrow.cluster.host_process import end_with_parent
from regrow.cluster.ray_nodes import bound_to
from regrow.cluster.ray_transport import got_through, leave_terminal
from regrow.runtime import HostId
from regrow.runtime.transport import PeerDead

REAP_S = 3.0
"""How long a supervisor waits for the confirmation of a kill on another node before it goes on with what it can."""


class Reaper:
    """The actor's class. Every argument and result is plain."""

    def __init__(self) -> None:
        leave_terminal()
        end_with_parent()

    async def end(self, owner: str, host: str, pid: int) -> bool:
        """Ends a host on this machine and waits until it is gone; False when it does not vanish."""
        return await host_process.end(owner, HostId(host), pid)


class Reapers:
    """The reapers of one owner of hosts, one for each other node; they end with this process."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._on: dict[str, Any] = {}

    def stand_by(self, node: str) -> Any:
        """The reaper of a node. To be asked for ahead of need: a kill should not wait for the start of a process."""
        reaper = self._on.get(node)
        if reaper is None:
            remote: Any = ray.remote  # its overloads do not know what options an actor may have
            made = remote(max_restarts=0, max_task_retries=0, num_cpus=0)(Reaper)
            reaper = self._on[node] = made.options(scheduling_strategy=bound_to(node)).remote()
        return reaper

    async def end(self, node: str, host: HostId, pid: int) -> bool:
        """Has a host killed on its node; False when nobody has seen it gone.

        A reaper that can not be reached now kills as soon as it can.
        """
        ending = got_through(self.stand_by(node).end, self._owner, host, pid)
        try:
            return bool(await asyncio.wait_for(ending, REAP_S))
        except (PeerDead, RayError):
            self._on.pop(node, None)  # its node may be gone; the next one is tried anew
            return False
        except TimeoutError:
            return False

    def close(self) -> None:
        """Ends them."""
        for reaper in self._on.values():
            ray.kill(reaper)
        self._on.clear()
