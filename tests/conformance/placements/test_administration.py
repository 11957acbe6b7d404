"""What a person or program has a supervisor do with its children (SEMANTICS 2, 5)."""

from __future__ import annotations

import asyncio

import pytest

from regrow import ActorRef, Refused, child
from regrow.runtime import AskFailed
from regrow.supervisors import AlreadyStarted, ChildRunning, DeleteChild, NoSuchChild, UnfitChild
from tests.conformance.placements.overseer import AddOne, Counts, Forget, SpecOf, StopOne
from tests.conformance.placements.player import RECORD, Crash, Finish, Here, Life, Note, Part, Player, Watch
from tests.conformance.placements.stage import Stage
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]


async def test_a_stopped_child_is_dead_and_stays_so_when_its_siblings_restart(stage: Stage) -> None:
    a, b, c = await stage.fresh_group("all", "a", "b", "c")

    await stage.running.stop_child(b)
    with pytest.raises(AskFailed):
        await b.ask(Here())
    await a.tell(Crash())
    await stage.until_seen("all/c", "started")

    assert "started" not in stage.record.seen("all/b")
    assert await stage.state("all/b") == "stopped"
    await stage.running.restart_child(b)
    assert await b.ask(Life()) > await c.ask(Life())


async def test_a_child_that_runs_is_not_started_again_by_order(stage: Stage) -> None:
    a, *_ = await stage.fresh_group("all", "a", "b", "c")
    before = await a.ask(Life())

    with pytest.raises(ChildRunning):
        await stage.running.restart_child(a)

    assert await a.ask(Life()) == before


async def test_children_are_listed_and_counted_while_one_is_restarting(stage: Stage) -> None:
    permanent, *_ = await stage.fresh_group("types", "permanent", "transient")

    with stage.record.fails("types/permanent"):
        await permanent.tell(Crash())
        await stage.until_seen("types/permanent", "start fails")
        rows = await stage.running.which_children("stage/types")
        counts = await stage.running.count_children("stage/types")

    assert [row.id for row in rows][:2] == ["permanent", "transient"]
    assert rows[0].state == "restarting"
    assert (counts.specs, counts.workers, counts.active) == (len(rows), len(rows), len(rows) - 1)
    await stage.until_seen("types/permanent", "started")


async def test_stopping_a_child_that_fails_to_start_takes_its_retry_back(stage: Stage) -> None:
    permanent, *_ = await stage.fresh_group("types", "permanent", "transient")
    with stage.record.fails("types/permanent"):
        await permanent.tell(Crash())
        await stage.until_seen("types/permanent", "start fails")

        await stage.running.stop_child(permanent)
    stage.record.begin()

    assert await stage.state("types/permanent") == "stopped"
    assert "start fails" not in stage.record.seen("types/permanent")
    await stage.running.restart_child(permanent)
    assert await permanent.ask(Life())


async def test_a_stopped_child_is_forgotten_by_order_and_one_that_runs_is_not(stage: Stage) -> None:
    a, _, c = await stage.fresh_group("all", "a", "b", "c")
    supervisor = stage.ref("all")

    with pytest.raises(ChildRunning):
        await supervisor.ask(DeleteChild(id="c"))
    await stage.running.stop_child(c)
    await supervisor.ask(DeleteChild(id="c"))

    with pytest.raises(NoSuchChild, match="its children are: a, b"):
        await stage.running.restart_child(c)
    assert await stage.state("all/c") == ""
    assert await a.ask(Here()) == "here"


async def test_a_static_child_is_added_comes_back_after_a_crash_and_is_told_by_its_spec(stage: Stage) -> None:
    await stage.fresh_group("all", "a", "b", "c")

    extra = await stage.running.start_child(
        "stage/all", spec=child(Player, "extra", config=Part(record=str(RECORD)), restart="transient")
    )
    first = await extra.ask(Life())
    await extra.tell(Crash())
    await until(lambda: _later(extra, first), "the added child is back")
    told = await stage.running.get_childspec(extra)

    assert (told.id, told.restart) == ("extra", "transient")
    assert told.target.endswith(".player:Player")
    rows = await stage.running.which_children("stage/all")
    assert [row.id for row in rows] == ["a", "b", "c", "extra"]
    with pytest.raises(AlreadyStarted):
        await stage.running.start_child("stage/all", spec=child(Player, "extra", config=Part(record=str(RECORD))))
    await stage.running.stop_child(extra)
    await stage.running.delete_child(extra)
    assert await stage.state("all/extra") == ""


@pytest.mark.parametrize("whose", ["another", "its own"])
async def test_an_agent_has_a_child_added_told_counted_stopped_and_forgotten(stage: Stage, whose: str) -> None:
    """By messages of its own, from wherever it is: a supervisor that it names, or its own, which it does not name."""
    (eve,) = await stage.fresh("eve")
    supervisor = None
    if whose == "another":
        await stage.fresh_group("all", "a", "b", "c")
        supervisor = stage.ref("all")
    specs, active = await eve.ask(Counts(of=supervisor))

    added = await eve.ask(AddOne(id="extra", to=supervisor))
    assert added.id == ("stage/extra" if supervisor is None else "stage/all/extra")
    assert await eve.ask(SpecOf(child=added)) == ("extra", "transient", "Player")
    assert await eve.ask(Counts(of=supervisor)) == (specs + 1, active + 1)
    first = await added.ask(Life())
    await added.tell(Crash())
    await until(lambda: _later(added, first), "the added child is back")

    assert (await eve.ask(Forget(child=added))).startswith("ChildRunning: ")
    assert await eve.ask(StopOne(child=added)) == "stopped"
    assert await eve.ask(Counts(of=supervisor)) == (specs + 1, active)
    assert await eve.ask(Forget(child=added)) == "forgotten"
    assert await eve.ask(Counts(of=supervisor)) == (specs, active)
    with pytest.raises(AskFailed):
        await added.ask(Here())


