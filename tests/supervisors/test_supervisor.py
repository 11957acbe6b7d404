"""The supervisor on a real runtime: starts, ends, restarts, escalation (SEMANTICS 2)."""

from __future__ import annotations

import asyncio

import pytest

from regrow.runtime.errors import AskFailed
from regrow.runtime.lifecycle import Escalated, Exited, Fenced, Killed, NoProc
from regrow.supervisors import Backoff, Supervisor, child
from regrow.supervisors.spec import RestartName, StrategyName
from tests.supervisors.stage import SOON_S, Actor, Crash, FarStarter, Finish, Ping, Stage, pass_time, virtual

# ---- start -------------------------------------------------------------------------------------


@virtual
async def test_children_start_in_spec_order_one_after_the_other() -> None:
    stage = Stage()
    stage.start_takes_s["a"] = 5.0

    await stage.start(Supervisor(children=[child(Actor, "a"), child(Actor, "b")]))

    assert stage.drain() == ["start a", "start b"]
    assert stage.alive() == {"a", "b"}


@virtual
async def test_hosts_of_all_children_are_requested_together() -> None:
    stage = Stage(FarStarter)

    await stage.start(Supervisor(children=[child(Actor, "a"), child(Actor, "b")]))

    assert stage.far.prepared == [("root/a", "root/b")]


@virtual
async def test_failed_start_stops_the_started_in_reverse_and_leaves_nothing() -> None:
    stage = Stage()
    stage.fail_starts["c"] = 1

    failed = await stage.try_start(Supervisor(children=[child(Actor, id) for id in "abcd"]))

    assert failed is not None
    assert failed.message.startswith("child 'c' failed to start (Boom: c does not start)")
    assert stage.drain() == ["start a", "start b", "start c", "fail c", "stop b", "stop a"]
    assert not stage.alive()
    assert stage.kinds()[2:] == [("start_failed", "c"), ("child_terminated", "b"), ("child_terminated", "a")]


@virtual
async def test_a_hundred_retries_of_a_failed_start_never_meet_already_started() -> None:
    stage = Stage()
    stage.fail_starts["inner/b"] = 100
    inner = Supervisor(children=[child(Actor, "a"), child(Actor, "b")])

    causes = [await stage.try_start(Supervisor(children=[child(inner, "inner")])) for _ in range(101)]

    assert {cause.message.partition(";")[0] for cause in causes if cause is not None} == {
        "child 'inner/b' failed to start (Boom: inner/b does not start)"
    }
    assert causes[-1] is None
    assert stage.alive() == {"inner", "inner/a", "inner/b"}


@virtual
async def test_first_traceback_is_kept_through_nested_supervisors() -> None:
    stage = Stage()
    stage.fail_starts["x/y/z"] = 1
    innermost = Supervisor(children=[child(Actor, "z")])
    inner = Supervisor(children=[child(innermost, "y")])

    failed = await stage.try_start(Supervisor(children=[child(inner, "x")]))

    assert failed is not None
    assert failed.type_name == "FailedToStartChild"
    assert "'x/y/z' failed to start (Boom: x/y/z does not start)" in failed.message
    assert 'raise Boom(f"{self.id} does not start")' in failed.traceback


@virtual
async def test_nothing_is_left_of_a_start_that_failed() -> None:
    stage = Stage()
    stage.fail_starts["b"] = 1

    await stage.try_start(Supervisor(children=[child(Actor, "a"), child(Actor, "b")]))

    assert not stage.runtime.cells


# ---- end of a child ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("restart", "message", "started_again"),
    [
        ("permanent", Crash(), True),
        ("permanent", Finish(), True),
        ("transient", Crash(), True),
        ("transient", Finish(), False),
        ("temporary", Crash(), False),
        ("temporary", Finish(), False),
    ],
)
@virtual
async def test_restart_type_says_which_ends_are_followed_by_a_start(
    restart: RestartName, message: Crash | Finish, started_again: bool
) -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a", restart=restart), child(Actor, "b")]))
    stage.drain()

    await stage.tell("a", message)

    assert ("start a" in stage.drain()) is started_again
    assert ("a" in stage.alive()) is started_again
    assert "b" in stage.alive()


@virtual
async def test_an_end_that_needs_no_restart_costs_no_budget() -> None:
    stage = Stage()
    children = [child(Actor, f"t{n}", restart="temporary") for n in range(9)]
    await stage.start(Supervisor(max_restarts=0, children=[*children, child(Actor, "f", restart="transient")]))

    for n in range(9):
        await stage.crash(f"t{n}")
    await stage.tell("f", Finish())

    assert stage.states() == {"f": "finished"}


