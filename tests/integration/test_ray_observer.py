"""The page of an app on Ray, of an observer that is a process of its own: hosts, a host that is killed, orders."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from regrow import Running
from regrow.cluster.app import EngineName
from regrow.cluster.control import ControlSocket
from tests.integration.apps import victims
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import back, kill
from tests.integration.lives import node_of
from tests.integration.observed import Answer, Observed
from tests.integration.shells import REGROW, Program, Shell
from tests.integration.waiting import assert_prompt, until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.again, pytest.mark.asyncio(loop_scope="module")]

CLERK = "victims/clerk"
KILLS = 3


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a host to kill."""
    return "ray"


@asynccontextmanager
async def shown(start: Start, folder: Path) -> AsyncIterator[Observed]:
    """The app on Ray with its control socket, and `regrow observe` beside it."""
    async with ControlSocket("victims", engine="ray", request_stop=lambda: None) as control, start(victims.app) as app:
        control.attach(app)
        observer = Program(Shell(folder, dict(os.environ)), "-c", REGROW, "observe", "victims", "--port", "0", "--json")
        try:
            place = json.loads((await asyncio.to_thread(observer.out.wait, "link"))[0])
            await asyncio.to_thread(observer.err.wait, "until Ctrl-C")
            yield Observed(
                running=app,
                url=place["url"],
                link=place["link"],
                loop=asyncio.get_running_loop(),
                close_control=control.aclose,
            )
        finally:
            await asyncio.to_thread(observer.kill)


@pytest.mark.alone
async def test_hosts_are_shown_a_killed_one_within_a_second_and_what_is_ordered_is_done(
    start: Start, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="rg") as short, nothing_left(root):
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        async with shown(start, tmp_path) as shop:
            await everybody_is_shown_with_its_host(shop)
            late_s = [await seen_after_its_detection(shop) for _ in range(KILLS)]
            refused = await asyncio.to_thread(
                lambda: shop.request("/orders", method="POST", body=b'{"do": "kill", "agent": "victims/clerk"}')
            )
            before = await node_of(shop.running, CLERK)
            killed, restarted, unknown = [
                await ordered(shop, do, agent)
                for do, agent in [("kill", CLERK), ("restart", CLERK), ("kill", "victims/nobody")]
            ]
            after = await node_of(shop.running, CLERK)

    assert_prompt(late_s, within_s=1.0)
    assert refused.status == 401
    assert (killed.status, killed.json.get("text", "").partition(" (")[0]) == (200, f"{CLERK} was killed")
    assert "runs again after" in restarted.json.get("text", ""), restarted
    assert after.pid != before.pid
    assert (unknown.status, "victims/nobody" in unknown.json["error"]) == (400, True)


async def ordered(shop: Observed, do: str, agent: str) -> Answer:
    """What comes of an order of somebody who has the token."""
    return await asyncio.to_thread(lambda: shop.order(do=do, agent=agent))


async def everybody_is_shown_with_its_host(shop: Observed) -> None:
    """Each agent of the tree is on the page, in the process in which it lives."""

    def rows() -> dict[str, Any]:
        with shop.frames() as frames:
            found: dict[str, Any] = next(frames)["tree"]["rows"]
            return found

    told = await asyncio.to_thread(rows)
    (tree, *_) = await shop.running.tree()
    agents = [node for _, node in tree.walk() if node.kind == "worker"]
    assert {node.id: (node.pid, node.node) for node in agents} == {
        node.id: (told[node.id]["pid"], told[node.id]["node"]) for node in agents
    }
    assert len({node.pid for node in agents}) == len(agents) > 1


async def seen_after_its_detection(shop: Observed) -> float:
    """Kills the clerk's host by SIGKILL: how long after the app knows of its death the page is told."""
    running = shop.running
    life = (await node_of(running, CLERK)).incarnation

    async def known_s() -> float:
        async def is_known() -> bool:
            node = await node_of(running, CLERK)
            return node.state != "running" or node.incarnation != life

        await until(is_known, "the death is known")
        return time.monotonic()

    with shop.frames() as frames:
        await asyncio.to_thread(next, frames)
        told = asyncio.create_task(asyncio.to_thread(told_s, frames, life))
        await kill(running, CLERK)
        known = await known_s()
        late_s = await told - known
    await back(running.ref("clerk"))
    await running_again(running)
    return late_s


def told_s(frames: Iterator[dict[str, Any]], life: int) -> float:
    """When a page is told that this life of the clerk is over."""
    for told in frames:
        row = told.get("tree", {}).get("rows", {}).get(CLERK, {})
        if row.get("state", "running") != "running" or row.get("life", life) != life:
            return time.monotonic()
    raise AssertionError("the stream has ended")


async def running_again(running: Running) -> None:
    """Waits until the tree, too, has the clerk as running."""

    async def is_so() -> bool:
        return (await node_of(running, CLERK)).state == "running"

    await until(is_so, "the clerk runs")
