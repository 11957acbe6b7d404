"""Strategies, limits, orders of stop and start (SEMANTICS 2)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from regrow.cluster.errors import AppNotStarted
from regrow.runtime import AskFailed
from tests.conformance.placements.player import After, Crash, Finish, Life, Note, Watch, Yield
from tests.conformance.placements.stage import Stage, Stages
from tests.conformance.placements.troupe import BACKOFF, HASTY, HASTY_S, WINDOW_S, unstartable
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

TRIES = 100

DEATHS = 9
"""Without a cap the waits between so many starts would take seconds longer than with it."""


async def test_rest_for_one_stops_the_later_ones_and_starts_from_the_failed_one_on(stage: Stage) -> None:
    a, b, c = await stage.fresh_group("rest", "a", "b", "c")

    await b.tell(Crash())

    await stage.until_seen("rest/c", "started")
    assert stage.record.story("rest/a", "rest/b", "rest/c") == ["rest/c stopping", "rest/b started", "rest/c started"]
    assert await a.ask(Life()) < await b.ask(Life()) < await c.ask(Life())


async def test_one_for_all_stops_all_in_reverse_and_starts_all_in_order(stage: Stage) -> None:
    _, b, _ = await stage.fresh_group("all", "a", "b", "c")

    await b.tell(Crash())

    await stage.until_seen("all/c", "started")
    assert stage.record.story("all/a", "all/b", "all/c") == [
        "all/c stopping",
        "all/a stopping",
        "all/a started",
        "all/b started",
        "all/c started",
    ]


async def test_who_is_being_stopped_does_not_wait_for_one_that_was_stopped_before_it(stage: Stage) -> None:
    _, b, _ = await stage.fresh_group("all", "a", "b", "c")

    with stage.record.asks_at_stop("all/a", "all/c"):
        await b.tell(Crash())
        await stage.until_seen("all/a", "got no answer")  # else it would be killed when its grace is over

    await stage.until_seen("all/c", "started")
    assert stage.record.story("all/a", "all/b", "all/c") == [
        "all/c stopping",
        "all/a stopping",
        "all/a got no answer",
        "all/a started",
        "all/b started",
        "all/c started",
    ]


async def test_one_for_one_leaves_the_siblings_alone(stage: Stage) -> None:
    refs = await stage.fresh_group("types", "permanent", "transient", "temporary")
    before = [await ref.ask(Life()) for ref in refs]

    await refs[0].tell(Crash())

    after = [await ref.ask(Life()) for ref in refs]
    assert after[0] > before[0]
    assert after[1:] == before[1:]


async def test_a_supervisor_stops_its_children_in_reverse_and_starts_them_in_order(stage: Stage) -> None:
    await stage.fresh_group("rest", "a", "b", "c")

    await stage.ref("rest").stop()

    await stage.until_seen("rest/c", "started")
    assert stage.record.story("rest/a", "rest/b", "rest/c") == [
        "rest/c stopping",
        "rest/b stopping",
        "rest/a stopping",
        "rest/a started",
        "rest/b started",
        "rest/c started",
    ]


async def test_a_killed_supervisor_takes_its_children_with_it(stage: Stage) -> None:
    await stage.fresh_group("rest", "a", "b", "c")
    (ann,) = await stage.fresh("ann")
    for id in ("a", "b"):
        await ann.ask(Watch(of=stage.ref(f"rest/{id}")))
        await stage.ref(f"rest/{id}").ask(Life())

    await stage.ref("rest").stop(grace_s=0)

    await stage.until_seen("ann", "down rest/a killed")
    await stage.until_seen("ann", "down rest/b killed")
    await stage.until_seen("rest/c", "started")
    assert "stopping" not in stage.record.seen("rest/a")


async def test_too_many_restarts_escalate_through_two_levels(stage: Stage) -> None:
    await stage.fresh_group("tower", "floor/room", "floor/other")
    tower, floor = await stage.number("tower"), await stage.number("tower/floor")
    room = stage.ref("tower/floor/room")

    for _ in range(2):  # one is allowed
        await _crashes(stage, "tower/floor/room")
    await until(lambda: _later(stage, "tower/floor", floor), "the floor has given up and is back")
    await room.ask(Life())
    assert await stage.number("tower") == tower
    assert stage.record.seen("tower/floor/other") == ["stopping", "started"]

    for _ in range(2):
        await _crashes(stage, "tower/floor/room")
    await until(lambda: _later(stage, "tower", tower), "the tower has given up and is back")
    assert await room.ask(Life()) > tower


async def test_a_failed_start_is_tried_again_while_the_supervisor_answers(stage: Stage) -> None:
    refs = await stage.fresh_group("types", "permanent", "transient")

    with stage.record.fails("types/permanent", TRIES):
        await refs[0].tell(Crash())

        await stage.until_seen("types/permanent", "started")
    assert stage.record.seen("types/permanent") == ["start fails"] * TRIES + ["started"], "no try meets a namesake"
    assert stage.record.seen("types/transient") == []
    assert await refs[0].ask(Life()) > await refs[1].ask(Life())


async def test_restarts_of_a_child_that_dies_again_and_again_wait_longer_and_not_past_the_cap(stage: Stage) -> None:
    one, other = await stage.fresh_group("patient", "one", "other")
    lives = await one.ask(Life()), await other.ask(Life())
    supervisor = await stage.number("patient")
    gate, waiting = await stage.held(one)
    for _ in range(DEATHS):
        await one.tell(Crash())

    gate.touch()  # from here on each life takes one of them from the mailbox and dies at once

    assert await waiting == "open"
    await stage.until_seen("patient/one", "started", DEATHS)
    starts = [line.at_s for line in stage.record.lines("patient/one") if line.text == "started"]
    waits_s = [later - earlier for earlier, later in pairwise(starts)]
    doubled_s = [BACKOFF.first_s * 2**n for n in range(len(waits_s))]
    least_s = [min(each_s, BACKOFF.max_s) / 2 for each_s in doubled_s]  # jitter takes off at most half of each
    assert all(wait_s >= each_s for wait_s, each_s in zip(waits_s, least_s, strict=True)), waits_s
    assert sum(waits_s) < sum(doubled_s) / 2, "without the cap they would have taken at least so long"
    assert await one.ask(Life()) > lives[0]
    assert await other.ask(Life()) == lives[1]
    assert await stage.number("patient") == supervisor


async def test_other_children_are_restarted_between_the_tries_of_one_that_fails_to_start(stage: Stage) -> None:
    permanent, transient = await stage.fresh_group("types", "permanent", "transient")
    before = await transient.ask(Life())
    with stage.record.fails("types/permanent"):
        await permanent.tell(Crash())
        await stage.until_seen("types/permanent", "start fails")

        await transient.tell(Crash())
        after = await transient.ask(Life())

    assert after > before
    await stage.until_seen("types/permanent", "started")


async def test_restarts_older_than_the_window_do_not_count(stage: Stage) -> None:
    (ann,) = await stage.fresh("ann")
    await stage.fresh_group("window", "one")
    before = await stage.number("window")

    await _crashes(stage, "window/one")
    await ann.tell(After(delay_s=2 * WINDOW_S, text="later"))
    await stage.until_seen("ann", "later")
    await _crashes(stage, "window/one")

    assert await stage.number("window") == before


async def test_ends_that_need_no_restart_and_lives_that_gave_way_cost_no_budget(stage: Stage) -> None:
    """One restart is allowed on this floor."""
    room, brief = await stage.fresh_group("tower", "floor/room", "floor/brief")
    (ann,) = await stage.fresh("ann")
    floor, before = await stage.number("tower/floor"), await room.ask(Life())
    await ann.ask(Watch(of=brief))

    await brief.tell(Crash())
    await stage.until_seen("ann", "down tower/floor/brief crashed")
    for times in (1, 2):
        await room.tell(Yield())
        await stage.until_seen("tower/floor/room", "started", times)
    await _crashes(stage, "tower/floor/room")

    assert await stage.number("tower/floor") == floor
    assert await room.ask(Life()) > before


async def test_a_normal_end_of_a_permanent_child_is_a_restart_like_any_other(stage: Stage) -> None:
    """One restart is allowed on this floor."""
    (room,) = await stage.fresh_group("tower", "floor/room")
    floor = await stage.number("tower/floor")

    await room.tell(Finish())
    await stage.until_seen("tower/floor/room", "started")
    assert await stage.number("tower/floor") == floor
    await room.tell(Finish())

    await until(lambda: _later(stage, "tower/floor", floor), "the floor has given up and is back")


async def test_a_supervisor_serves_its_children_and_others_while_a_restart_waits(stage: Stage) -> None:
    one, other = await stage.fresh_group("sluggish", "one", "other")
    before = await other.ask(Life())
    await _crashes(stage, "sluggish/one")
    await one.tell(Crash())

    async def waits() -> bool:
        return (await stage.running.which_children("stage/sluggish"))[0].state == "restarting"

    await until(waits, "the supervisor tells that the restart is still to come")
    await _crashes(stage, "sluggish/other")

    assert await other.ask(Life()) > before
    assert await stage.state("sluggish/one") == "restarting"
    await stage.running.stop_child(one)
    assert await stage.state("sluggish/one") == "stopped"


async def test_waiting_before_restarts_does_not_hide_that_there_are_too_many(stage: Stage) -> None:
    """While a child waits for its restart no time passes for the window; else the first of them would be outside."""
    (one,) = await stage.fresh_group("hasty", "one")
    before = await stage.number("hasty")
    gate, waiting = await stage.held(one)
    for _ in range(HASTY + 1):
        await one.tell(Crash())

    gate.touch()

    assert await waiting == "open"
    await until(lambda: _later(stage, "hasty", before), "the supervisor has given up and is back")
    starts = [line.at_s for line in stage.record.lines("hasty/one") if line.text == "started"]
    assert starts[HASTY - 1] - starts[0] > HASTY_S / 2, "they waited"


async def test_rest_for_one_resumes_at_the_child_that_fails_to_start(stage: Stage) -> None:
    a, _, _ = await stage.fresh_group("rest", "a", "b", "c")

    with stage.record.fails("rest/b", 2):
        await a.tell(Crash())

        await stage.until_seen("rest/c", "started")
    assert stage.record.story("rest/a", "rest/b", "rest/c") == [
        "rest/c stopping",
        "rest/b stopping",
        "rest/a started",
        "rest/b start fails",
        "rest/b start fails",
        "rest/b started",
        "rest/c started",
    ]


async def test_one_for_all_begins_again_when_a_child_fails_to_start(stage: Stage) -> None:
    a, _, _ = await stage.fresh_group("all", "a", "b", "c")

    with stage.record.fails("all/b", 1):
        await a.tell(Crash())

        await stage.until_seen("all/c", "started")
    assert stage.record.story("all/a", "all/b", "all/c") == [
        "all/c stopping",
        "all/b stopping",
        "all/a started",
        "all/b start fails",
        "all/a stopping",
        "all/a started",
        "all/b started",
        "all/c started",
    ]


async def test_a_supervisor_that_can_not_start_stops_what_had_started_in_reverse(stage: Stage) -> None:
    await stage.fresh_group("rest", "a", "b", "c")

    with stage.record.fails("rest/c", 1):
        await stage.ref("rest").stop(grace_s=0)

        await stage.until_seen("rest/c", "started")
    told = stage.record.story("rest/a", "rest/b", "rest/c")
    assert told[told.index("rest/a started") :] == [
        "rest/a started",
        "rest/b started",
        "rest/c start fails",
        "rest/b stopping",
        "rest/a stopping",
        "rest/a started",
        "rest/b started",
        "rest/c started",
    ]


async def test_an_app_that_can_not_start_stops_what_had_started_in_reverse(stages: Stages, stage: Stage) -> None:
    with stage.record.fails("failing", 1, app="unstartable"), pytest.raises(AppNotStarted, match="not now"):
        await stages.start(unstartable)

    assert stage.record.story("first", "second", "failing", "never") == [
        "first started",
        "second started",
        "failing start fails",
        "second stopping",
        "first stopping",
    ]


async def test_who_does_not_stop_in_time_is_killed_and_a_brutal_stop_asks_nobody(stage: Stage) -> None:
    trigger, clinging, brutal = await stage.fresh_group("last", "trigger", "clinging", "brutal")
    (ann,) = await stage.fresh("ann")
    for ref in (clinging, brutal):
        await ann.ask(Watch(of=ref))
        await ref.ask(Life())

    await trigger.tell(Crash())

    await stage.until_seen("last/brutal", "started")
    assert stage.record.seen("ann") == ["down last/brutal killed", "down last/clinging killed"]
    assert stage.record.story("last/trigger", "last/clinging", "last/brutal") == [
        "last/clinging stopping",
        "last/trigger started",
        "last/clinging started",
        "last/brutal started",
    ]


async def test_who_may_take_its_time_to_stop_is_waited_for(stage: Stage) -> None:
    trigger, _ = await stage.fresh_group("calm", "trigger", "slow")
    limited, *_ = await stage.fresh_group("last", "trigger", "clinging", "brutal")

    with stage.record.lingers("calm/slow"):
        await trigger.tell(Crash())
        await stage.until_seen("calm/slow", "stopping")
        await limited.tell(Crash())
        await stage.until_seen("last/brutal", "started")
        assert stage.record.story("calm/trigger", "calm/slow") == ["calm/slow stopping"], "others would be killed now"

    await stage.until_seen("calm/slow", "started")
    assert stage.record.story("calm/trigger", "calm/slow") == [
        "calm/slow stopping",
        "calm/slow stopped",
        "calm/trigger started",
        "calm/slow started",
    ]


async def test_the_end_of_a_significant_child_ends_its_supervisor_in_order(stage: Stage) -> None:
    task, _ = await stage.fresh_group("auto", "task", "other")
    before = await stage.number("auto")

    await task.tell(Finish())

    await until(lambda: _later(stage, "auto", before), "the supervisor is back, since its own parent keeps it")
    await stage.until_seen("auto/other", "started")
    assert stage.record.story("auto/task", "auto/other") == [
        "auto/task stopping",
        "auto/other stopping",
        "auto/task started",
        "auto/other started",
    ]


async def test_messages_to_children_that_restart_wait_for_their_next_life(stage: Stage) -> None:
    a, b, c = await stage.fresh_group("all", "a", "b", "c")
    await a.tell(Crash())

    for ref in (a, b, c):
        await ref.tell(Note(text="for whoever is there"))

    for id in ("all/a", "all/b", "all/c"):
        await stage.until_seen(id, "for whoever is there")


async def _crashes(stage: Stage, id: str) -> None:
    """Has an agent crash; returns when it has begun its next life."""
    times = stage.record.seen(id).count("started")
    with pytest.raises(AskFailed):
        await stage.ref(id).ask(Crash())
    await stage.until_seen(id, "started", times + 1)


async def _later(stage: Stage, id: str, before: int) -> bool:
    return await stage.number(id) > before
