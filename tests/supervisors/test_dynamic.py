"""A DynamicSupervisor: many children of one spec, started, restarted and stopped one by one or all together."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from regrow.runtime.address import ActorId
from regrow.runtime.errors import AskFailed, Refused
from regrow.runtime.lifecycle import Crashed, Escalated, Killed, NoProc
from regrow.runtime.placement import Dedicated, Packed
from regrow.supervisors import (
    Backoff,
    ChildCounts,
    DynamicSupervisor,
    DynamicSupervisorSpec,
    FailedToStartChild,
    MaxChildren,
    Supervisor,
    SupervisorSpec,
    child,
)
from regrow.supervisors.children import ChildList
from regrow.supervisors.spec import RestartName
from tests.supervisors.stage import Actor, FarStarter, Finish, Hang, Ping, Stage, pass_time, virtual


def of_actors(max_children: int = 100, restart: RestartName = "permanent", max_restarts: int = 3) -> SupervisorSpec:
    """A tree with one pool."""
    pool = DynamicSupervisor(child(Actor, restart=restart), max_children=max_children, max_restarts=max_restarts)
    return Supervisor(children=[child(pool, id="pool")])


async def started(stage: Stage, count: int, pool: str = "pool") -> list[str]:
    """That many children, by their paths."""
    rows = [await stage.dynamic(pool).start_child() for _ in range(count)]
    return [stage.short(row.actor) for row in rows]


async def pool_of(spec: DynamicSupervisorSpec, count: int, stage: Stage | None = None) -> tuple[Stage, list[str]]:
    """A stage with one pool of that many children."""
    stage = stage if stage is not None else Stage()
    await stage.start(Supervisor(children=[child(spec, id="pool")]))
    return stage, await started(stage, count)


# ---- starting ------------------------------------------------------------------------------------


@virtual
async def test_a_dynamic_supervisor_begins_without_children() -> None:
    stage = Stage()

    await stage.start(of_actors())

    assert stage.alive() == {"pool"}
    assert await stage.dynamic("pool").count_children() == ChildCounts(specs=1, active=0, supervisors=0, workers=0)


@virtual
async def test_each_child_gets_a_config_of_its_own_or_that_of_the_spec() -> None:
    stage, _ = await pool_of(DynamicSupervisor(child(Actor, config="of the spec")), 0)
    pool = stage.dynamic("pool")

    own = await pool.start_child("its own")
    shared = await pool.start_child()

    configs = {row.id: (await pool.get_childspec(row.id)).config for row in (own, shared)}
    assert configs == {own.id: "its own", shared.id: "of the spec"}
    assert stage.cell(stage.short(own.actor)).request.config == "its own"


@virtual
async def test_children_share_a_pool_of_hosts_unless_their_spec_says_otherwise() -> None:
    stage = Stage()
    packed, dedicated = DynamicSupervisor(child(Actor)), DynamicSupervisor(child(Actor, placement=Dedicated()))
    await stage.start(Supervisor(children=[child(packed, id="packed"), child(dedicated, id="dedicated")]))

    (one,), (other,) = await started(stage, 1, "packed"), await started(stage, 1, "dedicated")

    assert stage.cell(one).request.placement == Packed("root/packed")
    assert stage.cell(other).request.placement == Dedicated()


@virtual
async def test_beyond_max_children_a_start_is_refused_until_one_is_gone() -> None:
    stage = Stage()
    await stage.start(of_actors(max_children=2))
    first, _ = await started(stage, 2)

    with pytest.raises(MaxChildren, match="root/pool has 2 children") as refused:
        await stage.dynamic("pool").start_child()
    await stage.dynamic("pool").stop_child(first.rpartition("/")[2])
    await started(stage, 1)

    assert (refused.value.supervisor, refused.value.limit) == ("root/pool", 2)


@virtual
async def test_a_child_that_waits_for_its_restart_counts_for_max_children() -> None:
    backoff = Backoff(first_s=1.0)
    stage, (one, _) = await pool_of(DynamicSupervisor(child(Actor), max_children=2, backoff=backoff), 2)
    await stage.crash(one)
    await stage.crash(one)

    with pytest.raises(MaxChildren):
        await stage.dynamic("pool").start_child()

    assert stage.states("pool")[one.rpartition("/")[2]] == "restarting"
    assert await stage.dynamic("pool").count_children() == ChildCounts(specs=1, active=1, supervisors=0, workers=2)


@virtual
async def test_a_child_that_does_not_start_leaves_nothing_and_frees_its_place() -> None:
    stage = Stage()
    await stage.start(of_actors(max_children=1))
    pool = stage.dynamic("pool")
    for number in range(100):
        stage.fail_starts[f"pool/{number}"] = 1

    with pytest.raises(FailedToStartChild) as failed:
        await pool.start_child()

    assert isinstance(failed.value.root_cause, Crashed)
    assert await pool.which_children() == ()
    assert stage.alive() == {"pool"}


@virtual
async def test_ids_are_never_given_twice_even_by_the_next_life_of_the_supervisor() -> None:
    stage = Stage()
    await stage.start(of_actors())
    before = await started(stage, 3)
    stage.cell("pool").kill()
    await pass_time(0.001)

    after = await started(stage, 3)

    assert len({*before, *after}) == 6
    with pytest.raises(AskFailed) as gone:
        await stage.ref(before[0]).ask(Ping())
    assert gone.value.reason == NoProc()


@virtual
async def test_a_dynamic_supervisor_may_make_whole_trees() -> None:
    tree = Supervisor(children=[child(Actor, id="a"), child(Actor, id="b")])
    stage, (one,) = await pool_of(DynamicSupervisor(child(tree, id="tree")), 1)

    with pytest.raises(Refused, match="take no config"):
        await stage.dynamic("pool").start_child("config")

    assert stage.alive() == {"pool", one, f"{one}/a", f"{one}/b"}
    assert await stage.dynamic("pool").count_children() == ChildCounts(specs=1, active=1, supervisors=1, workers=0)


@virtual
async def test_the_first_failure_is_told_through_a_tree_of_dynamic_and_static_supervisors() -> None:
    tree = Supervisor(children=[child(Actor, id="a")])
    stage, _ = await pool_of(DynamicSupervisor(child(tree, id="tree")), 0)
    for number in range(100):
        stage.fail_starts[f"pool/{number}/a"] = 1

    with pytest.raises(FailedToStartChild) as failed:
        await stage.dynamic("pool").start_child()

    assert failed.value.path.endswith("/a")
    assert getattr(failed.value.root_cause, "type_name", "") == "Boom"


# ---- ends and restarts ---------------------------------------------------------------------------


@virtual
async def test_a_crashed_child_comes_back_under_its_id_with_its_config() -> None:
    stage, _ = await pool_of(DynamicSupervisor(child(Actor)), 0)
    row = await stage.dynamic("pool").start_child("mine")
    path = stage.short(row.actor)

    await stage.crash(path)

    assert stage.alive() == {"pool", path}
    assert stage.cell(path).incarnation > row.incarnation
    assert stage.cell(path).request.config == "mine"


@pytest.mark.parametrize(("restart", "left"), [("permanent", 1), ("transient", 0), ("temporary", 0)])
@virtual
async def test_a_child_that_finishes_and_is_not_restarted_is_gone(restart: RestartName, left: int) -> None:
    stage = Stage()
    await stage.start(of_actors(restart=restart))
    (one,) = await started(stage, 1)

    await stage.tell(one, Finish())

    assert len(await stage.dynamic("pool").which_children()) == left
    assert (ActorId(f"root/{one}") in stage.runtime.cells) == bool(left)


@virtual
async def test_a_dynamic_supervisor_that_restarts_too_often_escalates_and_comes_back_empty() -> None:
    stage = Stage()
    await stage.start(of_actors(max_restarts=1))
    one, two = await started(stage, 2)

    await stage.crash(one)
    await stage.crash(two)

    assert isinstance(stage.exit_of("pool"), Escalated)
    assert stage.alive() == {"pool"}
    assert await stage.dynamic("pool").which_children() == ()


@virtual
async def test_static_children_come_back_with_their_supervisor_and_dynamic_ones_do_not() -> None:
    stage = Stage()
    spec = Supervisor(children=[child(Actor, id="fixed"), child(DynamicSupervisor(child(Actor)), id="pool")])
    await stage.start(Supervisor(children=[child(spec, id="below")]))
    await started(stage, 2, "below/pool")

    stage.cell("below").kill()
    await pass_time(0.001)

    assert stage.alive() == {"below", "below/fixed", "below/pool"}


@virtual
async def test_dynamic_children_that_die_with_one_host_cost_one_restart_and_come_back_in_start_order() -> None:
    stage, paths = await pool_of(DynamicSupervisor(child(Actor), max_restarts=1), 20, Stage(FarStarter))
    stage.drain()

    stage.far.host_dies(*(f"root/{path}" for path in reversed(paths)))
    await pass_time(0.001)

    assert stage.alive() == {"pool", *paths}
    assert stage.drain() == [f"start {path}" for path in paths]


@virtual
async def test_a_dynamic_child_that_fails_to_start_again_is_retried_while_calls_come_between() -> None:
    stage = Stage()
    await stage.start(of_actors(max_restarts=5))
    one, two = await started(stage, 2)
    stage.fail_starts[one] = 2

    await stage.crash(one)

    assert stage.alive() == {"pool", one, two}
    assert [kind for kind, who in stage.kinds() if who == one.rpartition("/")[2]].count("start_failed") == 2


# ---- stopping ------------------------------------------------------------------------------------


@virtual
async def test_a_stopped_dynamic_child_is_dead_and_gone_and_a_second_stop_does_nothing() -> None:
    stage = Stage()
    await stage.start(of_actors())
    (one, two), pool = await started(stage, 2), stage.dynamic("pool")
    id = one.rpartition("/")[2]

    await pool.stop_child(id)
    await pool.stop_child(id)

    assert stage.alive() == {"pool", two}
    assert [row.actor for row in await pool.which_children()] == [f"root/{two}"]


@virtual
async def test_stopping_a_dynamic_child_that_waits_for_its_restart_takes_the_restart_back() -> None:
    stage, (one,) = await pool_of(DynamicSupervisor(child(Actor), backoff=Backoff(first_s=1.0)), 1)
    await stage.crash(one)
    await stage.crash(one)

    await stage.dynamic("pool").stop_child(one.rpartition("/")[2])
    await pass_time(60.0)

    assert stage.alive() == {"pool"}


@virtual
async def test_all_dynamic_children_stop_at_once_within_one_shared_limit() -> None:
    stage, paths = await pool_of(DynamicSupervisor(child(Actor, shutdown_s=10.0)), 200)
    for path in paths:
        stage.stop_takes_s[path] = 9.0
    before = stage.loop.time()

    await stage.stop()

    assert stage.loop.time() - before == pytest.approx(9.0, abs=0.1)
    assert not stage.runtime.cells


@virtual
async def test_dynamic_children_that_do_not_stop_are_killed_at_the_limit_and_the_others_are_not() -> None:
    stage, (quick, slow) = await pool_of(DynamicSupervisor(child(Actor, shutdown_s=10.0)), 2)
    stage.stop_takes_s[slow] = 60.0
    before = stage.loop.time()

    await stage.stop()

    assert stage.loop.time() - before == pytest.approx(10.0, abs=0.1)
    assert (stage.exit_of(quick).abnormal, type(stage.exit_of(slow))) == (False, Killed)


@virtual
async def test_dynamic_children_that_do_not_even_hear_the_stop_are_killed_at_the_limit() -> None:
    stage, paths = await pool_of(DynamicSupervisor(child(Actor, shutdown_s=10.0)), 3, Stage(FarStarter))
    stage.far.deaf.update(f"root/{path}" for path in paths)
    before = stage.loop.time()

    await stage.stop()

    assert stage.loop.time() - before == pytest.approx(10.0, abs=0.1)


@virtual
async def test_shutdown_of_0_kills_all_dynamic_children_at_once() -> None:
    stage, (one,) = await pool_of(DynamicSupervisor(child(Actor, shutdown_s=0)), 1)
    before = stage.loop.time()
    stage.ref(one).tell_nowait(Hang())

    await stage.stop()

    assert stage.loop.time() == before
    assert isinstance(stage.exit_of(one), Killed)


@virtual
async def test_a_dynamic_supervisor_does_not_end_before_the_death_of_each_child_is_confirmed() -> None:
    stage, (one, _) = await pool_of(DynamicSupervisor(child(Actor, shutdown_s=1.0)), 2, Stage(FarStarter))
    stage.far.lose(f"root/{one}")

    stopping = asyncio.ensure_future(stage.stop())
    await pass_time(60.0)
    still_there = not stopping.done()
    await stage.far.confirm(f"root/{one}")
    await stopping

    assert still_there


@virtual
async def test_a_killed_dynamic_supervisor_takes_its_children_with_it() -> None:
    stage = Stage()
    await stage.start(of_actors())
    await started(stage, 100)

    stage.cell("pool").kill()
    await pass_time(0.001)

    assert stage.alive() == {"pool"}


@virtual
async def test_a_stop_during_the_start_of_a_dynamic_child_leaves_nothing() -> None:
    stage = Stage()
    await stage.start(of_actors())
    for number in range(100):
        stage.start_takes_s[f"pool/{number}"] = 60.0
    starting = asyncio.ensure_future(stage.dynamic("pool").start_child())
    await pass_time(1.0)

    await stage.stop()

    with pytest.raises(AskFailed):
        await starting
    assert not stage.runtime.cells
    assert not +stage.lives


# ---- size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["static", "dynamic"])
@virtual
async def test_a_restart_looks_at_no_sibling(sort: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    if sort == "static":
        await stage.start(Supervisor(children=[child(Actor, str(number)) for number in range(20)]))
        one = "7"
    else:
        await stage.start(of_actors())
        one = (await started(stage, 20))[7]
    before = stage.cell(one).incarnation

    def looked(children: ChildList) -> NoReturn:
        raise AssertionError(f"all {len(children)} children were looked at")

    with monkeypatch.context() as patch:
        patch.setattr(ChildList, "__iter__", looked)
        await stage.crash(one)

    assert stage.cell(one).incarnation > before
