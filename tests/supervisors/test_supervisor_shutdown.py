"""How a supervisor ends children and itself: limits, kills, unconfirmed deaths, cut-short starts (SEMANTICS 2)."""

from __future__ import annotations

import asyncio

import pytest

from regrow.runtime.lifecycle import Killed, Shutdown
from regrow.supervisors import ChildRunning, Supervisor, SupervisorSpec, child
from regrow.supervisors.spec import StrategyName
from tests.supervisors.stage import SOON_S, Actor, Crash, FarStarter, Hang, Stage, pass_time, virtual


@virtual
async def test_children_stop_one_by_one_in_reverse_before_the_supervisor() -> None:
    stage = Stage()
    inner = Supervisor(children=[child(Actor, "x"), child(Actor, "y")])
    await stage.start(Supervisor(children=[child(Actor, "a"), child(inner, "inner"), child(Actor, "b")]))
    stage.stop_takes_s["inner/y"] = 3.0
    stage.drain()

    await stage.stop()

    assert stage.drain() == ["stop b", "stop inner/y", "stop inner/x", "stop a"]
    assert [path for path, _ in stage.exits] == ["b", "inner/y", "inner/x", "inner", "a", "root"]
    assert not stage.runtime.cells


@virtual
async def test_busy_child_is_cancelled_and_stops_in_order() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))
    await stage.tell("a", Hang())

    await stage.stop()

    assert stage.exit_of("a") == Shutdown()


@virtual
async def test_child_that_does_not_stop_in_time_is_killed() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a", shutdown_s=4.0)]))
    stage.stop_takes_s["a"] = 99.0
    before_s = stage.loop.time()

    await stage.stop()

    assert isinstance(stage.exit_of("a"), Killed)
    assert stage.loop.time() - before_s == pytest.approx(4.0)


@virtual
async def test_child_that_does_not_even_hear_the_stop_is_killed() -> None:
    stage = Stage(FarStarter)
    await stage.start(Supervisor(children=[child(Actor, "a", shutdown_s=4.0)]))
    stage.far.deaf.add("root/a")

    await stage.stop()

    assert stage.exit_of("a") == Killed(detail="killed by its supervisor")


@virtual
async def test_shutdown_of_0_kills_at_once() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a", shutdown_s=0)]))
    stage.drain()

    await stage.stop()

    assert stage.drain() == []
    assert isinstance(stage.exit_of("a"), Killed)


@virtual
async def test_shutdown_of_none_waits_without_limit() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a", shutdown_s=None)]))
    stage.stop_takes_s["a"] = 10_000.0

    await stage.stop()

    assert stage.exit_of("a") == Shutdown()


@virtual
async def test_child_that_dies_while_its_sibling_stops_is_not_started_again() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a"), child(Actor, "b")]))
    stage.stop_takes_s["b"] = 5.0
    stage.drain()
    stopping = asyncio.ensure_future(stage.stop())
    await pass_time(SOON_S)

    await stage.crash("a")
    await stopping

    assert stage.drain() == ["stop b"]


# ---- a kill that nobody can confirm ------------------------------------------------------------


async def with_b_lost(strategy: StrategyName) -> Stage:
    """Of a, b, c the last two were to stop; b does not hear it and nobody can confirm its death."""
    stage = Stage(FarStarter)
    await stage.start(Supervisor(strategy=strategy, children=[child(Actor, id) for id in "abc"]))
    stage.far.lose("root/b")
    stage.drain()
    await stage.crash("a")
    await pass_time(11.0)
    return stage


@virtual
async def test_rest_for_one_waits_at_a_child_whose_death_is_not_confirmed() -> None:
    stage = await with_b_lost("rest_for_one")

    assert stage.drain() == ["stop c", "start a"]
    assert stage.states() == {"a": "running", "b": "unconfirmed", "c": "waiting"}
    await stage.far.confirm("root/b")
    assert stage.drain() == ["start b", "start c"]
    assert not stage.doubled


@virtual
async def test_one_for_all_waits_for_every_death() -> None:
    stage = await with_b_lost("one_for_all")

    assert stage.drain() == ["stop c"]
    await stage.far.confirm("root/b")
    assert stage.drain() == ["start a", "start b", "start c"]


