"""What an operator may do with the children of a supervisor that runs (SEMANTICS 2)."""

from __future__ import annotations

import asyncio

import pytest

from regrow.runtime.errors import AskFailed, Closed, Refused
from regrow.runtime.lifecycle import Crashed, Escalated, ExitReason, Killed, NoProc, Shutdown
from regrow.supervisors import (
    AlreadyPresent,
    AlreadyStarted,
    Backoff,
    ChildCounts,
    ChildRunning,
    CountChildren,
    FailedToStartChild,
    NoSuchChild,
    SpecError,
    Supervisor,
    WhichChildren,
    child,
)
from regrow.supervisors.report import MESSAGE_LIMIT_CHARS, bounded
from tests.supervisors.stage import SOON_S, Actor, Crash, Finish, Ping, Stage, pass_time, virtual

INNER = Supervisor(children=[child(Actor, "x")])


@virtual
async def test_which_children_tells_of_each_child_in_start_order() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a"), child(INNER, "inner", restart="transient")]))
    await stage.crash("a")

    a, inner = (await stage.ref().ask(WhichChildren())).children

    assert (a.id, a.actor, a.kind.value, a.restart.value, a.state) == ("a", "root/a", "worker", "permanent", "running")
    assert (a.restarts, a.incarnation, a.host, a.pid) == (1, stage.cell("a").incarnation, "here", stage.runtime.pid)
    assert a.last_reason == "Boom: a"
    assert (inner.actor, inner.kind.value, inner.restart.value) == ("root/inner", "supervisor", "transient")
    assert (a, inner) == await stage.supervisor().which_children() == stage.supervisor().rows()


@virtual
async def test_count_children_counts_as_otp_does() -> None:
    stage = Stage()
    children = [child(Actor, "a"), child(Actor, "f", restart="transient"), child(INNER, "inner")]
    await stage.start(Supervisor(children=children))
    await stage.tell("f", Finish())

    counts = await stage.supervisor().count_children()

    assert counts == ChildCounts(specs=3, active=2, supervisors=1, workers=2) == await stage.ref().ask(CountChildren())


@virtual
async def test_get_childspec_gives_the_spec() -> None:
    stage = Stage()
    spec = child(Actor, "a", shutdown_s=3.0)
    await stage.start(Supervisor(children=[spec]))

    assert await stage.supervisor().get_childspec("a") is spec


@pytest.mark.parametrize("name", ["get_childspec", "stop_child", "restart_child", "replace_child", "delete_child"])
@virtual
async def test_child_that_is_not_there_is_named_with_those_that_are(name: str) -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))

    with pytest.raises(NoSuchChild, match="'ghost'; its children are: a"):
        await getattr(stage.supervisor(), name)("ghost")

    assert stage.alive() == {"a"}


# ---- start_child -------------------------------------------------------------------------------


@virtual
async def test_started_child_is_the_last_and_is_supervised() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))

    row = await stage.supervisor().start_child(child(Actor, "b"))
    await stage.crash("b")

    assert (row.id, row.state, row.incarnation) == ("b", "running", 3)
    assert stage.drain() == ["start a", "start b", "start b"]
    await stage.stop()
    assert stage.drain() == ["stop b", "stop a"]


@virtual
async def test_start_child_refuses_an_id_that_is_taken() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a"), child(Actor, "f", restart="transient")]))
    await stage.tell("f", Finish())

    with pytest.raises(AlreadyStarted):
        await stage.supervisor().start_child(child(Actor, "a"))
    with pytest.raises(AlreadyPresent):
        await stage.supervisor().start_child(child(Actor, "f"))


@virtual
async def test_start_child_that_fails_leaves_nothing_and_tells_why() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))
    stage.fail_starts["inner/x"] = 1

    with pytest.raises(FailedToStartChild) as raised:
        await stage.supervisor().start_child(child(INNER, "inner"))

    assert raised.value.path == "inner/x"
    assert isinstance(raised.value.root_cause, Crashed)
    assert raised.value.root_cause.type_name == "Boom"
    assert stage.states() == {"a": "running"}
    assert set(stage.runtime.cells) == {"root", "root/a"}
    assert stage.kinds()[-1] == ("start_failed", "inner")