@virtual
async def test_ask_of_a_finished_child_fails_at_once() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a", restart="transient")]))
    await stage.tell("a", Finish())

    with pytest.raises(AskFailed) as raised:
        await stage.ref("a").ask(Ping())

    assert raised.value.reason == NoProc()


@virtual
async def test_child_whose_state_another_took_over_starts_again_free_of_budget() -> None:
    stage = Stage()
    await stage.start(Supervisor(max_restarts=0, children=[child(Actor, "a")]))

    stage.cell("a").end(Fenced())
    await pass_time(SOON_S)

    assert stage.alive() == {"a"}


@virtual
async def test_each_event_is_reported_once() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))
    first = stage.cell("a").incarnation

    await stage.crash("a")

    started, terminated, restarting, again = stage.reports
    assert [report.kind.value for report in stage.reports] == [
        "child_started",
        "child_terminated",
        "restarting",
        "child_started",
    ]
    assert {(report.supervisor, report.child) for report in stage.reports} == {("root", "a")}
    assert started.incarnation == terminated.incarnation == restarting.incarnation == first < again.incarnation
    assert str(terminated.reason) == str(restarting.reason) == "Boom: a"
    assert restarting.restarts == 1


@virtual
async def test_message_sent_while_a_child_restarts_reaches_its_next_life() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))
    stage.start_takes_s["a"] = 3.0
    before = stage.cell("a").incarnation
    await stage.crash("a")

    reply = await stage.ref("a").ask(Ping())

    assert reply.life > before


@virtual
async def test_exit_of_an_earlier_life_is_dropped() -> None:
    stage = Stage()
    await stage.start(Supervisor(max_restarts=1, children=[child(Actor, "a")]))
    first = stage.cell("a").incarnation
    await stage.crash("a")
    stage.drain()

    late = Exited(actor="root/a", incarnation=first, reason=Killed())
    settled = stage.supervisor().on_exit_of_child(late)
    await stage.tell("", late)

    assert settled
    assert stage.drain() == []
    assert stage.alive() == {"a"}


@virtual
async def test_exit_that_is_told_twice_is_decided_once() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a", restart="transient")]))
    await stage.tell("a", Finish())
    row = stage.supervisor().rows()[0]

    again = Exited(actor=row.actor, incarnation=row.incarnation, reason=Killed())

    assert stage.supervisor().on_exit_of_child(again)
    assert stage.supervisor().rows() == (row,)


@virtual
async def test_death_that_is_told_before_the_start_has_returned_is_followed_by_a_start() -> None:
    stage = Stage(FarStarter)
    stage.far.short_lived.add("root/a")

    await stage.start(Supervisor(children=[child(Actor, "a"), child(Actor, "b")]))
    await pass_time(SOON_S)

    assert stage.drain() == ["start a", "start b", "start a"]
    await stage.stop()
    assert stage.drain() == ["stop b", "stop a"]


# ---- restart -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "log"),
    [
        ("one_for_one", ["start b"]),
        ("rest_for_one", ["stop d", "stop c", "start b", "start c", "start d"]),
        ("one_for_all", ["stop d", "stop c", "stop a", "start a", "start b", "start c", "start d"]),
    ],
)
@virtual
async def test_strategy_says_which_siblings_follow(strategy: StrategyName, log: list[str]) -> None:
    stage = Stage()
    await stage.start(Supervisor(strategy=strategy, children=[child(Actor, id) for id in "abcd"]))
    stage.drain()

    await stage.crash("b")

    assert stage.drain() == log
    assert stage.alive() == set("abcd")


@virtual
async def test_temporary_bystanders_are_removed_and_finished_ones_start_again() -> None:
    stage = Stage()
    children = [child(Actor, "a"), child(Actor, "t", restart="temporary"), child(Actor, "f", restart="transient")]
    await stage.start(Supervisor(strategy="one_for_all", children=children))
    await stage.tell("f", Finish())
    stage.drain()

    await stage.crash("a")

    assert stage.drain() == ["stop t", "start a", "start f"]
    assert stage.states() == {"a": "running", "f": "running"}


@virtual
async def test_one_event_costs_one_unit_however_many_siblings_follow() -> None:
    stage = Stage()
    children = [child(Actor, id) for id in "abc"]
    await stage.start(Supervisor(strategy="one_for_all", max_restarts=1, children=children))

    await stage.crash("b")

    assert stage.alive() == set("abc")


@virtual
async def test_children_that_die_with_one_host_are_one_event() -> None:
    stage = Stage(FarStarter)
    await stage.start(Supervisor(max_restarts=1, children=[child(Actor, id) for id in "abc"]))
    stage.drain()

    stage.far.host_dies("root/c", "root/a")
    await pass_time(SOON_S)

    assert stage.drain() == ["start a", "start c"]
    assert [report.restarts for report in stage.reports if report.kind == "restarting"] == [1]