@virtual
async def test_the_wait_for_a_death_costs_no_budget() -> None:
    stage = await with_b_lost("rest_for_one")

    await stage.far.confirm("root/b")

    assert [report.restarts for report in stage.reports if report.kind == "restarting"] == [1]


@virtual
async def test_supervisor_answers_while_a_death_is_not_confirmed() -> None:
    stage = await with_b_lost("rest_for_one")

    assert (await stage.supervisor().count_children()).active == 1


@virtual
async def test_siblings_of_an_unconfirmed_child_are_restarted() -> None:
    stage = await with_b_lost("rest_for_one")
    stage.drain()

    await stage.crash("a")

    assert stage.drain() == ["start a"]
    assert not stage.doubled


@virtual
async def test_stopping_an_unconfirmed_child_lets_its_siblings_go_on_when_it_is_confirmed() -> None:
    stage = await with_b_lost("rest_for_one")
    stopping = asyncio.ensure_future(stage.supervisor().stop_child("b"))
    await pass_time(SOON_S)
    stage.drain()
    assert not stopping.done()
    with pytest.raises(ChildRunning):
        await stage.supervisor().restart_child("b")
    assert "root/b" not in stage.far.forgotten

    await stage.far.confirm("root/b")

    await stopping
    assert "root/b" in stage.far.forgotten
    assert stage.drain() == ["start c"]
    assert stage.states() == {"a": "running", "b": "stopped", "c": "running"}


@virtual
async def test_siblings_of_a_failing_child_are_not_shown_as_restarting_once_an_operator_has_stopped_it() -> None:
    """Nobody would have started them, and they were refused to an operator (found by the simulation of fleets)."""
    stage = Stage(FarStarter)
    children = [child(Actor, id, shutdown_s=5.0) for id in "abc"]
    await stage.start(Supervisor(strategy="one_for_all", max_restarts=100, children=children))
    stage.far.lose("root/c")
    stage.stop_takes_s["a"] = 3.0
    stage.fail_starts["a"] = 1
    await stage.crash("b")
    await pass_time(6.0)  # c did not stop and may still run; a stops
    stopping = asyncio.ensure_future(stage.supervisor().stop_child("a"))
    await stage.far.confirm("root/c")  # the same turn ends a, starts it again, and fails; c is decided on behind it

    await stopping

    assert stage.states() == {"a": "stopped", "b": "waiting", "c": "waiting"}
    await stage.supervisor().restart_child("b")
    assert stage.states() == {"a": "stopped", "b": "running", "c": "waiting"}


@virtual
async def test_unconfirmed_temporary_bystander_is_removed_when_its_death_is_confirmed() -> None:
    stage = Stage(FarStarter)
    children = [child(Actor, "a"), child(Actor, "t", restart="temporary")]
    await stage.start(Supervisor(strategy="one_for_all", children=children))
    stage.far.lose("root/t")

    await stage.crash("a")
    await pass_time(11.0)

    assert stage.states() == {"a": "running", "t": "unconfirmed"}
    await stage.far.confirm("root/t")
    assert stage.states() == {"a": "running"}


@virtual
async def test_supervisor_does_not_end_before_the_death_of_a_child_is_confirmed() -> None:
    stage = await with_b_lost("rest_for_one")
    stopping = asyncio.ensure_future(stage.stop())
    await pass_time(60.0)
    assert not stopping.done()

    await stage.far.confirm("root/b")

    await stopping
    assert [path for path, _ in stage.exits][-2:] == ["b", "root"]


# ---- a stop that meets a start -----------------------------------------------------------------


@virtual
async def test_stop_during_a_restart_ends_the_start_and_all_the_others() -> None:
    stage = Stage()
    await stage.start(Supervisor(strategy="rest_for_one", children=[child(Actor, id) for id in "abc"]))
    stage.start_takes_s["b"] = 5.0
    stage.drain()
    await stage.crash("b")

    await stage.stop()

    assert stage.drain() == ["stop c", "start b", "stop a"]
    assert not +stage.lives
    assert not stage.runtime.cells


