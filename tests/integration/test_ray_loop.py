"""A process of Ray answers on one group of calls while its code blocks the loop of another."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import ray

from regrow.cluster.ray_loop import end_calls_at_once

pytestmark = [pytest.mark.slow, pytest.mark.ray]

BLOCKS = 12
"""Without `end_calls_at_once`, one in three of them holds up the other group."""
BLOCK_S = 0.5
LATE = 1
"""So many may be late because the machine is busy; held up, about four of these would be."""


@pytest.fixture
def host(local_ray: Path) -> Any:
    """An actor as hosts are, with nothing in it."""
    remote: Any = ray.remote

    class Host:
        async def join(self) -> None:
            end_calls_at_once(asyncio.get_running_loop())

        async def block(self, seconds: float) -> None:
            threading.Event().wait(seconds)  # as an agent's code may

        async def receive(self, packet: bytes) -> None:
            pass

        @ray.method(concurrency_group="control")
        async def ping(self) -> None:
            pass

    actor = remote(num_cpus=0, concurrency_groups={"control": 8})(Host).remote()
    yield actor
    ray.kill(actor)


async def test_what_arrives_while_code_blocks_its_loop_does_not_hold_up_the_other_group(host: Any) -> None:
    await host.join.remote()
    took_s: list[float] = []
    for _ in range(BLOCKS):
        arriving = [host.receive.remote(b"")]
        blocked = asyncio.ensure_future(_answer(host.block.remote(BLOCK_S)))
        while not blocked.done():
            arriving.append(host.receive.remote(b""))
            asked_s = time.monotonic()
            await host.ping.remote()
            took_s.append(time.monotonic() - asked_s)
            await asyncio.wait((blocked,), timeout=BLOCK_S / 10)
        await asyncio.gather(*arriving)

    late = [seconds for seconds in took_s if seconds > BLOCK_S / 2]
    assert len(late) <= LATE, f"of {len(took_s)} calls these took longer than half a block: {late}"


async def _answer(call: Any) -> Any:
    return await call