@virtual
async def test_a_hosts_deaths_that_are_told_late_are_the_same_event() -> None:
    stage = Stage(FarStarter)
    await stage.start(Supervisor(max_restarts=1, children=[child(Actor, id) for id in "abc"]))

    for id in "abc":
        stage.far.host_dies(f"root/{id}")
        await pass_time(SOON_S)

    assert stage.alive() == set("abc")


# ---- a start that fails during a restart -------------------------------------------------------


@virtual
async def test_failed_restart_is_tried_again_and_every_try_counts() -> None:
    stage = Stage()
    await stage.start(Supervisor(max_restarts=3, children=[child(Actor, "a"), child(Actor, "b")]))
    stage.fail_starts["b"] = 2
    stage.drain()

    await stage.crash("b")

    assert stage.drain() == ["start b", "fail b", "start b", "fail b", "start b"]
    assert [report.restarts for report in stage.reports if report.kind == "restarting"] == [1, 2, 3]
    assert stage.supervisor().rows()[1].restarts == 1


@virtual
async def test_a_child_that_never_comes_up_escalates() -> None:
    stage = Stage()
    await stage.start(Supervisor(max_restarts=3, children=[child(Actor, "a"), child(Actor, "b")]))
    stage.fail_starts["b"] = 99
    stage.drain()

    await stage.crash("b")

    assert stage.drain() == ["start b", "fail b"] * 3 + ["stop a"]
    assert stage.exit_of("root") == Escalated(child="b", restarts=4, cause="Boom: b does not start")


@virtual
async def test_questions_come_between_the_retries() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))
    stage.fail_starts["a"] = 2
    stage.start_takes_s["a"] = 1.0
    await stage.crash("a")

    (between,) = await stage.supervisor().which_children()

    assert between.state == "restarting"
    assert between.last_reason == "Boom: a does not start"
    assert stage.drain() == ["start a", "start a", "fail a"]


@virtual
async def test_rest_for_one_resumes_at_the_failing_child() -> None:
    stage = Stage()
    await stage.start(Supervisor(strategy="rest_for_one", children=[child(Actor, id) for id in "abcd"]))
    stage.fail_starts["c"] = 1
    stage.drain()

    await stage.crash("b")

    assert stage.drain() == ["stop d", "stop c", "start b", "start c", "fail c", "start c", "start d"]


@virtual
async def test_one_for_all_stops_what_it_had_started_and_begins_again() -> None:
    stage = Stage()
    await stage.start(Supervisor(strategy="one_for_all", children=[child(Actor, id) for id in "abc"]))
    stage.fail_starts["b"] = 1
    stage.drain()

    await stage.crash("c")

    assert stage.drain() == [
        "stop b",
        "stop a",
        "start a",
        "start b",
        "fail b",
        "stop a",
        "start a",
        "start b",
        "start c",
    ]


@virtual
async def test_backoff_waits_without_blocking_the_supervisor() -> None:
    stage = Stage()
    backoff = Backoff(first_s=2.0, max_s=60.0)
    await stage.start(Supervisor(max_restarts=9, backoff=backoff, children=[child(Actor, "a"), child(Actor, "b")]))
    await stage.crash("a")
    stage.drain()

    await stage.crash("a")
    await stage.crash("b")

    assert stage.drain() == ["start b"]
    assert stage.states() == {"a": "restarting", "b": "running"}
    await pass_time(2.0)
    assert stage.drain() == ["start a"]


@virtual
async def test_backoff_of_a_group_starts_all_of_it_after_the_wait() -> None:
    stage = Stage()
    backoff = Backoff(first_s=2.0, max_s=60.0)
    children = [child(Actor, id) for id in "abc"]
    await stage.start(Supervisor(strategy="rest_for_one", max_restarts=2, backoff=backoff, children=children))
    await stage.crash("b")
    stage.drain()

    await stage.crash("b")

    assert stage.drain() == ["stop c"]
    await pass_time(2.0)
    assert stage.drain() == ["start b", "start c"]


@virtual
async def test_waiting_does_not_hide_escalation() -> None:
    stage = Stage()
    backoff = Backoff(first_s=10.0, max_s=60.0)
    await stage.start(Supervisor(max_restarts=3, within_s=5.0, backoff=backoff, children=[child(Actor, "a")]))
    stage.fail_starts["a"] = 99

    await stage.crash("a")
    await pass_time(300.0)

    assert isinstance(stage.exit_of("root"), Escalated)


@virtual
async def test_with_backoff_restarts_grow_old_while_their_child_runs() -> None:
    stage = Stage()
    backoff = Backoff(first_s=2.0, max_s=60.0)
    await stage.start(Supervisor(max_restarts=1, within_s=5.0, backoff=backoff, children=[child(Actor, "a")]))

    for _ in range(4):
        await stage.crash("a")
        assert stage.alive() == {"a"}
        await pass_time(5.1)


