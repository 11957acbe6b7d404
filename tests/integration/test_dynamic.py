"""Children of a DynamicSupervisor on both engines: asked for by agents and from outside, addressed by ref."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import AskFailed, Running
from regrow.cluster.app import EngineName
from regrow.runtime import Crashed, InvalidMessage, NoProc
from regrow.supervisors import ChildRunning, DynamicChild, FailedToStartChild, MaxChildren, NoSuchChild
from tests.integration.apps.sessions import Close, Crash, Desk, Greet, Greeting, Open, Pid, app
from tests.integration.conftest import Start, nothing_left
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(start: Start, root: Path) -> AsyncIterator[Running]:
    """The app, started once for all tests of an engine."""
    with nothing_left(root):
        async with start(app) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module")
async def pool(running: Running) -> AsyncIterator[Running]:
    """The app with no session left of an earlier test."""
    yield running
    for row in await running.which_children("pool"):
        await running.stop_child(row.actor)


async def test_an_agent_starts_and_stops_a_session_by_its_ref(pool: Running) -> None:
    session = await pool.ref(Desk).ask(Open(word="ann"))

    said = await session.ask(Greet())
    await pool.ref(Desk).ask(Close(session=session))

    assert said == "hello ann"
    assert await pool.which_children("pool") == ()
    with pytest.raises(AskFailed) as gone:
        await session.ask(Greet())
    assert gone.value.reason == NoProc()


async def test_a_session_that_is_started_from_outside_has_its_config_or_that_of_the_spec(pool: Running) -> None:
    own = await pool.start_child("pool", config=Greeting(words=("good", "day")))
    shared = await pool.start_child("pool")

    assert (await own.ask(Greet()), await shared.ask(Greet())) == ("good day", "nobody")
    assert [row.actor for row in await pool.which_children("pool")] == [own.id, shared.id]


async def test_one_more_than_max_children_is_refused_by_name(pool: Running) -> None:
    for _ in range(5):
        await pool.start_child("pool")

    with pytest.raises(MaxChildren, match="sessions/pool has 5 children"):
        await pool.start_child("pool")

    counts = await pool.count_children("pool")
    assert (counts.specs, counts.active, counts.workers) == (1, 5, 5)


async def test_a_session_that_crashes_is_back_under_its_ref_with_its_config(pool: Running) -> None:
    session = await pool.start_child("pool", config=Greeting(words=("again",)))

    await session.tell(Crash())

    async def restarted() -> bool:
        (row,) = await pool.which_children("pool")
        return row.restarts == 1 and row.state == "running"

    await until(restarted, "the session is back")
    assert await session.ask(Greet()) == "again"


async def test_a_session_that_fails_to_start_says_why_to_whoever_asked_for_it(pool: Running) -> None:
    with pytest.raises(FailedToStartChild) as failed:
        await pool.start_child("pool", config=Greeting(words=("fail",)))

    cause = failed.value.root_cause
    assert isinstance(cause, Crashed)
    assert (cause.type_name, cause.message) == ("ValueError", "told to fail")
    assert "test" not in failed.value.child_id
    assert "started" in cause.traceback
    assert await pool.which_children("pool") == ()


async def test_a_config_of_another_class_is_the_starters_error_and_one_that_can_not_travel_too(pool: Running) -> None:
    with pytest.raises(FailedToStartChild, match="declares config: Greeting"):
        await pool.start_child("pool", config="a text")
    with pytest.raises(InvalidMessage):
        await pool.start_child("pool", config=object())


async def test_a_session_that_is_stopped_can_not_be_restarted(pool: Running) -> None:
    session = await pool.start_child("pool")

    with pytest.raises(DynamicChild):
        await pool.restart_child(session)


async def test_static_children_are_stopped_and_restarted_by_message(pool: Running) -> None:
    with pytest.raises(ChildRunning):
        await pool.restart_child("desk")
    await pool.stop_child("desk")
    stopped = {row.id: row.state for row in await pool.which_children()}
    await pool.restart_child("desk")

    assert stopped == {"pool": "running", "desk": "stopped"}
    assert await pool.ref(Desk).ask(Pid()) > 0
    with pytest.raises(NoSuchChild, match="its children are: pool, desk"):
        await pool.stop_child("nobody")


async def test_sessions_share_a_process_and_come_back_together_when_it_is_killed(
    pool: Running, engine: EngineName
) -> None:
    if engine == "inline":
        pytest.skip("one process holds everything")
    sessions = [await pool.start_child("pool", config=Greeting(words=(str(n),))) for n in range(5)]
    pids = {await session.ask(Pid()) for session in sessions}

    os.kill(pids.pop(), signal.SIGKILL)

    assert not pids
    assert await pool.ref(Desk).ask(Pid()) not in pids

    async def all_restarted() -> bool:
        return all(row.restarts == 1 and row.state == "running" for row in await pool.which_children("pool"))

    await until(all_restarted, "all are back")
    assert [await session.ask(Greet()) for session in sessions] == [str(n) for n in range(5)]
