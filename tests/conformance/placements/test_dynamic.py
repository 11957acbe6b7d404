"""Children that are started while their supervisor runs, by agents and from outside (SEMANTICS 2)."""

from __future__ import annotations

import asyncio

import pytest

from regrow import AskFailed
from regrow.runtime import ActorRef, Crashed, InvalidMessage, NoProc
from regrow.supervisors import DynamicChild, FailedToStartChild, MaxChildren
from tests.conformance.placements.overseer import Children, StartOne, StopOne
from tests.conformance.placements.player import Crash, Life, Note, Watch, Word
from tests.conformance.placements.stage import Stage
from tests.conformance.placements.troupe import CLINGING, MOST_SESSIONS, PART, SHARED_S
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]


async def test_a_dynamic_supervisor_takes_so_many_children_and_no_more(stage: Stage) -> None:
    eve, sessions = await opened(stage)

    ids = [await eve.ask(StartOne(by=sessions)) for _ in range(MOST_SESSIONS)]
    refused = await eve.ask(StartOne(by=sessions))

    assert refused.startswith("MaxChildren: ")
    with pytest.raises(MaxChildren, match=f"stage/sessions has {MOST_SESSIONS} children"):
        await stage.running.start_child(sessions)
    counts = await stage.running.count_children(sessions)
    assert (counts.specs, counts.active, counts.workers) == (1, MOST_SESSIONS, MOST_SESSIONS)
    assert len(set(ids)) == MOST_SESSIONS
    lives = await asyncio.gather(*(stage.running.ref(id).ask(Life()) for id in ids))
    assert list(lives) == sorted(lives)
    assert await eve.ask(Children(of=sessions)) == tuple(f"{id.partition('/')[2]} running" for id in ids)


async def test_a_dynamic_child_that_crashes_is_started_again_with_its_config_and_mailbox(stage: Stage) -> None:
    eve, sessions = await opened(stage)
    id = await eve.ask(StartOne(by=sessions, word="again"))
    child = stage.running.ref(id)
    before = await child.ask(Life())

    await child.tell(Crash())
    await child.tell(Note(text="for its next life"))

    await stage.until_seen(child.id.partition("/")[2], "for its next life")
    assert await child.ask(Life()) > before
    assert await child.ask(Word()) == "again"


async def test_a_dynamic_child_has_a_config_of_its_own_or_that_of_the_spec(stage: Stage) -> None:
    eve, sessions = await opened(stage)

    id = await eve.ask(StartOne(by=sessions, word="hello"))
    of_an_agent = stage.running.ref(id)
    from_outside = await stage.running.start_child(sessions, config=PART.model_copy(update={"word": "good day"}))
    shared = await stage.running.start_child(sessions)

    assert [await ref.ask(Word()) for ref in (of_an_agent, from_outside, shared)] == ["hello", "good day", ""]
    rows = await stage.running.which_children(sessions)
    assert [row.actor for row in rows] == [of_an_agent.id, from_outside.id, shared.id]


async def test_a_dynamic_child_that_fails_to_start_says_why_and_nothing_is_left_of_it(stage: Stage) -> None:
    _, sessions = await opened(stage)

    with pytest.raises(FailedToStartChild) as failed:
        await stage.running.start_child(sessions, config=PART.model_copy(update={"fails": True}))

    cause = failed.value.root_cause
    assert isinstance(cause, Crashed)
    assert (cause.type_name, cause.message) == ("ValueError", "told to fail")
    assert "player.py" in cause.traceback
    assert await stage.running.which_children(sessions) == ()


async def test_a_dynamic_child_whose_start_returns_something_does_not_start(stage: Stage) -> None:
    _, sessions = await opened(stage)

    with pytest.raises(FailedToStartChild, match=r"started returned \{'ok': True\}; allowed: None"):
        await stage.running.start_child(sessions, config=PART.model_copy(update={"babbles": True}))

    assert await stage.running.which_children(sessions) == ()


async def test_a_config_of_another_class_is_refused_and_one_that_can_not_travel_too(stage: Stage) -> None:
    _, sessions = await opened(stage)

    with pytest.raises(FailedToStartChild, match="declares config: Part"):
        await stage.running.start_child(sessions, config="a text")
    with pytest.raises(InvalidMessage):
        await stage.running.start_child(sessions, config=object())

    assert await stage.running.which_children(sessions) == ()


async def test_a_dynamic_child_can_not_be_started_again_by_order(stage: Stage) -> None:
    _, sessions = await opened(stage)
    child = await stage.running.start_child(sessions)

    with pytest.raises(DynamicChild):
        await stage.running.restart_child(child)


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


async def test_a_dynamic_child_that_waits_for_its_restart_counts_and_leaves_room_when_it_is_stopped(
    stage: Stage,
) -> None:
    eve, sessions = await opened(stage)
    ids = [await eve.ask(StartOne(by=sessions)) for _ in range(MOST_SESSIONS)]
    first, who = stage.running.ref(ids[0]), ids[0].partition("/")[2]
    with stage.record.fails(who):
        await first.tell(Crash())
        await stage.until_seen(who, "start fails")

        assert (await eve.ask(StartOne(by=sessions))).startswith("MaxChildren: ")
        counts = await stage.running.count_children(sessions)
        assert await eve.ask(StopOne(child=first)) == "stopped"

    assert counts.workers == MOST_SESSIONS
    left = await stage.running.count_children(sessions)
    assert (left.active, left.workers) == (MOST_SESSIONS - 1, MOST_SESSIONS - 1)
    assert (await eve.ask(StartOne(by=sessions))).startswith("stage/sessions/")


async def test_ids_are_not_given_again_by_the_next_life_of_a_dynamic_supervisor(stage: Stage) -> None:
    eve, sessions = await opened(stage)
    before = [await eve.ask(StartOne(by=sessions)) for _ in range(2)]

    await stage.fresh_group("sessions")
    after = [await eve.ask(StartOne(by=sessions)) for _ in range(2)]

    assert len({*before, *after}) == len(before) + len(after)


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


async def test_dynamic_children_are_stopped_at_once_with_one_deadline_for_all(stage: Stage) -> None:
    (ann,) = await stage.fresh("ann")
    await stage.fresh_group("pool")
    pool = stage.ref("pool")
    clinging = [await stage.running.start_child(pool, config=CLINGING) for _ in range(4)]
    obeying = [await stage.running.start_child(pool) for _ in range(2)]
    names = {ref: ref.id.partition("/")[2] for ref in (*clinging, *obeying)}
    for ref in names:
        await ann.ask(Watch(of=ref))

    await pool.stop(grace_s=None)

    for ref, name in names.items():
        await stage.until_seen("ann", f"down {name} {'killed' if ref in clinging else 'shutdown'}")
    stops = [line.at_s for line in stage.record.lines(*names.values()) if line.text == "stopping"]
    kills = [line.at_s for line in stage.record.lines("ann") if line.text.endswith(" killed")]
    assert len(stops) == len(names)
    assert max(stops) < min(kills), "all were told to stop before the deadline of any was over"
    assert max(kills) - min(stops) < (len(clinging) - 1) * SHARED_S, "one deadline, and not one for each"


async def opened(stage: Stage) -> tuple[ActorRef, ActorRef]:
    """Who asks, and a dynamic supervisor without children."""
    (eve,) = await stage.fresh("eve")
    await stage.fresh_group("sessions")
    return eve, stage.ref("sessions")
