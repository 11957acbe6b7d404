"""Faults that end or bend an app on Ray: a pool that dies too often, code that blocks, a Redis that is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from regrow import App, AskFailed, Killed, RegrowError
from regrow.cluster import ray_engine
from regrow.cluster.app import EngineName
from regrow.runtime import Escalated
from regrow.supervisors.spec import WORKER_SHUTDOWN_S
from tests.integration.apps import victims
from tests.integration.apps.thinking import Learn, Recall
from tests.integration.apps.thinking import app as thinking
from tests.integration.apps.victims import (
    Block,
    Crash,
    Pid,
)
from tests.integration.belongings import alive, app_processes
from tests.integration.conftest import Start
from tests.integration.killing import asked, back, kill
from tests.integration.lives import lives, node_of, restarted
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("alone")]


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a process to kill."""
    return "ray"


async def test_a_pool_of_five_that_dies_at_once_costs_one_restart(start: Start) -> None:
    async with start(victims.pool) as app:
        before = await lives(app)
        await kill(app, "pool/p0")
        after = await until(lambda: restarted(app, before, "p4"), "all are back")
        assert all(after[f"pool/p{n}"] > before[f"pool/p{n}"] for n in range(5))

        await kill(app, "pool/p0")
        reason = await asyncio.wait_for(app.wait_ended(), 30)

        assert isinstance(reason, Escalated)


async def test_a_stop_ends_code_that_blocks_within_its_limit(start: Start, tmp_path: Path) -> None:
    async with start(victims.stubborn) as app:
        blocked = app.ref("blocked")
        pid = await blocked.ask(Pid())
        holding = await asked(blocked, Block(begun=str(tmp_path / "begun")))

        began_s = time.monotonic()
        stopping = asyncio.create_task(app.stop())
        await until(lambda: not alive(pid), "its process is gone")
        took_s = time.monotonic() - began_s
        await stopping

        assert took_s < WORKER_SHUTDOWN_S, "its own limit is a second, and not that of who says nothing"
        with pytest.raises(RegrowError):
            await holding


@pytest.mark.again  # the placements hold it
async def test_a_blocked_pool_agent_costs_its_neighbours_their_life_and_not_their_budget(
    start: Start, tmp_path: Path
) -> None:
    async with start(victims.crowded) as app:
        before = await lives(app)
        holding = await asked(app.ref("crowded/together/blocked"), Block(begun=str(tmp_path / "begun")))

        await app.ref("crowded/together/trigger").tell(Crash())

        after = await until(lambda: restarted(app, before, "beside/neighbour"), "the neighbour is back")
        assert after["crowded/beside"] == before["crowded/beside"]
        await until(lambda: restarted(app, before, "together/trigger"), "the blocked one and its sibling are back")
        with pytest.raises(AskFailed) as failed:
            await holding
        assert isinstance(failed.value.reason, Killed)


async def test_a_killed_redis_comes_back_on_its_port_with_its_data(start: Start, root: Path) -> None:
    async with start(thinking) as app:
        await app.ref("first").ask(Learn(text="What is written stays.", source="stone.md"), timeout_s=60)
        (redis,) = [p for p in app_processes(root) if "redis-server" in p.title]

        redis.kill()

        async def recalled() -> str:
            try:
                found = await app.ref("second").ask(Recall(text="What stays written?"), timeout_s=20)
            except RegrowError:
                return ""  # the store is away for a moment
            return found[0].text if found else "nothing"

        assert await until(recalled, "it recalls again") == "What is written stays."
        again = await app.ref("second").ask(Learn(text="It stays.", source="more.md"), timeout_s=60)
        assert again.startswith("thinking#")
        (new,) = [p for p in app_processes(root) if "redis-server" in p.title]
        assert new.pid != redis.pid
        assert new.title == redis.title  # which shows its port


@pytest.mark.again  # its limit has units
async def test_a_guardian_that_dies_again_and_again_ends_its_app(
    start: Start, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "GUARDIAN_RESTARTS", 1)
    monkeypatch.setattr(ray_engine, "GUARDIAN_WITHIN_S", 3_600.0)
    async with start(victims.pool) as app:
        first = (await node_of(app, "pool")).pid
        await kill(app, "pool")
        young = await until(lambda: guardians(root) - {first}, "Ray has restarted it", within_s=60)

        for pid in young:  # before it has told anybody that it lives
            os.kill(pid, signal.SIGKILL)

        assert await asyncio.wait_for(app.wait_ended(), 60) == Escalated(
            child="the guardian", restarts=2, cause="see the logs of Ray"
        )


@pytest.fixture
def unlucky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """An app whose second child is killed in its start as often as there are files in the folder of the test."""
    app = victims.unlucky_in(tmp_path)
    monkeypatch.setattr(victims, "unlucky", app)
    return app


@pytest.mark.again  # so has it here
async def test_an_app_that_grows_back_while_its_hosts_are_killed_grows_back_all_the_same(
    start: Start, unlucky: App, tmp_path: Path
) -> None:
    async with start(unlucky) as app:
        before = await app.ref("second").ask(Pid())
        for number in range(2):
            (tmp_path / str(number)).touch()

        await kill(app, "unlucky")

        await until(lambda: not list(tmp_path.iterdir()), "two have been killed in their start", within_s=60)
        assert await back(app.ref("second")) != before
        assert await back(app.ref("first")) > 0


@pytest.mark.again  # test_ray_kills has an app that grows back
async def test_a_tree_that_does_not_start_any_more_ends_its_app_with_the_reason(
    start: Start, unlucky: App, tmp_path: Path
) -> None:
    async with start(unlucky) as app:
        for number in range(20):
            (tmp_path / str(number)).touch()

        await kill(app, "unlucky")

        reason = await asyncio.wait_for(app.wait_ended(), 120)
        assert isinstance(reason, Killed)
        assert "unlucky did not start: child 'second'" in str(reason)


def guardians(root: Path) -> set[int]:
    """The pids of the guardians that run."""
    return {process.pid for process in app_processes(root) if "Guardian" in process.title}
