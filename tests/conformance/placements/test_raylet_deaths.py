"""Hosts on two raylets: that they are spread, and what the death of one raylet means (SEMANTICS 2 and 3)."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from regrow import AskFailed
from regrow.runtime import ActorRef, ContactLost
from tests.conformance.placements.clusters import Clusters
from tests.conformance.placements.commands import line_of
from tests.conformance.placements.player import Crash, Hold, Life, Link, Note, Pid, Send, Trap, Watch
from tests.conformance.placements.stage import Stage
from tests.integration.belongings import alive, app_processes
from tests.integration.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="package"),
    pytest.mark.usefixtures("raylets"),
]

MOVES = 5
"""An agent that is started so often has been on each node; new hosts go to the one with fewer."""


async def test_hosts_are_spread_over_the_nodes(stage: Stage) -> None:
    near, far = [await stage.ref(id).ask(Pid()) for id in ("ann", "bob")]
    guardian = (await stage.running.tree())[0].pid

    assert _node_of(near) == _node_of(guardian)
    assert _node_of(far) != _node_of(guardian)


async def test_a_kill_on_another_node_that_nobody_has_confirmed_blocks_the_restart(stage: Stage, folder: Path) -> None:
    trigger, _ = await stage.fresh_group("pair", "trigger", "alone")
    pid = await _moved_away(stage, "pair/alone")
    stage.record.begin()
    reaper = await until(lambda: _reaper_beside(pid, folder), "a reaper stands by on that node")
    os.kill(reaper, signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)

    try:
        await trigger.tell(Crash())
        await until(lambda: _is(stage, "pair/alone", "unconfirmed"), "the kill is not confirmed")
        assert stage.record.seen("pair/trigger") == []
        assert "unconfirmed" in await line_of(stage, "alone"), "by `regrow ps`"
        assert alive(pid)
    finally:
        os.kill(reaper, signal.SIGCONT)

    await stage.until_seen("pair/alone", "started")
    assert not alive(pid)
    assert stage.record.seen("pair/trigger") == ["started"]


async def test_a_killed_raylet_takes_its_hosts_and_their_agents_grow_back_on_the_other(
    stage: Stage, clusters: Clusters
) -> None:
    ann, amy, bob = await stage.fresh("ann", "amy", "bob")
    lives = [await one.ask(Life()) for one in (ann, bob)]
    pid = await bob.ask(Pid())
    await ann.ask(Watch(of=bob))
    await amy.tell(Trap())
    await amy.tell(Link(to=bob))
    for one in (ann, amy):
        await one.tell(Send(to=bob, message=Note(text="behind it")))
    await stage.until_seen("bob", "behind it", 2)
    holding = asyncio.create_task(bob.ask(Hold(), timeout_s=600.0))
    await stage.until_seen("bob", "holds")
    stage.spoilt = True  # near and far are beside each other from here on

    clusters.kill_second()

    with pytest.raises((AskFailed, ContactLost)):  # Ray takes so long to call a node dead that contact is lost before
        await holding
    downs = await stage.until_seen("ann", "down bob killed")
    assert [text for text in downs if text != "unreachable bob"] == ["down bob killed"]
    assert await stage.until_seen("amy", "exit bob killed") == ["exit bob killed"]
    await asyncio.to_thread(clusters.forget_killed)
    await stage.until_seen("bob", "started")
    assert await bob.ask(Life()) > lives[1]
    assert await ann.ask(Life()) == lives[0]
    await until(lambda: not alive(pid), "the process of the dead raylet is gone")


async def _moved_away(stage: Stage, id: str) -> int:
    """The process of an agent once it is on another node than the guardian; a warm spare may have been beside that."""
    ref, guardian = stage.ref(id), (await stage.running.tree())[0].pid
    for _ in range(MOVES):
        pid = await ref.ask(Pid())
        if _node_of(pid) != _node_of(guardian):
            return pid
        os.kill(pid, signal.SIGKILL)
        await until(partial(_answers, ref, pid), f"{id} is back in another process")
    raise AssertionError(f"{id} was {MOVES} times on the node of the guardian")


async def _answers(ref: ActorRef, before: int) -> bool:
    try:
        return await ref.ask(Pid()) != before
    except (AskFailed, ContactLost):
        return False


async def _is(stage: Stage, id: str, state: str) -> bool:
    return await stage.state(id) == state


def _reaper_beside(pid: int, folder: Path) -> int:
    """The process of the reaper that is on the same node as another process, 0 while there is none."""
    reapers = [process.pid for process in app_processes(folder) if process.title.startswith("ray::Reaper")]
    return next((reaper for reaper in reapers if _node_of(reaper) == _node_of(pid)), 0)


def _node_of(pid: int) -> str:
    """The raylet below which a process runs: its parent."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
