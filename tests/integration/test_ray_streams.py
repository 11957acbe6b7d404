"""Streams of durable agents whose processes are killed ahead of the first part: as if nothing had been."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import Running
from regrow.cluster.app import EngineName
from tests.integration.apps import spoken
from tests.integration.apps.spoken import Join, Say
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import kill
from tests.integration.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.redis,
    pytest.mark.again,  # the simulation kills both at every moment
    pytest.mark.asyncio(loop_scope="module"),
]

PARTS = 5
PATIENCE_S = 60.0
"""For one message, on a busy machine."""


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a process to kill."""
    return "ray"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    with nothing_left(root):
        async with start(spoken.app) as app:
            yield app


async def test_a_producer_that_is_killed_ahead_of_its_first_part_is_read_whole(
    running: Running, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"

    async def read() -> list[int]:
        request = Say(parts=PARTS, begun=str(begun), go=str(go))
        async with running.ref("speaker").stream(request, timeout_s=PATIENCE_S) as stream:
            return [word.n async for word in stream]

    reading = asyncio.create_task(read())
    await until(begun.exists, "the turn has begun", within_s=PATIENCE_S)
    await kill(running, "spoken/speaker")
    go.touch()  # so the next life emits at once, and waits for its reader

    assert await reading == list(range(PARTS))


async def test_a_durable_reader_whose_producer_is_killed_ahead_of_its_first_part_commits_all_parts(
    running: Running, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    join = Join(say=Say(parts=PARTS, begun=str(begun), go=str(go)))
    asked = asyncio.create_task(running.ref("joiner").ask(join, timeout_s=PATIENCE_S))
    await until(begun.exists, "the turn has begun", within_s=PATIENCE_S)
    await kill(running, "spoken/speaker")
    go.touch()

    assert await asked == "01234"


async def test_a_durable_reader_that_is_killed_ahead_of_the_first_part_commits_all_parts(
    running: Running, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    join = Join(say=Say(parts=PARTS, begun=str(begun), go=str(go), to_a_reader=True))
    asked = asyncio.create_task(running.ref("joiner").ask(join, timeout_s=PATIENCE_S))
    await until(begun.exists, "the turn has begun", within_s=PATIENCE_S)
    await kill(running, "spoken/joiner")
    await until((tmp_path / "begun.left").exists, "the producer has heard of it", within_s=PATIENCE_S)
    go.touch()

    assert await asked == "01234"