@virtual
async def test_start_child_checks_the_spec_against_this_supervisor() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[]))

    with pytest.raises(SpecError):
        await stage.supervisor().start_child(child(Actor, "s", restart="transient", significant=True))


@virtual
async def test_child_added_to_a_supervisor_is_gone_after_its_restart() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(INNER, "inner")]))
    await stage.supervisor("inner").start_child(child(Actor, "added"))

    stage.cell("inner").stop(Crashed(type_name="X", message="x"), None)
    await pass_time(SOON_S)

    assert stage.alive() == {"inner", "inner/x"}
    with pytest.raises(AskFailed):
        await stage.ref("inner/added").ask(Ping())


# ---- stop_child --------------------------------------------------------------------------------


@virtual
async def test_stop_child_returns_after_its_death_and_may_be_repeated() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a"), child(Actor, "b")]))
    stage.stop_takes_s["a"] = 3.0

    await stage.supervisor().stop_child("a")
    await stage.supervisor().stop_child("a")

    assert stage.states() == {"a": "stopped", "b": "running"}
    assert stage.lives["a"] == 0
    assert stage.drain() == ["start a", "start b", "stop a"]


@virtual
async def test_stopped_child_stays_stopped_when_its_siblings_restart() -> None:
    stage = Stage()
    await stage.start(Supervisor(strategy="one_for_all", children=[child(Actor, "a"), child(Actor, "b")]))
    await stage.supervisor().stop_child("a")

    await stage.crash("b")

    assert stage.states() == {"a": "stopped", "b": "running"}


@virtual
async def test_ask_of_a_stopped_child_fails_at_once() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(INNER, "inner")]))
    await stage.supervisor().stop_child("inner")

    with pytest.raises(AskFailed) as raised:
        await stage.ref("inner/x").ask(Ping())

    assert raised.value.reason == NoProc()


@virtual
async def test_stopped_temporary_child_is_removed() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "t", restart="temporary")]))

    await stage.supervisor().stop_child("t")

    assert stage.states() == {}


@virtual
async def test_stop_of_a_restarting_child_cancels_the_pending_retry() -> None:
    stage = Stage()
    backoff = Backoff(first_s=5.0, max_s=60.0)
    await stage.start(Supervisor(max_restarts=9, backoff=backoff, children=[child(Actor, "a")]))
    await stage.crash("a")
    await stage.crash("a")
    stage.drain()

    await stage.supervisor().stop_child("a")
    await pass_time(60.0)

    assert stage.drain() == []
    assert stage.states() == {"a": "stopped"}


@virtual
async def test_restarts_of_a_stopped_child_do_not_count_against_its_siblings() -> None:
    stage = Stage()
    spec = Supervisor(max_restarts=1, backoff=Backoff(), children=[child(Actor, "a"), child(Actor, "b")])
    await stage.start(spec)
    await stage.crash("a")

    await stage.supervisor().stop_child("a")
    await stage.crash("b")

    assert stage.alive() == {"b"}


async def with_b_failing(*, max_restarts: int) -> Stage:
    """a runs, b fails to start for a second, c waits for it."""
    stage = Stage()
    children = [child(Actor, id) for id in "abc"]
    await stage.start(Supervisor(strategy="rest_for_one", max_restarts=max_restarts, children=children))
    stage.fail_starts["b"] = 99
    stage.start_takes_s["b"] = 1.0
    await stage.crash("b")
    return stage


@virtual
async def test_siblings_that_wait_for_a_failing_child_stay_down_when_it_is_stopped() -> None:
    """As in OTP; and the retry that was cancelled costs nothing (the oracle's first find)."""
    stage = await with_b_failing(max_restarts=1)

    await stage.supervisor().stop_child("b")
    await pass_time(SOON_S)

    assert stage.states() == {"a": "running", "b": "stopped", "c": "waiting"}
    await stage.supervisor().restart_child("c")
    assert stage.states() == {"a": "running", "b": "stopped", "c": "running"}


