"""A process of Ray answers on one group of calls while its code blocks the loop of another."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import ray

from regrow.cluster.ray_loop import end_calls_at_once
from tests.integration.waiting import PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.ray]

BLOCKS = 12
"""Without `end_calls_at_once`, one in three of them holds up the other group."""
PINGS = 3
"""So many are to be answered while one lasts, which is until they are."""


@pytest.fixture
def host(local_ray: Path) -> Any:
    """An actor as hosts are, with nothing in it."""
    remote: Any = ray.remote

    class Host:
        async def join(self) -> None:
            end_calls_at_once(asyncio.get_running_loop())

        async def block(self, begun: str, over: str) -> None:
            Path(begun).touch()
            while not Path(over).exists():  # as an agent's code may, which gives nobody else a turn
                threading.Event().wait(0.005)

        async def receive(self, packet: bytes) -> None:
            pass

        @ray.method(concurrency_group="control")
        async def ping(self) -> None:
            pass

    actor = remote(num_cpus=0, concurrency_groups={"control": 8})(Host).remote()
    yield actor
    ray.kill(actor)


async def test_what_arrives_while_code_blocks_its_loop_does_not_hold_up_the_other_group(
    host: Any, tmp_path: Path
) -> None:
    await host.join.remote()
    for number in range(BLOCKS):
        begun, over = tmp_path / f"begun-{number}", tmp_path / f"over-{number}"
        arriving = [host.receive.remote(b"")]
        blocked = asyncio.ensure_future(_answer(host.block.remote(str(begun), str(over))))
        answered = 0
        try:
            while answered < PINGS:
                arriving.append(host.receive.remote(b""))
                async with asyncio.timeout(PATIENCE_S):
                    await host.ping.remote()
                answered += begun.exists()
        except TimeoutError:
            pytest.fail(f"block {number} held up the other group: {answered} calls were answered while it lasted")
        finally:
            over.touch()
        await asyncio.gather(blocked, *arriving)


async def _answer(call: Any) -> Any:
    return await call
