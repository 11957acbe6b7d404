"""Calls of tools of an app that needs no Redis for anything else: they are counted over the deaths of hosts."""

from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path

import pytest

from regrow.cluster.config import RedisSettings, Settings
from regrow.runtime.guard_errors import RepeatedCall
from tests.integration.apps import guarded
from tests.integration.apps.guarded import LookAlone
from tests.integration.conftest import nothing_left

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.redis]

PATIENCE_S = 120.0


async def looks_over_a_death(settings: Settings, file: Path) -> list[int]:
    """How many looks each life of the one that loops has made until it was refused."""
    running = await guarded.plain.start(engine="ray", settings=settings)
    try:
        with pytest.raises(RepeatedCall, match="5 times with this one"):
            await running.ref("asks").ask(LookAlone(file=str(file)), timeout_s=PATIENCE_S)
    finally:
        await running.stop()
    pids = [line.split()[1] for line in file.read_text(encoding="utf-8").splitlines()]
    return list(Counter(pids).values())


async def test_a_host_that_dies_in_a_loop_of_calls_gives_no_five_new_ones(
    local_ray: Path, root: Path, tmp_path: Path
) -> None:
    with nothing_left(root):
        assert await looks_over_a_death(Settings(data_dir=tmp_path), tmp_path / "looks") == [3, 1]


@pytest.mark.again
async def test_where_no_redis_can_be_started_the_app_starts_and_each_host_counts_by_itself(
    local_ray: Path, root: Path, tmp_path: Path
) -> None:
    with nothing_left(root), socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(data_dir=tmp_path, redis=RedisSettings(port=taken.getsockname()[1]))

        assert await looks_over_a_death(settings, tmp_path / "looks") == [3, 4]
