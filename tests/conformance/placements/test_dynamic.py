"""Children that are started while their supervisor runs (SEMANTICS 2)."""

from __future__ import annotations

import asyncio

import pytest

from regrow import AskFailed
from regrow.runtime import ActorRef, NoProc
from tests.conformance.placements.overseer import Children, StartOne, StopOne
from tests.conformance.placements.player import Crash, Life, Note
from tests.conformance.placements.stage import Stage
from tests.conformance.placements.troupe import MOST_SESSIONS
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]


async def test_a_dynamic_supervisor_takes_so_many_children_and_no_more(stage: Stage) -> None:
    eve, sessions = await opened(stage)

    ids = [await eve.ask(StartOne(by=sessions)) for _ in range(MOST_SESSIONS)]
    refused = await eve.ask(StartOne(by=sessions))

    assert refused.startswith("MaxChildren: ")
    assert len(set(ids)) == MOST_SESSIONS
    lives = await asyncio.gather(*(stage.running.ref(id).ask(Life()) for id in ids))
    assert list(lives) == sorted(lives)
    assert await eve.ask(Children(of=sessions)) == tuple(f"{id.partition('/')[2]} running" for id in ids)


async def test_a_dynamic_child_that_crashes_is_started_again_with_its_mailbox(stage: Stage) -> None:
    eve, sessions = await opened(stage)
    id = await eve.ask(StartOne(by=sessions))
    child = stage.running.ref(id)
    before = await child.ask(Life())

    await child.tell(Crash())
    await child.tell(Note(text="for its next life"))

    await stage.until_seen(child.id.partition("/")[2], "for its next life")
    assert await child.ask(Life()) > before


async def test_a_dynamic_child_that_is_stopped_is_gone_and_leaves_room(stage: Stage) -> None:
    eve, sessions = await opened(stage)
    ids = [await eve.ask(StartOne(by=sessions)) for _ in range(MOST_SESSIONS)]
    refs = [stage.running.ref(id) for id in ids]

    assert await eve.ask(StopOne(child=refs[0])) == "stopped"

    with pytest.raises(AskFailed) as failed:
        await refs[0].ask(Life())
    assert failed.value.reason == NoProc()
    assert stage.record.seen(refs[0].id.partition("/")[2]) == ["started", "stopping"]
    assert (await eve.ask(StartOne(by=sessions))).startswith("stage/sessions/")


async def test_a_dynamic_child_that_asks_as_it_starts_who_waits_for_that_does_not_start(stage: Stage) -> None:
    eve, sessions = await opened(stage)

    with stage.record.children_ask("sessions", "eve"):
        told = await eve.ask(StartOne(by=sessions), timeout_s=600.0)

    assert told.startswith("FailedToStartChild: ")
    assert "AskCycle" in told
    assert "stage/sessions waits until stage/sessions/" in told
    assert await eve.ask(Children(of=sessions)) == ()


async def test_dynamic_children_do_not_come_back_with_their_supervisor(stage: Stage) -> None:
    eve, sessions = await opened(stage)
    id = await eve.ask(StartOne(by=sessions))
    child = stage.running.ref(id)
    await child.ask(Life())
    before = await stage.number("sessions")

    await sessions.stop(grace_s=0)

    async def later() -> bool:
        return await stage.number("sessions") > before

    await until(later, "the supervisor is back")
    assert await eve.ask(Children(of=sessions)) == ()
    with pytest.raises(AskFailed):
        await child.ask(Life(), timeout_s=600.0)


async def opened(stage: Stage) -> tuple[ActorRef, ActorRef]:
    """Who asks, and a dynamic supervisor without children."""
    (eve,) = await stage.fresh("eve")
    await stage.fresh_group("sessions")
    return eve, stage.ref("sessions")
