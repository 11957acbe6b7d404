"""Faults in the guards, and in what is kept of traces. See `faults`."""

from __future__ import annotations

from tests.mutation.agent_faults import of
from tests.mutation.faults import Fault

LIKENESS = "tests/runtime/test_likeness.py"
GUARDS = "tests/cluster/test_guards.py"
ROWS = "tests/cluster/test_span_row.py"
CALLS = "tests/cluster/test_call_guards.py"
TIME = "tests/cluster/test_run_time.py"
WIRE = "tests/router/test_wire_attempts.py"
LOOKS = "tests/supervisors/test_repeats_by_looks.py"
MONEY = "tests/cluster/test_run_money.py"
TELEMETRY = "tests/runtime/test_telemetry.py"
CONTENT = "tests/runtime/test_span_content.py"

GUARD_FAULTS = (
    Fault(
        name="a change far behind in a large state is not seen",
        edits=of(
            "runtime/likeness_parts.py",
            ("return _written(list(islice(items, at, at + MAX_WRITTEN)))", 'return ""'),
            ("_written(fields[at : at + MAX_WRITTEN])", '""'),
        ),
        inline=(f"{LIKENESS}::test_a_change_far_behind_in_a_large_value_is_one",),
        two_hosts=(),
    ),
    Fault(
        name="a circle is judged without the states of its agents",
        edits=of(
            "supervisors/turn_guard.py",
            ("kept_likenesses(state, volatile, own=own)", "kept_likenesses(None, volatile, own=own)"),
        ),
        inline=(f"{GUARDS}::test_agents_whose_state_changes_go_on_with_the_same_messages",),
        two_hosts=(),
    ),
    Fault(
        name="each thing that an agent keeps is progress of its circle, also the same again",
        edits=of(
            "supervisors/turn_guard.py", ("(_UNMARKED, loose), (_KINDS, rounds * GROWN_STEPS)", "(_UNMARKED, loose)")
        ),
        inline=(f"{GUARDS}::test_agents_that_keep_what_they_were_told_are_stopped_once_that_is_the_same_for_long",),
        two_hosts=(),
    ),
    Fault(
        name="what is ticked off in a list of an agent is no progress of its circle",
        edits=of("supervisors/turn_guard.py", ("if part is not _KINDS or _only_grows(", "if True or _only_grows(")),
        inline=(f"{GUARDS}::test_an_agent_that_ticks_off_what_is_done_goes_on_with_the_same_messages",),
        two_hosts=(),
    ),
    Fault(
        name="a cap is counted and not kept",
        edits=of(
            "runtime/memory_runs.py",
            (
                "if over := cap_passed(counts, age_s, guards, taking=amounts.plus(held)):",
                "if (over := cap_passed(counts, age_s, guards, taking=amounts.plus(held))) is None:",
            ),
        ),
        inline=("tests/conformance/test_run_store.py::test_what_would_pass_a_cap_is_not_added",),
        two_hosts=(),
    ),
    Fault(
        name="calls that were decided on together are counted one by one",
        edits=of(
            "supervisors/call_history.py",
            ("            if not name:\n", "            if not name or name == self._batch:\n"),
        ),
        inline=(f"{LOOKS}::test_many_of_one_batch_are_one",),
        two_hosts=(),
    ),
    Fault(
        name="the order within a batch counts",
        edits=of(
            "supervisors/call_history.py",
            ("by_what[key] for key in sorted(by_what)", "by_what[key] for key in by_what"),
        ),
        inline=(f"{LOOKS}::test_two_of_a_batch_in_any_order_are_the_same_round",),
        two_hosts=(),
    ),
    Fault(
        name="a restart of the agent that calls resets its count",
        edits=of(
            "actors/call_guard.py",
            (
                "self._judged_in = self._origin.tick or self._origin.run",
                'self._judged_in = f"{self._origin.tick or self._origin.run}/{ctx.incarnation}"',
            ),
        ),
        inline=(f"{CALLS}::test_a_restart_of_the_agent_that_calls_does_not_reset_its_count",),
        two_hosts=(),
    ),
    Fault(
        name="looks by a timer are one row of the same calls",
        edits=of(
            "runtime/turn_origin.py",
            ("tick=new_run() if cause.is_of_timer(cell.actor) else cause.tick", "tick=cause.tick"),
        ),
        inline=(f"{CALLS}::test_who_looks_again_by_a_timer_has_waited_and_is_not_stopped_before_a_cap_is_used_up",),
        two_hosts=(),
    ),
    Fault(
        name="things that are deleted by uuid are taken for noise",
        edits=of(
            "supervisors/repeats.py",
            (
                "Reading(Degree.UNMARKED, Degree.UNMARKED, 2, None, 2)",
                "Reading(Degree.UNMARKED, Degree.UNMARKED, 2, 2, 2)",
            ),
        ),
        inline=(f"{LOOKS}::test_one_thing_after_the_other_is_work_however_many_there_are",),
        two_hosts=(),
    ),
    Fault(
        name="a change of the agent's state between two calls is not seen",
        edits=of(
            "actors/call_guard.py",
            ("return state_likenesses(state,", "return STATELESS if state else state_likenesses(state,"),
        ),
        inline=(f"{CALLS}::test_who_calls_the_same_for_each_thing_on_a_list_of_its_own_is_not_stopped",),
        two_hosts=(),
    ),
    Fault(
        name="a counter in the agent's state hides a loop of calls",
        edits=of(
            "supervisors/repeats.py",
            ("        if is_still:\n            break", "        if degree == 0:\n            break"),
        ),
        inline=(f"{CALLS}::test_who_only_counts_its_calls_is_stopped_all_the_same",),
        two_hosts=(),
    ),
    Fault(
        name="each call of a tool waits for a store of runs that hangs",
        edits=of("runtime/fallback_runs.py", ("if now_s < self._asked_from_s:", "if now_s < 0:")),
        inline=(f"{CALLS}::test_while_the_store_of_runs_hangs_tools_are_called_without_it_and_their_loops_ended",),
        two_hosts=(),
    ),
    Fault(
        name="an ask outlasts the seconds of its run",
        edits=of(
            "runtime/asking.py", ("ends_at is not None and ends_at < deadline", "ends_at is not None and ends_at < 0")
        ),
        inline=(f"{TIME}::test_an_ask_that_is_under_way_is_refused_when_the_seconds_of_its_run_are_over",),
        two_hosts=(),
    ),
    Fault(
        name="each life of a process has a new budget of attempts in hiding",
        edits=of("router/wire_attempts.py", ("runs if runs is not None else MemoryRuns(now_s)", "MemoryRuns(now_s)")),
        inline=(f"{WIRE}::test_a_next_life_of_the_process_has_what_is_left_of_the_budget_and_no_new_one",),
        two_hosts=(),
    ),
    Fault(
        name="a call of a model holds nothing back from its run",
        edits=of("router/run_budget.py", ("guards, id=id, held=held)", "guards, id=id)")),
        inline=(f"{MONEY}::test_calls_at_once_pass_a_cap_by_no_more_than_one_alone_does",),
        two_hosts=(),
    ),
    Fault(
        name="an attribute without room takes all others along",
        edits=of("cluster/span_row.py", ("            left_out.append(name)\n", '            return "{}"\n')),
        inline=(f"{ROWS}::test_an_attribute_without_room_is_named_and_the_others_stay",),
        two_hosts=(),
    ),
    Fault(
        name="half of a secret stays at the edge of what is kept",
        edits=of("runtime/redaction.py", ("read[: max(0, len(read) - MARGIN_CHARS)]", "read")),
        inline=(f"{TELEMETRY}::test_of_a_secret_at_the_edge_of_what_is_kept_no_part_stays",),
        two_hosts=(),
    ),
    Fault(
        name="a value that its name says is a secret stays among the arguments of a tool",
        edits=of(
            "runtime/span_content.py",
            (
                "        return REDACTED if name and _is_secret(name, told[:SHORT_CHARS]) else told",
                "        return told",
            ),
        ),
        inline=(f"{CONTENT}::test_secrets_leave_arguments_which_stay_json",),
        two_hosts=(),
    ),
)
