"""Messages that kill the process of their durable agent, on Ray: they end in quarantine, and nobody else's do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import Running
from regrow.cluster.app import EngineName
from regrow.cluster.config import Settings
from regrow.cluster.incident_store import FILE_NAME, IncidentFile, Sort
from regrow.cluster.set_aside import Decision, decided, listed
from tests.integration.apps import poison
from tests.integration.apps.poison import Book, Deadly, Entry, Failing, Kept, Numbers, Slow, Where
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import kill
from tests.integration.lives import lives, node_of, restarted
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.redis, pytest.mark.asyncio(loop_scope="module")]

PATIENCE_S = 60.0
"""For one message, on a busy machine."""


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a process to kill."""
    return "ray"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    """The app, started once: it has to survive everything that these tests do to it."""
    with nothing_left(root):
        async with start(poison.app) as app:
            yield app


async def set_aside(running: Running, agent: str) -> list[str]:
    """The ids of an agent's messages in quarantine."""
    return [row["id"] for row in (await listed(running, agent))["messages"]]


def kept_aside(settings: Settings, agent: str) -> list[str]:
    """The ids of its messages that are known to have gone there when the app is gone."""
    kept = IncidentFile(settings.data_dir_of("poison") / FILE_NAME).of_agent(agent)
    return [f"{agent}@{each.about['command']}" for each in kept if each.sort is Sort.QUARANTINE]


@pytest.mark.again  # the simulation of poison holds it
async def test_a_message_that_exits_its_process_each_time_is_set_aside_and_its_supervisor_lives(
    running: Running, settings: Settings, tmp_path: Path
) -> None:
    book, before = running.ref("poison/alone"), await lives(running)

    for number in (1, 2):  # the restarts of the first would be too many beside those of the second
        file = tmp_path / f"deaths-{number}"
        await book.tell(Deadly(file=str(file)), send_timeout_s=PATIENCE_S)
        await book.tell(Entry(number=number), send_timeout_s=PATIENCE_S)
        assert (await book.ask(Numbers(), timeout_s=PATIENCE_S))[-1] == number
        assert len(file.read_text().splitlines()) == Book.poison_after

    ids = await set_aside(running, "poison/alone")
    shown = await decided(running, ids[0], Decision.SHOW, None)
    assert len(ids) == 2
    assert (shown["attempts"], len(shown["history"])) == (Book.poison_after, Book.poison_after)
    assert "its process died" in shown["reason"]
    await until(lambda: kept_aside(settings, "poison/alone") == ids, "it is kept for `regrow why`")
    assert (await lives(running))["poison"] == before["poison"]


@pytest.mark.again  # the simulation of poison holds it
async def test_neighbours_in_a_pool_neither_pay_for_a_poison_message_nor_die_of_it_twice(
    running: Running, tmp_path: Path
) -> None:
    victim, idle, busy = (running.ref(f"poison/{id}") for id in ("a/victim", "b/idle", "b/busy"))
    pids = {await book.ask(Where(), timeout_s=PATIENCE_S) for book in (victim, idle, busy)}
    assert len(pids) == 1, "they share a process"
    before = await lives(running)
    slow = Slow(begun=str(tmp_path / "begun"), go=str(tmp_path / "go"))
    asking = asyncio.create_task(busy.ask(slow, timeout_s=2 * PATIENCE_S))
    await until((tmp_path / "begun").exists, "the neighbour has begun its own")

    await victim.tell(Deadly(file=str(tmp_path / "deaths")), send_timeout_s=PATIENCE_S)
    await victim.tell(Entry(number=1), send_timeout_s=PATIENCE_S)
    assert await victim.ask(Numbers(), timeout_s=2 * PATIENCE_S) == (1,)
    (tmp_path / "go").touch()
    await asking

    assert len((tmp_path / "deaths").read_text().splitlines()) == 1 + Book.poison_after
    assert len((tmp_path / "begun").read_text().splitlines()) == 2, "once with the others, and once more alone"
    assert len(await set_aside(running, "poison/a/victim")) == 1
    assert await set_aside(running, "poison/b/busy") == await set_aside(running, "poison/b/idle") == []
    after = await lives(running)
    assert {id: after[id] for id in ("poison", "poison/a", "poison/b")} == {
        id: before[id] for id in ("poison", "poison/a", "poison/b")
    }


@pytest.mark.again
async def test_among_agents_with_keys_a_message_that_kills_their_process_is_set_aside_and_no_other(
    running: Running, tmp_path: Path
) -> None:
    bad, good = running.ref(Kept, key="bad"), running.ref(Kept, key="good")
    assert await bad.ask(Where(), timeout_s=PATIENCE_S) == await good.ask(Where(), timeout_s=PATIENCE_S)
    before = await lives(running)

    await bad.tell(Deadly(file=str(tmp_path / "deaths")), send_timeout_s=PATIENCE_S)
    for book in (bad, good):
        await book.tell(Entry(number=1), send_timeout_s=PATIENCE_S)
        assert await book.ask(Numbers(), timeout_s=2 * PATIENCE_S) == (1,)

    assert len((tmp_path / "deaths").read_text().splitlines()) == 1 + Book.poison_after
    assert len(await set_aside(running, "poison/kept/bad")) == 1
    assert await set_aside(running, "poison/kept/good") == []
    assert (await lives(running))["poison/kept"] == before["poison/kept"]


@pytest.mark.parametrize(
    "id",
    [
        pytest.param("poison/alone", id="dedicated"),
        pytest.param("poison/a/victim", id="packed", marks=pytest.mark.again),
    ],
)
async def test_poison_messages_on_ray_never_bring_their_supervisor_down(running: Running, id: str) -> None:
    book, supervisor = running.ref(id), id.rpartition("/")[0]
    before, known = await lives(running), len(await set_aside(running, id))

    for number in range(3):  # nine restarts, where three are allowed
        await book.tell(Failing(), send_timeout_s=PATIENCE_S)
        await book.tell(Entry(number=number), send_timeout_s=PATIENCE_S)
        assert (await book.ask(Numbers(), timeout_s=PATIENCE_S))[-1] == number

    assert len(await set_aside(running, id)) == known + 3
    assert (await lives(running))[supervisor] == before[supervisor]


@pytest.mark.again
async def test_a_suspect_that_was_innocent_may_share_its_process_again(running: Running, tmp_path: Path) -> None:
    """Its host is one of the pool from then on."""
    busy = running.ref("poison/b/busy")
    slow = Slow(begun=str(tmp_path / "begun"), go=str(tmp_path / "go"))
    (tmp_path / "go").touch()

    for _ in range(Book.poison_after):
        before = await lives(running)
        await busy.ask(slow, timeout_s=PATIENCE_S)
        await kill(running, "poison/b/busy")
        await until(lambda before=before: restarted(running, before, "b/busy"), "it is back")  # type: ignore[misc]

    assert await set_aside(running, "poison/b/busy") == []


async def test_kills_by_an_operator_are_no_attempts(running: Running, tmp_path: Path) -> None:
    alone = running.ref("poison/alone")
    slow = Slow(begun=str(tmp_path / "begun"), go=str(tmp_path / "go"))
    asking = asyncio.create_task(alone.ask(slow, timeout_s=2 * PATIENCE_S))

    for kills in range(1, Book.poison_after + 1):
        await until(
            lambda kills=kills: _lines(tmp_path / "begun") == kills,  # type: ignore[misc]
            "it is being handled",
        )
        await running.kill("poison/alone")
    (tmp_path / "go").touch()

    assert await asking == (await node_of(running, "poison/alone")).pid


def _lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0
