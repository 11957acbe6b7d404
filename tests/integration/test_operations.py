"""What a person does to agents of a running app, the same on both engines; on Ray processes are looked at as well."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from regrow import AskFailed, Killed, Running
from regrow.cluster.app import EngineName
from regrow.cluster.config import MetricsSettings, Settings
from regrow.cluster.deeds import Deed
from regrow.cluster.errors import NoSuchAgent
from regrow.cluster.letters import Letters
from regrow.runtime import ActorId, Misuse
from regrow.supervisors import FailedToStartChild
from tests.integration.apps.operated import BAD_MOOD, GOOD_MOOD, app
from tests.integration.apps.victims import Crash, Downs, Hold, Note, Pid, Watch
from tests.integration.belongings import alive
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import asked, back
from tests.integration.lives import lives, node_of
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

ASKS = 50


@pytest.fixture(scope="module")
def settings(root: Path, engine: EngineName) -> Settings:
    """With an address at which metrics are scraped."""
    folder = Path(tempfile.mkdtemp(prefix=f"data-{engine}-", dir=root))
    return Settings(data_dir=folder, metrics=MetricsSettings(address="0"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    with nothing_left(root):
        async with start(app) as started:
            yield started


async def test_a_killed_agent_is_back_in_a_new_process_and_its_watcher_saw_it_killed(
    running: Running, engine: EngineName
) -> None:
    pid = await running.ref("clerk").ask(Pid())
    number = await running.ref("watcher").ask(Watch(of="operated/clerk"))

    done = await running.kill("clerk")

    assert done.before is not None
    assert done.after is not None
    assert (done.state, done.before.pid) == ("running", pid)
    assert done.after.incarnation == (await node_of(running, "operated/clerk")).incarnation > done.before.incarnation
    assert await back(running.ref("clerk")) == done.after.pid
    if engine == "ray":
        assert done.after.pid != pid
        assert not alive(pid)
    downs = await until(lambda: running.ref("watcher").ask(Downs()), "the Down")
    reasons = [(down.actor, down.reason) for down in downs if down.monitor == number]
    assert [(actor, type(reason)) for actor, reason in reasons] == [("operated/clerk", Killed)]
    assert "killed by order of a person" in str(reasons[0][1])


async def test_a_killed_packed_agent_leaves_its_neighbours_alone(running: Running) -> None:
    before = await lives(running)

    done = await running.kill("packed")

    after = await lives(running)
    assert done.state == "running"
    assert after["operated/packed"] > before["operated/packed"]
    assert after["operated/beside"] == before["operated/beside"]
    assert await running.ref("packed").ask(Pid()) == await running.ref("beside").ask(Pid())


async def test_an_ordered_restart_fails_what_is_being_handled_and_the_agent_answers_again(
    running: Running, tmp_path: Path
) -> None:
    holding = await asked(running.ref("clerk"), Hold(begun=str(tmp_path / "begun")))

    done = await running.restart("clerk")

    with pytest.raises(AskFailed, match="Shutdown"):
        await holding
    assert done.state == "running"
    assert done.after is not None
    assert await running.ref("clerk").ask(Pid()) == done.after.pid


async def test_a_supervisor_is_restarted_with_all_below_it(running: Running) -> None:
    before = await lives(running)

    done = await running.restart("operated/inner")

    after = await lives(running)
    assert done.state == "running"
    assert after["operated/inner/inside"] > before["operated/inner/inside"]
    assert await running.ref("operated/inner/inside").ask(Pid()) > 0


async def test_a_child_that_does_not_start_stays_stopped_until_a_restart_succeeds(running: Running) -> None:
    await running.ref("watcher").tell(Note(number=BAD_MOOD))
    with pytest.raises(FailedToStartChild, match="in a bad mood"):
        await running.restart("moody")
    assert (await node_of(running, "operated/moody")).state == "stopped"

    await running.ref("watcher").tell(Note(number=GOOD_MOOD))
    done = await running.restart("moody")

    assert (done.before, done.state) == (None, "running")


async def test_who_can_not_be_meant_is_refused_alike_on_every_engine(running: Running) -> None:
    with pytest.raises(NoSuchAgent, match="did you mean operated/clerk"):
        await running.kill("clark")
    with pytest.raises(Misuse, match="operated/once is temporary"):
        await running.restart("once")
    with pytest.raises(Misuse, match="operated is the root"):
        await running.engine.carry_out(Deed.KILL, ActorId("operated"), timeout_s=5)


async def test_dead_letters_of_all_processes_are_counted_also_of_those_that_died(running: Running) -> None:
    before = dict((await running.dead_letters()).counts)
    await running.ref("operated/nobody").tell(Note(number=1))  # becomes one in the driver
    await running.ref("clerk").tell(Crash())  # in the host of the clerk
    letters = await until(lambda: _more(running, before, 2), "both are counted")

    assert {(letter.receiver, letter.message, letter.reason) for letter in letters.latest[-2:]} == {
        ("operated/nobody", "Note", "no_such_agent"),
        ("operated/clerk", "Crash", "crashed"),
    }
    (crashed,) = [letter for letter in letters.latest[-2:] if letter.reason == "crashed"]
    assert 0 < crashed.incarnation <= (await node_of(running, "operated/clerk")).incarnation
    await back(running.ref("clerk"))
    await running.kill("clerk")
    assert dict((await running.dead_letters()).counts)["crashed"] == before.get("crashed", 0) + 1
    assert dict((await running.counts()).dead_letters)["crashed"] == before.get("crashed", 0) + 1


async def _more(running: Running, before: dict[str, int], many: int) -> Letters | None:
    letters = await running.dead_letters()
    return letters if letters.total == sum(before.values()) + many else None


async def test_what_a_killed_host_has_counted_remains_in_the_totals(running: Running, engine: EngineName) -> None:
    pid = await running.ref("clerk").ask(Pid())
    first = await running.metrics()
    before, known = first["total"], _turns_in(first, pid)
    early = await _scraped(running)
    for _ in range(ASKS):
        await running.ref("clerk").ask(Pid())
    if engine == "ray":
        await until(lambda: _told_while_it_is_stopped(running, pid, known + ASKS), "the host has told of all of them")
        os.kill(pid, signal.SIGKILL)
    else:
        await running.kill("clerk")
    await back(running.ref("clerk"))

    metrics = await running.metrics()
    total = metrics["total"]

    async def all_scraped() -> dict[tuple[str, str], float] | None:
        series = await _scraped(running)  # for a second a look before serves for others
        return series if _sum(series, "regrow_turns_total") == total["turns"] else None

    late = await until(all_scraped, "Prometheus reads the same total")

    assert total["turns"] - before["turns"] > ASKS
    assert total["restarts"]["killed"] == before["restarts"].get("killed", 0) + 1
    if engine == "ray":
        (gone,) = [row for row in metrics["hosts"] if row["pid"] == pid]
        assert (gone["alive"], gone["agents"], gone["mailbox_depth"]) == (False, 0, 0)
        assert gone["turns"] >= known + ASKS
        assert total["agents"] == before["agents"]
    # What Prometheus has seen of a host it sees again: no counter of it goes back, and none is counted twice.
    assert {series for series in early if early[series] > late.get(series, -1.0)} == set()
    assert _sum(late, 'regrow_restarts_total{reason="killed"}') == total["restarts"]["killed"]


async def _scraped(running: Running) -> dict[tuple[str, str], float]:
    """Each counter by host and name, with its own labels, as Prometheus reads it over HTTP."""
    assert running.endpoint is not None
    host, port = running.endpoint.address
    with await asyncio.to_thread(urlopen, f"http://{host}:{port}/metrics") as answer:
        text = answer.read().decode()
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.type == "counter" else ():
            own = [f'{name}="{value}"' for name, value in sample.labels.items() if name not in ("app", "host")]
            found[sample.labels["host"], sample.name + (f"{{{','.join(own)}}}" if own else "")] = sample.value
    return found


def _sum(series: dict[tuple[str, str], float], name: str) -> float:
    return sum(value for (_, each), value in series.items() if each == name)


def _turns_in(metrics: dict[str, Any], pid: int) -> int:
    """The turns that are counted for a host."""
    return sum(row["turns"] for row in metrics["hosts"] if row["pid"] == pid)


async def _told_while_it_is_stopped(running: Running, pid: int, turns: int) -> bool:
    """Whether so many turns are known of a host that answers no look: it has told of them by itself."""
    os.kill(pid, signal.SIGSTOP)
    try:
        return _turns_in(await running.metrics(), pid) >= turns
    finally:
        os.kill(pid, signal.SIGCONT)
