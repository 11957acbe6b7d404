"""The doors to supervisors: what is asked by message, and what comes back to whoever asked (SEMANTICS 2)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from regrow.runtime.address import Address
from regrow.runtime.errors import AskTimeout, InvalidMessage, Misuse, Refused
from regrow.runtime.lifecycle import Crashed, Shutdown
from regrow.runtime.mailbox import Overflow
from regrow.runtime.packing import opened
from regrow.runtime.ref import ActorRef
from regrow.supervisors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildRunning,
    DynamicChild,
    DynamicSupervisor,
    FailedToStartChild,
    Kind,
    MaxChildren,
    NoSuchChild,
    Restart,
    SpecRow,
    Supervisor,
    UnfitChild,
    child,
)
from regrow.supervisors import children as rows
from regrow.supervisors.requests import (
    StopChild,
    count_children,
    delete_child,
    get_childspec,
    restart_child,
    start_child,
    stop_child,
    which_children,
)
from tests.supervisors.stage import Actor, FarStarter, Ping, Stage, pass_time, virtual

INNER = Supervisor(children=[child(Actor, "x")])


async def with_pool(stage: Stage | None = None, max_children: int = 10) -> Stage:
    """A static child and a pool."""
    stage = stage if stage is not None else Stage()
    pool = DynamicSupervisor(child(Actor, shutdown_s=1.0), max_children=max_children)
    await stage.start(Supervisor(children=[child(Actor, "a", shutdown_s=1.0), child(pool, "pool"), child(INNER, "in")]))
    return stage


@dataclass
class Loose:
    """A config that could be changed on its way."""

    n: int = 0


# ---- dynamic -------------------------------------------------------------------------------------


@virtual
async def test_a_started_child_is_reached_by_the_ref_that_comes_back() -> None:
    stage = await with_pool()

    ref = await start_child(stage.ref("pool"), ("a", "config"))

    assert (await ref.ask(Ping())).life == stage.cell(stage.short(ref.id)).incarnation
    assert opened(stage.cell(stage.short(ref.id)).request.config) == ("a", "config")


@virtual
async def test_a_config_that_would_be_another_value_elsewhere_is_refused_before_it_leaves() -> None:
    stage = await with_pool()

    with pytest.raises(InvalidMessage, match="a child of root/pool: its config Loose can not travel"):
        await start_child(stage.ref("pool"), Loose())

    assert await which_children(stage.ref("pool")) == ()


@virtual
async def test_max_children_comes_back_as_itself_and_the_supervisor_lives() -> None:
    stage = await with_pool(max_children=1)
    await start_child(stage.ref("pool"), None)

    with pytest.raises(MaxChildren, match="root/pool has 1 children"):
        await start_child(stage.ref("pool"), None)

    assert (await count_children(stage.ref("pool"))).active == 1


@virtual
async def test_a_ref_of_an_earlier_life_stops_nothing_of_a_later_one() -> None:
    stage = await with_pool()
    ref = await start_child(stage.ref("pool"), None)
    path = stage.short(ref.id)
    earlier = ActorRef(Address(ref.address.actor, stage.cell(path).incarnation), stage.runtime)
    await stage.crash(path)

    await stop_child(earlier)
    survived = path in stage.alive()
    await stop_child(ref)

    assert survived
    assert path not in stage.alive()


@virtual
async def test_a_dynamic_child_can_be_neither_restarted_nor_deleted() -> None:
    stage = await with_pool()
    ref = await start_child(stage.ref("pool"), None)

    for ask in (restart_child, delete_child):
        with pytest.raises(DynamicChild, match="start another child instead"):
            await ask(ref)


@virtual
async def test_more_children_than_fit_into_one_reply_are_told_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regrow.supervisors.bookkeeping.ROWS_LIMIT", 4)
    stage = await with_pool()
    refs = [await start_child(stage.ref("pool"), None) for _ in range(10)]

    told = await which_children(stage.ref("pool"))

    assert [row.actor for row in told] == [ref.id for ref in refs]
    assert rows.ROWS_LIMIT == 1_000


# ---- static --------------------------------------------------------------------------------------


@virtual
async def test_a_static_child_is_stopped_restarted_and_deleted_by_message() -> None:
    stage = await with_pool()

    with pytest.raises(ChildRunning):
        await delete_child(stage.ref("a"))
    await stop_child(stage.ref("a"))
    await stop_child(stage.ref("a"))
    ref = await restart_child(stage.ref("a"))
    back = "a" in stage.alive()
    await stop_child(ref)
    await delete_child(ref)

    assert back
    assert [row.id for row in await which_children(stage.ref())] == ["pool", "in"]
    assert stage.exit_of("a") == Shutdown()


@virtual
async def test_a_static_child_is_added_by_message_as_the_last_one_and_lives_as_its_spec_says() -> None:
    stage = await with_pool()

    ref = await start_child(stage.ref(), None, spec=child(Actor, "b", config=("its", "own")))
    await stage.crash("b")

    assert [row.id for row in await which_children(stage.ref())] == ["a", "pool", "in", "b"]
    assert (await ref.ask(Ping())).life == stage.cell("b").incarnation
    assert stage.cell("b").request.config == ("its", "own")


@virtual
async def test_a_static_child_of_an_id_that_is_taken_is_refused_and_its_supervisor_lives() -> None:
    stage = await with_pool()

    with pytest.raises(AlreadyStarted):
        await start_child(stage.ref(), None, spec=child(Actor, "a"))
    await stop_child(stage.ref("a"))
    with pytest.raises(AlreadyPresent):
        await start_child(stage.ref(), None, spec=child(Actor, "a"))

    assert (await count_children(stage.ref())).specs == 3


@virtual
async def test_an_added_child_that_does_not_start_says_why_and_nothing_is_left_of_it() -> None:
    stage = await with_pool()
    stage.fail_starts["b"] = 1

    with pytest.raises(FailedToStartChild, match="b does not start"):
        await start_child(stage.ref(), None, spec=child(Actor, "b"))

    assert [row.id for row in await which_children(stage.ref())] == ["a", "pool", "in"]


@virtual
async def test_a_child_that_a_supervisor_can_not_have_is_refused_with_what_to_do() -> None:
    stage = await with_pool()
    significant = child(Actor, "b", restart="transient", significant=True)

    with pytest.raises(UnfitChild, match="significant is True; allowed: False while auto_shutdown is 'never'"):
        await start_child(stage.ref(), None, spec=significant)
    with pytest.raises(UnfitChild, match=r"is no DynamicSupervisor, .* give spec=child\(…\)"):
        await start_child(stage.ref(), None)
    with pytest.raises(UnfitChild, match="is a DynamicSupervisor and makes all its children of one spec"):
        await start_child(stage.ref("pool"), None, spec=child(Actor, "b"))
    with pytest.raises(Misuse, match=r"a spec has its config in it; write child\(…, config=…\)"):
        await start_child(stage.ref(), "config", spec=child(Actor, "b"))

    assert stage.alive() == {"a", "pool", "in", "in/x"}


@virtual
async def test_a_child_whose_asker_has_given_up_is_not_started() -> None:
    stage = await with_pool()
    stage.stop_takes_s["a"] = 0.5
    stopping = asyncio.ensure_future(stop_child(stage.ref("a")))
    await pass_time(0.01)

    with pytest.raises(AskTimeout):
        await start_child(stage.ref(), None, 0.1, spec=child(Actor, "b"))
    await stopping

    assert "b" not in stage.alive()


@virtual
async def test_the_spec_of_a_child_is_told_by_message() -> None:
    stage = await with_pool()

    told = await get_childspec(stage.ref("a"))

    assert told == SpecRow(
        id="a",
        target="tests.supervisors.stage:Actor",
        kind=Kind.WORKER,
        restart=Restart.PERMANENT,
        shutdown_s=1.0,
        significant=False,
        placement="",
        mailbox=1_000,
        overflow=Overflow.BLOCK,
    )
    assert (await get_childspec(stage.ref("in"))).target == "Supervisor"
    assert (await get_childspec(stage.ref("pool"))).target == "DynamicSupervisor"
    with pytest.raises(NoSuchChild, match="its children are: a, pool, in"):
        await get_childspec(stage.ref("b"))


@virtual
async def test_the_spec_of_any_child_of_a_pool_is_that_of_all() -> None:
    stage = await with_pool()
    ref = await start_child(stage.ref("pool"), None)

    told = await get_childspec(ref)

    assert (told.target, told.shutdown_s) == ("tests.supervisors.stage:Actor", 1.0)
    assert told.placement == "Packed(pool='root/pool', hosts=1)"


@virtual
async def test_a_child_that_is_not_there_comes_back_as_that_error_with_those_that_are() -> None:
    stage = await with_pool()

    with pytest.raises(NoSuchChild, match="its children are: a, pool, in"):
        await stop_child(stage.ref("b"))


@virtual
async def test_a_failed_restart_comes_back_with_its_path_and_first_traceback() -> None:
    stage = await with_pool()
    await stop_child(stage.ref("in"))
    stage.fail_starts["in/x"] = 1

    with pytest.raises(FailedToStartChild) as failed:
        await restart_child(stage.ref("in"))

    assert failed.value.path == "in/x"
    assert isinstance(failed.value.root_cause, Crashed)
    assert "Boom" in failed.value.root_cause.traceback
    assert any("Boom" in note for note in failed.value.__notes__)


@virtual
async def test_the_root_of_a_tree_is_no_ones_child() -> None:
    stage = await with_pool()

    with pytest.raises(Misuse, match="root of a tree"):
        await stop_child(stage.ref())


# ---- deaths that nobody can confirm --------------------------------------------------------------


@pytest.mark.parametrize("where", ["a", "pool"])
@virtual
async def test_stop_waits_until_the_death_is_certain_and_the_supervisor_answers_meanwhile(where: str) -> None:
    stage = await with_pool(Stage(FarStarter))
    ref = stage.ref("a") if where == "a" else await start_child(stage.ref("pool"), None)
    stage.far.lose(ref.id)

    stopping = asyncio.ensure_future(stop_child(ref))
    await pass_time(5.0)
    (state,) = [row.state for row in await which_children(_above(stage, ref)) if row.actor == ref.id]
    done_before = stopping.done()
    await stage.far.confirm(ref.id)
    await stopping

    assert (state, done_before) == ("unconfirmed", False)
    assert not stage.doubled


@virtual
async def test_stop_gives_up_at_its_deadline_while_the_death_is_not_certain() -> None:
    stage = await with_pool(Stage(FarStarter))
    ref = await start_child(stage.ref("pool"), None)
    stage.far.lose(ref.id)

    with pytest.raises(AskTimeout, match=r"did not answer StopChild within 20 s"):
        await stop_child(ref, timeout_s=20.0)

    assert not (await stage.ref("pool").ask(StopChild(id=ref.id.rpartition("/")[2]))).confirmed
    await stage.far.confirm(ref.id)
    assert await which_children(stage.ref("pool")) == ()


@virtual
async def test_what_is_no_request_of_supervisors_is_refused_by_both_sorts() -> None:
    stage = await with_pool()

    for path in ("", "pool"):
        with pytest.raises(Refused, match="has no use for Ping"):
            await stage.ref(path).ask(Ping())


def _above(stage: Stage, ref: ActorRef) -> ActorRef:
    return stage.ref(stage.short(ref.id).rpartition("/")[0])