async def test_a_supervisor_refuses_a_child_that_it_can_not_have_and_lives(stage: Stage) -> None:
    a, *_ = await stage.fresh_group("all", "a", "b", "c")
    significant = child(Player, "extra", config=Part(record=str(RECORD)), restart="transient", significant=True)
    before = await stage.number("all")

    with pytest.raises(UnfitChild, match="significant is True; allowed: False while auto_shutdown is 'never'"):
        await stage.running.start_child("stage/all", spec=significant)
    with pytest.raises(UnfitChild, match="is no DynamicSupervisor, so a child of it needs a spec"):
        await stage.running.start_child("stage/all")

    assert await stage.number("all") == before
    assert await a.ask(Here()) == "here"


async def _later(ref: ActorRef, before: int) -> bool:
    try:
        return await ref.ask(Life()) > before
    except AskFailed:
        return False


async def test_who_waits_for_a_child_that_fails_to_start_stays_down_with_it_when_it_is_stopped(stage: Stage) -> None:
    a, b, c = await stage.fresh_group("rest", "a", "b", "c")
    with stage.record.fails("rest/b"):
        await a.tell(Crash())
        await stage.until_seen("rest/b", "start fails")

        await stage.running.stop_child(b)

    assert [await stage.state(f"rest/{id}") for id in "abc"] == ["running", "stopped", "waiting"]
    await stage.running.restart_child(c)
    assert await c.ask(Here()) == "here"
    assert await stage.state("rest/b") == "stopped"


async def test_a_child_that_is_not_there_is_refused_with_those_that_are(stage: Stage) -> None:
    with pytest.raises(NoSuchChild, match="its children are: a, b, c"):
        await stage.running.stop_child("stage/rest/nobody")


async def test_who_takes_an_agent_for_a_supervisor_is_told_what_it_is(stage: Stage) -> None:
    await stage.fresh("bob")

    with pytest.raises(Refused, match=r"stage/bob \(Player\) is no supervisor"):
        await stage.running.which_children("stage/bob")


async def test_temporary_bystanders_are_removed_and_finished_ones_start_again(stage: Stage) -> None:
    trigger, transient, temporary = await stage.fresh_group("mixed", "trigger", "transient", "temporary")
    (ann,) = await stage.fresh("ann")
    await ann.ask(Watch(of=transient))
    await transient.tell(Finish())
    await stage.until_seen("ann", "down mixed/transient normal")

    await trigger.tell(Crash())

    await stage.until_seen("mixed/transient", "started")
    with pytest.raises(AskFailed):
        await temporary.ask(Here())
    assert await stage.state("mixed/temporary") == ""


async def test_only_the_last_significant_child_ends_its_supervisor(stage: Stage) -> None:
    one, two = await stage.fresh_group("each", "one", "two")
    (ann,) = await stage.fresh("ann")
    before = await stage.number("each")
    await ann.ask(Watch(of=one))

    await one.tell(Finish())
    await stage.until_seen("ann", "down each/one normal")
    assert await two.ask(Here()) is not None
    assert await stage.number("each") == before
    await two.tell(Finish())

    await until(lambda: _after(stage, "each", before), "the supervisor ends with the last, and is back")


async def test_a_restart_by_order_keeps_the_mailbox_in_order(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    before = await bob.ask(Life())
    _, held = await stage.held(bob)
    for text in ("one", "two", "three"):
        await bob.tell(Note(text=text))

    replaced = await stage.running.restart("bob")

    await stage.until_seen("bob", "three")
    assert stage.record.seen("bob")[-4:] == ["started", "one", "two", "three"]
    assert replaced.after is not None and replaced.after.incarnation > before
    with pytest.raises(AskFailed):
        await held


async def test_a_kill_by_order_is_seen_as_killed_and_the_next_life_runs(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    await ann.ask(Watch(of=bob))

    replaced = await stage.running.kill("bob")

    await stage.until_seen("ann", "down bob killed")
    assert replaced.before is not None and replaced.after is not None
    assert await bob.ask(Life()) == replaced.after.incarnation > replaced.before.incarnation


async def test_an_asker_that_gives_up_takes_back_what_has_not_begun(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    gate, held = await stage.held(bob)
    asking = asyncio.create_task(bob.ask(Crash()))
    await bob.tell(Note(text="behind it"))

    asking.cancel()
    await asyncio.wait([asking])
    await bob.tell(Note(text="after it"))
    gate.touch()

    await held
    await stage.until_seen("bob", "after it")
    assert "started" not in stage.record.seen("bob")


async def _after(stage: Stage, id: str, before: int) -> bool:
    return await stage.number(id) > before
