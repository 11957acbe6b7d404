"""Names over real processes, and processes that do not answer: SIGSTOP, SIGCONT, SIGKILL (SEMANTICS 1 and 3)."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from regrow import Running
from regrow.cluster.app import EngineName
from regrow.runtime import ContactLost
from tests.integration.apps.roster import AskToHold, Block, Enter, Heard, Hold, Pid, Take, Watch, app
from tests.integration.belongings import app_processes
from tests.integration.conftest import Start
from tests.integration.killing import kill
from tests.integration.lives import lives, node_of, restarted
from tests.integration.waiting import until, until_none

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("alone")]

NOTICED_S = 60.0
"""Far beyond what it takes to notice that a process does not answer, on a busy machine."""


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a process to stop."""
    return "ray"


async def heard(running: Running, by: str, last: str, *, within_s: float = NOTICED_S) -> tuple[str, ...]:
    """All that an agent has heard, once the last of it is this."""

    async def look() -> tuple[str, ...] | None:
        got = await running.ref(by).ask(Heard())
        return got if got and got[-1].startswith(last) else None

    return await until(look, f"{by} hears {last}", within_s=within_s)


async def test_names_and_groups_reach_over_hosts_and_are_free_when_a_down_comes(start: Start) -> None:
    async with start(app) as running:
        first, second, third = (running.ref(name) for name in ("first", "second", "third"))
        assert await first.ask(Take(name="the clerk")) == "roster/first"
        assert await second.ask(Take(name="the clerk")) == "roster/first"
        assert await first.ask(Enter(group="clerks", times=2)) == 2
        assert await second.ask(Enter(group="clerks", times=1)) == 3
        found = await running.whereis("the clerk")
        assert found is not None
        assert found.id == first.id
        assert [ref.id for ref in await running.members("clerks")] == ["roster/first"] * 2 + ["roster/second"]

        await third.ask(Watch(of="roster/first", then_take="the clerk"))
        await kill(running, "roster/first")

        got = await heard(running, "third", "Down")
        assert got == ("Down, name to roster/third, 1 in the group",)

        await second.ask(Take(name="another"))
        await second.ask(Watch(of="roster/third", then_take="the clerk"))
        await third.stop(grace_s=0)
        assert await heard(running, "second", "Down") == ("Down, name to roster/second, 1 in the group",)


@pytest.mark.again
async def test_a_stopped_process_is_unreachable_and_not_dead_until_it_is(start: Start, tmp_path: Path) -> None:
    async with start(app) as running:
        first, watcher = running.ref("first"), running.ref("second")
        pid, before = await first.ask(Pid()), await lives(running)
        await watcher.ask(Watch(of="roster/first"))
        begun = tmp_path / "begun"
        from_driver = asyncio.create_task(first.ask(Hold(begun=str(begun)), timeout_s=120))
        await until(begun.exists, "the ask is being handled")
        from_agent = asyncio.create_task(
            running.ref("third").ask(AskToHold(of="roster/first", begun=str(begun)), timeout_s=120)
        )

        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ContactLost, match="Hold may have run"):
            await asyncio.wait_for(from_driver, NOTICED_S)
        assert "contact with the process of roster/first was lost" in await asyncio.wait_for(from_agent, NOTICED_S)
        assert await heard(running, "second", "Unreachable") == ("Unreachable",)
        assert (await node_of(running, "roster/first")).state == "unreachable"
        assert (await node_of(running, "roster/second")).state == "running"

        os.kill(pid, signal.SIGCONT)
        assert await heard(running, "second", "Reachable") == ("Unreachable", "Reachable")
        assert await lives(running) == before

        os.kill(pid, signal.SIGSTOP)
        await heard(running, "second", "Unreachable")
        assert (await node_of(running, "roster/first")).incarnation == before["roster/first"]
        os.kill(pid, signal.SIGKILL)
        got = await heard(running, "second", "Down")
        after = await until(lambda: restarted(running, before, "first"), "it is back")

        assert got == ("Unreachable", "Reachable", "Unreachable", "Down")
        assert await first.ask(Pid()) != pid
        assert {id: life for id, life in after.items() if id != "roster/first"} == {
            id: life for id, life in before.items() if id != "roster/first"
        }
        assert await watcher.ask(Heard()) == got


@pytest.mark.again  # the placements stop processes that do not answer
async def test_an_app_stops_and_leaves_nothing_though_its_processes_do_not_answer(start: Start, root: Path) -> None:
    async with start(app) as running:
        await running.ref("second").ask(Watch(of="roster/first"))
        third = await running.ref("third").ask(Pid())
        seen = {await running.ref(name).ask(Pid()) for name in ("second", "third")}
        spares = [p.pid for p in app_processes(root) if "RayHost" in p.title and p.pid not in seen]
        for pid in (*spares, third):  # the first agent's process and the one that stands by are among them
            os.kill(pid, signal.SIGSTOP)
        await heard(running, "second", "Unreachable")

        await asyncio.wait_for(running.stop(), 30)

        until_none(lambda: [p for p in app_processes(root) if p.pid in (*spares, third)], "of what did not answer")


@pytest.mark.again
async def test_a_handler_that_blocks_its_process_does_not_make_it_unreachable(start: Start) -> None:
    async with start(app) as running:
        await running.ref("second").ask(Watch(of="roster/first"))

        assert await running.ref("first").ask(Block(seconds=8.0), timeout_s=60) == 8.0

        assert await running.ref("second").ask(Heard()) == ()
