"""The three strategies and restart types, by example and against an independent model."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.runtime.lifecycle import Crashed, Escalated, ExitReason, Fenced, Killed, NoProc, Normal, Shutdown
from regrow.supervisors import (
    NOTHING,
    AutoShutdown,
    ChildExit,
    ChildState,
    Decision,
    Restart,
    Status,
    Strategy,
    decide,
    decide_retry,
    needs_restart,
    stop_order,
)

ONE, REST, ALL = Strategy.ONE_FOR_ONE, Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL
CRASH = Crashed(type_name="ValueError", message="no")
REASONS: list[ExitReason] = [
    Normal(),
    Shutdown(),
    Killed(),
    CRASH,
    Escalated(child="x", restarts=4),
    Fenced(),
    NoProc(),
]


def permanent(*ids: str) -> list[ChildState]:
    return [ChildState(id) for id in ids]


def ends(*ids: str, reason: ExitReason = CRASH) -> list[ChildExit]:
    return [ChildExit(id, reason) for id in ids]


# One table for SEMANTICS 1 and 2: which ends bring which children back.


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.kind)
def test_a_permanent_child_comes_back_whatever_the_reason(reason: ExitReason) -> None:
    assert needs_restart(Restart.PERMANENT, reason)


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.kind)
def test_a_transient_child_comes_back_unless_it_ended_as_it_should(reason: ExitReason) -> None:
    assert needs_restart(Restart.TRANSIENT, reason) is not isinstance(reason, Normal | Shutdown)


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.kind)
def test_a_temporary_child_never_comes_back(reason: ExitReason) -> None:
    assert not needs_restart(Restart.TEMPORARY, reason)


# The strategies.


@pytest.mark.parametrize(
    ("strategy", "stop", "start"),
    [(ONE, (), ("b",)), (REST, ("d", "c"), ("b", "c", "d")), (ALL, ("d", "c", "a"), ("a", "b", "c", "d"))],
)
def test_siblings_stop_in_reverse_and_start_in_order(
    strategy: Strategy, stop: tuple[str, ...], start: tuple[str, ...]
) -> None:
    decision = decide(strategy, permanent("a", "b", "c", "d"), ends("b"))

    assert decision == Decision(stop=stop, start=start, caused_by=("b",), counts=True)


def test_a_normal_end_of_a_permanent_child_costs_budget() -> None:
    assert decide(ONE, permanent("a"), ends("a", reason=Normal())).counts


def test_an_end_that_needs_no_restart_touches_nobody_and_costs_nothing() -> None:
    children = [ChildState("a"), ChildState("b", Restart.TRANSIENT), ChildState("c", Restart.TEMPORARY)]

    assert decide(ALL, children, ends("b", reason=Normal())) == Decision(finish=("b",))
    assert decide(ALL, children, ends("c")) == Decision(forget=("c",))


def test_temporary_bystanders_are_stopped_and_removed() -> None:
    children = [ChildState("a"), ChildState("b", Restart.TEMPORARY), ChildState("c")]

    decision = decide(REST, children, ends("a"))

    assert (decision.stop, decision.forget, decision.start) == (("c", "b"), ("b",), ("a", "c"))


def test_a_temporary_sibling_before_the_failed_one_is_left_alone() -> None:
    children = [ChildState("a", Restart.TEMPORARY), ChildState("b")]

    assert decide(REST, children, ends("b")) == Decision(start=("b",), caused_by=("b",), counts=True)


@pytest.mark.parametrize(("strategy", "start"), [(ONE, ("a",)), (REST, ("a", "b")), (ALL, ("a", "b"))])
def test_finished_transient_siblings_in_scope_start_again(strategy: Strategy, start: tuple[str, ...]) -> None:
    children = [ChildState("a"), ChildState("b", Restart.TRANSIENT, Status.FINISHED)]

    decision = decide(strategy, children, ends("a"))

    assert (decision.stop, decision.start) == ((), start)


@pytest.mark.parametrize("strategy", Strategy)
def test_children_an_operator_stopped_stay_stopped(strategy: Strategy) -> None:
    children = [ChildState("a"), ChildState("b", status=Status.STOPPED), ChildState("c")]

    decision = decide(strategy, children, ends("a"))

    assert "b" not in decision.stop + decision.start + decision.forget


def test_a_sibling_that_waits_for_its_start_is_taken_along() -> None:
    children = [ChildState("a"), ChildState("b", status=Status.RESTARTING)]

    assert decide(REST, children, ends("a")).start == ("a", "b")
    assert decide(ONE, children, ends("a")).start == ("a",)


@pytest.mark.parametrize("status", [Status.RESTARTING, Status.FINISHED, Status.STOPPED])
def test_an_exit_of_a_child_that_does_not_run_is_old_news(status: Status) -> None:
    children = [ChildState("a"), ChildState("b", status=status)]

    assert decide(ALL, children, ends("b")) is NOTHING
    assert decide(ALL, children, ends("nobody")) is NOTHING


# Several children of one event: one host died.


@pytest.mark.parametrize(
    ("strategy", "stop", "start"),
    [
        (ONE, (), ("b", "d")),
        (REST, ("e", "c"), ("b", "c", "d", "e")),
        (ALL, ("e", "c", "a"), ("a", "b", "c", "d", "e")),
    ],
)
def test_children_that_die_with_one_host_are_one_restart(
    strategy: Strategy, stop: tuple[str, ...], start: tuple[str, ...]
) -> None:
    decision = decide(strategy, permanent("a", "b", "c", "d", "e"), ends("d", "b", reason=Killed()))

    assert decision == Decision(stop=stop, start=start, caused_by=("b", "d"), counts=True)


def test_one_event_may_end_children_of_each_restart_type() -> None:
    children = [ChildState("a", Restart.TEMPORARY), ChildState("b", Restart.TRANSIENT), ChildState("c")]

    decision = decide(ONE, children, ends("a", "b", "c", reason=Normal()))

    assert decision == Decision(forget=("a",), finish=("b",), start=("c",), caused_by=("c",), counts=True)


def test_a_fenced_child_comes_back_without_cost() -> None:
    decision = decide(ONE, permanent("a"), ends("a", reason=Fenced()))

    assert (decision.start, decision.counts) == (("a",), False)


def test_a_crash_beside_a_fenced_child_still_costs() -> None:
    exits = [ChildExit("a", Fenced()), ChildExit("b", CRASH)]

    assert decide(ONE, permanent("a", "b"), exits).counts


# The retry of a failed start.


def test_one_for_one_retries_the_failed_child_alone() -> None:
    children = [ChildState(id, status=Status.RESTARTING) for id in "ab"]

    assert decide_retry(ONE, children, "b") == Decision(start=("b",), caused_by=("b",), counts=True)


def test_rest_for_one_resumes_at_the_failing_child() -> None:
    children = [ChildState("a"), *(ChildState(id, status=Status.RESTARTING) for id in "bc")]

    assert decide_retry(REST, children, "b").start == ("b", "c")


def test_one_for_all_stops_what_it_had_started_and_begins_again() -> None:
    children = [ChildState("a"), ChildState("b"), ChildState("c", status=Status.RESTARTING)]

    decision = decide_retry(ALL, children, "c")

    assert (decision.stop, decision.start) == (("b", "a"), ("a", "b", "c"))


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("status", [Status.RUNNING, Status.STOPPED])
def test_a_retry_that_nobody_waits_for_any_more_does_nothing(strategy: Strategy, status: Status) -> None:
    assert decide_retry(strategy, [ChildState("a", status=status)], "a") is NOTHING


def test_siblings_that_wait_stay_down_when_an_operator_stopped_the_failing_one() -> None:
    children = [ChildState("a", status=Status.STOPPED), ChildState("b", status=Status.WAITING)]

    assert decide_retry(REST, children, "a") is NOTHING


def test_siblings_that_wait_start_with_the_failing_one() -> None:
    children = [ChildState("a", status=Status.RESTARTING), ChildState("b", status=Status.WAITING)]

    assert decide_retry(REST, children, "a").start == ("a", "b")


# Auto-shutdown.


def significant(id: str, status: Status = Status.RUNNING) -> ChildState:
    return ChildState(id, Restart.TRANSIENT, status, significant=True)


def test_the_own_end_of_any_significant_child_ends_the_supervisor() -> None:
    children = [ChildState("a"), significant("b"), significant("c")]

    decision = decide(ONE, children, ends("b", reason=Normal()), auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)

    assert decision == Decision(stop=("c", "a"), shuts_down=True)


def test_an_end_that_is_restarted_does_not_end_the_supervisor() -> None:
    decision = decide(ONE, [significant("a")], ends("a"), auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)

    assert (decision.start, decision.shuts_down) == (("a",), False)


DOWN = (Status.WAITING, Status.FINISHED, Status.STOPPED)


@pytest.mark.parametrize(
    ("other", "shuts_down"),
    [(Status.RUNNING, False), (Status.RESTARTING, False), *((status, True) for status in DOWN)],
)
def test_all_significant_waits_for_the_last_active_one(other: Status, shuts_down: bool) -> None:
    children = [significant("a"), significant("b", other)]

    decision = decide(ONE, children, ends("a", reason=Normal()), auto_shutdown=AutoShutdown.ALL_SIGNIFICANT)

    assert decision.shuts_down is shuts_down


def test_an_insignificant_end_never_ends_the_supervisor() -> None:
    children = [ChildState("a", Restart.TEMPORARY), significant("b", Status.FINISHED)]

    decision = decide(ONE, children, ends("a"), auto_shutdown=AutoShutdown.ALL_SIGNIFICANT)

    assert decision == Decision(forget=("a",))


def test_running_children_stop_in_reverse_at_shutdown() -> None:
    children = [ChildState("a"), ChildState("b", status=Status.RESTARTING), ChildState("c")]

    assert stop_order(children) == ("c", "a")


# Against a model that asks of each child alone what must become of it.


def model(strategy: Strategy, children: Sequence[ChildState], exits: Sequence[ChildExit]) -> Decision:
    reason_of = {exit.id: exit.reason for exit in exits}
    places = range(len(children))
    ended = [c.status is Status.RUNNING and c.id in reason_of for c in children]
    failed = [
        ended[i]
        and (
            children[i].restart is Restart.PERMANENT
            or (
                children[i].restart is Restart.TRANSIENT
                and not isinstance(reason_of[children[i].id], Normal | Shutdown)
            )
        )
        for i in places
    ]
    touched = [any(failed[j] and {ONE: i == j, REST: i >= j, ALL: True}[strategy] for j in places) for i in places]
    stop, forget, finish, start = list[str](), list[str](), list[str](), list[str]()
    for i, c in enumerate(children):
        temporary = c.restart is Restart.TEMPORARY
        if touched[i] and c.status is Status.RUNNING and not ended[i]:
            stop.insert(0, c.id)
        if temporary and (touched[i] or ended[i]):
            forget.append(c.id)
        if touched[i] and not temporary and c.status is not Status.STOPPED:
            start.append(c.id)
        if ended[i] and not touched[i] and not temporary:
            finish.append(c.id)
    return Decision(
        stop=tuple(stop),
        forget=tuple(forget),
        finish=tuple(finish),
        start=tuple(start),
        caused_by=tuple(c.id for i, c in enumerate(children) if failed[i]),
        counts=any(failed[i] and not isinstance(reason_of[c.id], Fenced) for i, c in enumerate(children)),
    )


KINDS = [
    (restart, status)
    for restart, status in product(Restart, Status)
    if restart is not Restart.TEMPORARY or status is Status.RUNNING  # a temporary child runs or is gone
    if restart is Restart.TRANSIENT or status is not Status.FINISHED
]


@st.composite
def situations(draw: st.DrawFn) -> tuple[Strategy, list[ChildState], list[ChildExit]]:
    kinds = draw(st.lists(st.sampled_from(KINDS), max_size=8))
    children = [ChildState(f"c{place}", *kind) for place, kind in enumerate(kinds)]
    ids = draw(st.lists(st.sampled_from([*(c.id for c in children), "stranger"]), unique=True, max_size=5))
    exits = [ChildExit(id, draw(st.sampled_from(REASONS))) for id in ids]
    return draw(st.sampled_from(Strategy)), children, exits


@pytest.mark.slow
@given(situations())
def test_each_decision_is_that_of_the_model(situation: tuple[Strategy, list[ChildState], list[ChildExit]]) -> None:
    strategy, children, exits = situation

    assert decide(strategy, children, exits) == model(strategy, children, exits)


@pytest.mark.slow
@given(situations())
def test_who_is_started_does_not_run_and_who_runs_is_not_started(
    situation: tuple[Strategy, list[ChildState], list[ChildExit]],
) -> None:
    strategy, children, exits = situation
    decision = decide(strategy, children, exits)
    running = {c.id for c in children if c.status is Status.RUNNING} - {exit.id for exit in exits}

    assert set(decision.stop) <= running
    assert not set(decision.start) & (running - set(decision.stop))
    assert not set(decision.start) & (set(decision.forget) | set(decision.finish))
    assert set(decision.caused_by) <= set(decision.start)


@pytest.mark.slow
@given(situations())
def test_retries_end_once_every_start_succeeds(
    situation: tuple[Strategy, list[ChildState], list[ChildExit]],
) -> None:
    strategy, children, _ = situation

    for waiting in [c.id for c in children if c.status is Status.RESTARTING]:
        started = set(decide_retry(strategy, children, waiting).start)
        children = [ChildState(c.id, c.restart) if c.id in started else c for c in children]

    assert not [c for c in children if c.status is Status.RESTARTING]