@virtual
async def test_child_that_fails_to_start_is_restarting_and_who_waits_for_it_is_not() -> None:
    stage = await with_b_failing(max_restarts=9)

    questions = [stage.supervisor().which_children(), stage.supervisor().start_child(child(Actor, "b"))]
    rows, refusal = await asyncio.gather(*questions, return_exceptions=True)

    assert isinstance(rows, tuple)
    assert [row.state for row in rows] == ["running", "restarting", "waiting"]
    assert isinstance(refusal, AlreadyPresent)


@virtual
async def test_retry_keeps_its_place_in_the_mailbox_when_the_child_fails_again_before_it() -> None:
    stage = Stage()
    children = [child(Actor, id) for id in "abc"]
    await stage.start(Supervisor(strategy="one_for_all", max_restarts=9, children=children))
    stage.fail_starts["b"] = 2
    stage.start_takes_s["b"] = 1.0
    stage.ref("a").tell_nowait(Crash())
    await pass_time(0.5)
    stage.cell("a").kill()  # its exit is decided on before the first retry
    await pass_time(1.0)
    stage.drain()

    await stage.supervisor().stop_child("c")  # comes after the first retry and before a second one

    assert stage.drain() == ["fail b", "stop a", "start a", "start b", "start c", "stop c"]
    assert stage.alive() == {"a", "b"}


@virtual
async def test_stop_child_returns_although_the_child_is_started_again_at_once() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))

    async with asyncio.timeout(1.0), asyncio.TaskGroup() as operators:
        operators.create_task(stage.supervisor().stop_child("a"))
        operators.create_task(stage.supervisor().restart_child("a"))

    assert stage.alive() == {"a"}


# ---- restart_child, delete_child ---------------------------------------------------------------


@virtual
async def test_restart_child_starts_a_stopped_one_again() -> None:
    stage = Stage()
    await stage.start(Supervisor(max_restarts=0, children=[child(Actor, "a")]))
    await stage.supervisor().stop_child("a")

    row = await stage.supervisor().restart_child("a")

    assert (row.state, row.restarts, row.incarnation) == ("running", 0, 3)
    assert stage.alive() == {"a"}


@virtual
async def test_restart_child_that_fails_leaves_it_as_it_was() -> None:
    stage = Stage()
    await stage.start(Supervisor(max_restarts=0, children=[child(Actor, "a")]))
    await stage.supervisor().stop_child("a")
    stage.fail_starts["a"] = 1

    with pytest.raises(FailedToStartChild):
        await stage.supervisor().restart_child("a")

    assert stage.states() == {"a": "stopped"}
    assert set(stage.runtime.cells) == {"root"}


@virtual
async def test_running_child_can_not_be_restarted_or_deleted() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))

    with pytest.raises(ChildRunning):
        await stage.supervisor().restart_child("a")
    with pytest.raises(ChildRunning):
        await stage.supervisor().delete_child("a")


@virtual
async def test_deleted_child_leaves_its_id_free() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))
    await stage.supervisor().stop_child("a")

    await stage.supervisor().delete_child("a")
    await stage.supervisor().start_child(child(Actor, "a"))

    assert stage.alive() == {"a"}


# ---- turns -------------------------------------------------------------------------------------


@virtual
async def test_administration_waits_for_the_restart_that_runs() -> None:
    stage = Stage()
    await stage.start(Supervisor(strategy="one_for_all", children=[child(Actor, "a"), child(Actor, "b")]))
    stage.start_takes_s["a"] = 1.0
    await stage.crash("a")
    stage.drain()

    await stage.supervisor().stop_child("b")

    assert stage.drain() == ["start b", "stop b"]
    assert stage.states() == {"a": "running", "b": "stopped"}


@virtual
async def test_rows_can_be_read_in_the_middle_of_a_restart() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))
    stage.start_takes_s["a"] = 1.0

    await stage.crash("a")

    assert stage.states() == {"a": "starting"}