@virtual
async def test_stop_during_a_stop_in_a_restart_ends_everything_once() -> None:
    stage = Stage()
    await stage.start(Supervisor(strategy="one_for_all", children=[child(Actor, id) for id in "abc"]))
    stage.stop_takes_s["c"] = 5.0
    stage.drain()
    await stage.crash("b")

    await stage.stop()

    assert stage.drain() == ["stop c", "stop a"]


@virtual
async def test_stop_during_the_restart_of_a_nested_supervisor_leaves_nothing() -> None:
    stage = Stage()
    inner = Supervisor(max_restarts=0, children=[child(Actor, "x"), child(Actor, "y"), child(Actor, "z")])
    await stage.start(Supervisor(children=[child(Actor, "a"), child(inner, "inner")]))
    stage.start_takes_s["inner/y"] = 5.0
    await stage.crash("inner/z")
    stage.drain()

    await stage.stop()

    assert stage.drain() == ["stop inner/x", "stop a"]
    assert not +stage.lives
    assert not stage.runtime.cells


@virtual
async def test_cancelled_start_of_a_tree_leaves_nothing() -> None:
    stage = Stage()
    stage.start_takes_s["inner/y"] = 5.0
    inner = Supervisor(children=[child(Actor, "x"), child(Actor, "y")])
    starting = asyncio.ensure_future(stage.start(Supervisor(children=[child(Actor, "a"), child(inner, "inner")])))
    await pass_time(1.0)
    stage.drain()

    starting.cancel()
    await asyncio.wait((starting,))

    assert starting.cancelled()
    assert stage.drain() == ["stop inner/x", "stop a"]
    assert not +stage.lives
    assert not stage.runtime.cells


# ---- a supervisor that does not end in order ---------------------------------------------------


def two_deep() -> SupervisorSpec:
    inner = Supervisor(children=[child(Actor, "x"), child(Supervisor(children=[child(Actor, "z")]), "y")])
    return Supervisor(children=[child(inner, "inner"), child(Actor, "a")])


@virtual
async def test_killed_supervisor_takes_its_descendants_with_it() -> None:
    stage = Stage()
    await stage.start(two_deep())
    stage.drain()

    stage.cell("inner").kill()
    await pass_time(SOON_S)

    assert [path for path, _ in stage.exits] == ["inner/y/z", "inner/y", "inner/x", "inner"]
    assert stage.drain() == ["start inner/x", "start inner/y/z"]
    assert not stage.doubled


@virtual
async def test_supervisor_that_is_killed_in_a_restart_takes_the_start_with_it() -> None:
    stage = Stage()
    await stage.start(two_deep())
    stage.start_takes_s["inner/x"] = 5.0
    await stage.crash("inner/x")
    stage.start_takes_s.clear()
    stage.drain()

    stage.cell("inner").kill()
    await pass_time(SOON_S)

    assert stage.drain() == ["start inner/x", "start inner/y/z"]
    assert not stage.doubled


@virtual
async def test_supervisor_that_is_killed_while_it_stops_still_leaves_nothing() -> None:
    stage = Stage()
    inner = child(Supervisor(children=[child(Actor, "x"), child(Actor, "y", shutdown_s=None)]), "inner", shutdown_s=3.0)
    await stage.start(Supervisor(children=[inner]))
    stage.stop_takes_s["inner/y"] = 99.0

    await stage.stop()

    assert not +stage.lives
    assert [path for path, _ in stage.exits] == ["inner/y", "inner/x", "inner", "root"]


@virtual
async def test_tree_that_is_told_to_stop_while_it_starts_leaves_nothing() -> None:
    stage = Stage()
    stage.start_takes_s["b"] = 5.0
    starting = asyncio.ensure_future(stage.try_start(Supervisor(children=[child(Actor, "a"), child(Actor, "b")])))
    await pass_time(1.0)

    stage.cell().stop(Shutdown(), 60.0)
    failed = await starting

    assert failed is not None
    assert not +stage.lives
    assert not stage.runtime.cells


@virtual
async def test_stop_in_the_same_moment_as_a_message_is_not_lost() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))

    stage.ref().tell_nowait(Crash())
    stage.cell().stop(Shutdown(), None)
    await pass_time(1.0)

    assert not stage.runtime.cells