# ---- escalation --------------------------------------------------------------------------------


@virtual
async def test_too_many_restarts_stop_all_in_reverse_and_escalate() -> None:
    stage = Stage()
    await stage.start(Supervisor(max_restarts=1, within_s=5.0, children=[child(Actor, id) for id in "abc"]))
    await stage.crash("b")
    stage.drain()

    await stage.crash("b")

    assert stage.drain() == ["stop c", "stop a"]
    assert [path for path, _ in stage.exits][-3:] == ["c", "a", "root"]
    assert stage.exit_of("root") == Escalated(child="b", restarts=2, cause="Boom: b")
    assert stage.kinds()[-3:] == [("escalated", "b"), ("child_terminated", "c"), ("child_terminated", "a")]


@virtual
async def test_restarts_outside_of_the_window_do_not_escalate() -> None:
    stage = Stage()
    await stage.start(Supervisor(max_restarts=1, within_s=5.0, children=[child(Actor, "a")]))

    for _ in range(5):
        await stage.crash("a")
        await pass_time(5.1)

    assert stage.alive() == {"a"}


@virtual
async def test_parent_restarts_an_escalated_supervisor_with_all_its_children() -> None:
    stage = Stage()
    inner = Supervisor(max_restarts=0, children=[child(Actor, "a"), child(Actor, "b")])
    await stage.start(Supervisor(children=[child(inner, "inner"), child(Actor, "c")]))
    stage.drain()

    await stage.crash("inner/a")

    assert stage.drain() == ["stop inner/b", "start inner/a", "start inner/b"]
    assert stage.alive() == {"inner", "inner/a", "inner/b", "c"}


@virtual
async def test_mail_of_a_sibling_outlives_the_escalation_of_its_supervisor() -> None:
    stage = Stage()
    inner = Supervisor(max_restarts=0, children=[child(Actor, "a"), child(Actor, "b")])
    await stage.start(Supervisor(children=[child(inner, "inner")]))
    stage.start_takes_s["inner/a"] = 2.0
    before = stage.cell("inner/b").incarnation
    await stage.crash("inner/a")

    reply = await stage.ref("inner/b").ask(Ping())

    assert reply.life > before


@virtual
async def test_failing_restart_of_a_nested_supervisor_is_retried_by_its_parent() -> None:
    stage = Stage()
    inner = Supervisor(max_restarts=0, children=[child(Actor, "a"), child(Actor, "b")])
    await stage.start(Supervisor(children=[child(inner, "inner")]))
    stage.fail_starts["inner/b"] = 1
    stage.drain()

    await stage.crash("inner/a")

    retry = ["start inner/a", "start inner/b"]
    assert stage.drain() == ["stop inner/b", *retry, "fail inner/b", "stop inner/a", *retry]
    assert stage.alive() == {"inner", "inner/a", "inner/b"}


# ---- auto-shutdown -----------------------------------------------------------------------------


@virtual
async def test_own_end_of_a_significant_child_ends_the_supervisor() -> None:
    stage = Stage()
    significant = child(Actor, "s", restart="transient", significant=True)
    await stage.start(Supervisor(auto_shutdown="any_significant", children=[child(Actor, "a"), significant]))
    stage.drain()

    await stage.tell("s", Finish())

    assert stage.drain() == ["stop s", "stop a"]
    assert not stage.exit_of("root").abnormal


# ---- what else reaches a supervisor ------------------------------------------------------------


@virtual
async def test_message_of_no_use_does_not_end_a_supervisor() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a")]))

    await stage.tell("", Crash())

    assert stage.alive() == {"a"}
    assert stage.runtime.dead_letters.counts["refused"] == 1


@virtual
async def test_crash_of_an_agent_that_is_linked_with_a_supervisor_does_not_end_it() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, "a"), child(Actor, "b")]))
    stage.runtime.tie(stage.cell("a"), stage.ref(), stage.runtime.origin)

    await stage.crash("a")

    assert stage.alive() == {"a", "b"}
    assert "root" not in dict(stage.exits)


@virtual
async def test_a_crash_while_later_siblings_start_is_decided_after_the_start() -> None:
    stage = Stage()
    stage.start_takes_s["b"] = 1.0
    starting = asyncio.ensure_future(stage.start(Supervisor(children=[child(Actor, "a"), child(Actor, "b")])))
    await pass_time(SOON_S)

    await stage.crash("a")
    await starting
    await pass_time(SOON_S)

    assert stage.drain() == ["start a", "start b", "start a"]
    assert stage.alive() == {"a", "b"}