@virtual
async def test_work_meant_for_an_earlier_life_is_refused() -> None:
    stage = Stage()
    inner = Supervisor(max_restarts=0, children=[child(Actor, "x"), child(Actor, "y")])
    await stage.start(Supervisor(children=[child(inner, "inner")]))
    stage.stop_takes_s["inner/x"] = 1.0
    before = stage.supervisor("inner")
    await stage.crash("inner/y")

    with pytest.raises(Refused, match="was restarted"):
        await before.stop_child("x")
    with pytest.raises(Closed):
        await before.stop_child("x")

    assert stage.alive() == {"inner", "inner/x", "inner/y"}


@virtual
async def test_administration_of_a_supervisor_that_stops_fails_with_its_end() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))
    stage.stop_takes_s["a"] = 1.0
    stopping = asyncio.ensure_future(stage.stop())
    await pass_time(SOON_S)

    with pytest.raises(AskFailed):
        await stage.supervisor().which_children()

    await stopping


@virtual
async def test_abandoned_administration_is_not_carried_out() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a"), child(Actor, "b")]))
    stage.start_takes_s["a"] = 1.0
    await stage.crash("a")
    stop = asyncio.ensure_future(stage.supervisor().stop_child("b"))
    await pass_time(SOON_S)

    stop.cancel()
    await pass_time(2.0)

    assert stage.alive() == {"a", "b"}


@virtual
async def test_start_child_that_the_kill_of_its_supervisor_cuts_short_leaves_nothing() -> None:
    stage = Stage()
    stage.start_takes_s["late"] = 60.0
    await stage.start(Supervisor(children=[child(Actor, "a")]))
    starting = asyncio.ensure_future(stage.supervisor().start_child(child(Actor, "late")))
    await pass_time(1.0)

    stage.cell().kill()

    with pytest.raises(AskFailed):
        await starting
    await pass_time(60.0)
    assert not stage.runtime.cells


def test_report_bounds_what_an_exception_said() -> None:
    reason = bounded(Crashed(type_name="X", message="m" * 10**6))

    assert isinstance(reason, Crashed)
    assert len(reason.message) == MESSAGE_LIMIT_CHARS + 1


def test_report_bounds_what_an_agent_said_when_it_ended_itself() -> None:
    long = "x" * 10**6
    reasons: list[ExitReason] = [
        Shutdown(detail=long),
        Killed(detail=long),
        Escalated(child=long, restarts=1, cause=long),
        Crashed(type_name=long, message=long, traceback=long, on_message=long),
    ]

    for reason in reasons:
        assert len(repr(bounded(reason))) < 20_000

    assert bounded(Shutdown(detail="short")) == Shutdown(detail="short")
    assert bounded(None) is None


@virtual
async def test_supervisor_that_has_not_started_can_not_be_administered() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[]))
    supervisor = type(stage.supervisor())(
        Supervisor(),
        stage.starter,
        incarnations=stage.next_incarnation,
        time=stage.loop.time,
        jitter=lambda: 0.0,
        report=stage.reports.append,
    )

    with pytest.raises(Closed):
        await supervisor.which_children()

    assert supervisor.rows() == ()


@virtual
async def test_child_that_is_replaced_keeps_its_mailbox_and_costs_no_budget() -> None:
    stage = Stage()
    await stage.start(Supervisor(max_restarts=0, children=[child(Actor, "a"), child(Actor, "b")]))
    before = stage.cell("a").incarnation
    stage.stop_takes_s["a"] = 1.0
    replacing = asyncio.ensure_future(stage.supervisor().replace_child("a"))
    await pass_time(0.5)
    asking = asyncio.ensure_future(stage.ref("a").ask(Ping()))  # comes while it stops

    row = await replacing

    await asking
    assert row.incarnation > before
    assert stage.states() == {"a": "running", "b": "running"}


@virtual
async def test_child_that_fails_to_start_again_when_it_is_replaced_is_stopped() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))
    stage.fail_starts["a"] = 1

    with pytest.raises(FailedToStartChild):
        await stage.supervisor().replace_child("a")
    assert stage.states() == {"a": "stopped"}

    await stage.supervisor().replace_child("a")
    assert stage.states() == {"a": "running"}
