"""Processes of one app on Ray are killed, one after the other: who hears of it, what is lost, how it grows back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import AskFailed, Killed, Running
from regrow.cluster.app import EngineName
from regrow.runtime import Down
from tests.integration.apps import victims
from tests.integration.apps.victims import (
    BOUND,
    Downs,
    Hold,
    Note,
    Notes,
    Pid,
    Spawn,
    Watch,
)
from tests.integration.belongings import Process, alive, app_processes, send
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import asked, back, kill
from tests.integration.lives import dead_letters, lives, node_of, restarted
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.asyncio(loop_scope="module")]

TOLD_WITHIN_S = 5.0
"""From the SIGKILL to the failure that the asker sees: milliseconds, and far less than its ask may take."""


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a process to kill."""
    return "ray"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    """The app, started once: it has to survive everything that these tests do to it."""
    with nothing_left(root):
        async with start(victims.app) as app:
            yield app


async def test_an_ask_that_is_being_handled_fails_at_once_as_killed(running: Running, tmp_path: Path) -> None:
    clerk = running.ref("clerk")
    holding = await asked(clerk, Hold(begun=str(tmp_path / "begun")))

    killed_at_s = await kill(running, "victims/clerk")
    with pytest.raises(AskFailed) as failed:
        await holding

    assert time.monotonic() - killed_at_s < TOLD_WITHIN_S
    assert isinstance(failed.value.reason, Killed)
    assert "victims/clerk ended while it owed a reply to Hold (Killed (" in str(failed.value)
    assert "not retried, since Agent delivers at most once" in str(failed.value)
    assert await clerk.ask(Pid()) > 0  # at once: it is known to be dead, so this goes to the next life


async def test_what_never_ran_runs_in_the_next_life_and_what_may_have_run_is_a_dead_letter(
    running: Running, tmp_path: Path
) -> None:
    clerk = running.ref("clerk")
    lost_before = await dead_letters(running, "host_lost")
    holding = await asked(clerk, Hold(begun=str(tmp_path / "begun")))
    for number in range(BOUND):
        await clerk.tell(Note(number=number))
    waiting = [
        asyncio.create_task(clerk.tell(Note(number=number), send_timeout_s=60)) for number in range(BOUND, 4 * BOUND)
    ]
    await until(lambda: _mailbox_is_full(running), "the mailbox is full")

    await kill(running, "victims/clerk")
    with pytest.raises(AskFailed):
        await holding
    await asyncio.gather(*waiting)

    assert await clerk.ask(Notes()) == tuple(range(BOUND, 4 * BOUND))
    assert await dead_letters(running, "host_lost") == lost_before + BOUND


async def test_a_killed_spare_is_replaced_and_a_kill_in_the_meantime_is_survived(running: Running, root: Path) -> None:
    spare = await until(lambda: _spare(running, root), "a spare stands by")

    spare.kill()
    await kill(running, "victims/clerk")

    assert await back(running.ref("clerk")) != spare.pid
    new = await until(lambda: _spare(running, root), "another spare stands by")
    assert new.pid != spare.pid


async def test_an_app_whose_guardian_is_killed_grows_back_and_refs_work(running: Running) -> None:
    before = await lives(running)
    clerk = running.ref("clerk")
    old_pid = await clerk.ask(Pid())
    kid = await clerk.ask(Spawn(name="kid"))

    send(old_pid, signal.SIGSTOP)  # so that it can not end by itself, as a process that hangs would not

    await kill(running, "victims")

    assert await back(clerk) != old_pid
    assert not alive(old_pid), "there were two of it"
    after = await until(lambda: restarted(running, before, "watcher"), "everybody is back")
    assert after.keys() == before.keys()
    assert all(after[id] > before[id] for id in before), "incarnations only grow"
    with pytest.raises(AskFailed):
        await kid.ask(Pid(), timeout_s=20)
    number = await running.ref("watcher").ask(Watch(of="victims/clerk"))
    await kill(running, "victims/clerk")
    await until(lambda: _down(running, number), "the Down of the new tree")


async def _mailbox_is_full(running: Running) -> bool:
    return (await node_of(running, "victims/clerk")).mailbox == BOUND


async def _down(running: Running, number: int) -> Down | None:
    downs = await running.ref("watcher").ask(Downs())
    return next((down for down in downs if down.monitor == number), None)


async def _spare(running: Running, root: Path) -> Process | None:
    """The host process that nobody lives in, once there is exactly one of them."""
    used = {node.pid for tree in await running.tree() for _, node in tree.walk()}
    idle = [p for p in app_processes(root) if p.title.startswith("ray::RayHost") and p.pid not in used]
    return idle[0] if len(idle) == 1 else None
