"""Faults in the guards, and in what is kept of traces. See `faults`."""

from __future__ import annotations

from tests.mutation.agent_faults import of
from tests.mutation.faults import Fault

LIKENESS = "tests/runtime/test_likeness.py"
GUARDS = "tests/cluster/test_guards.py"
ROWS = "tests/cluster/test_span_row.py"
CALLS = "tests/cluster/test_call_guards.py"
LOOKS = "tests/supervisors/test_repeats_by_looks.py"
MONEY = "tests/cluster/test_run_money.py"
TELEMETRY = "tests/runtime/test_telemetry.py"
CONTENT = "tests/runtime/test_span_content.py"

GUARD_FAULTS = (
    Fault(
        name="a change far behind in a large state is not seen",
        edits=of(
            "runtime/likeness.py",
            ("_written(list(islice(items, at, at + MAX_WRITTEN)))", '""'),
            ("_written(fields[at : at + MAX_WRITTEN])", '""'),
        ),
        inline=(f"{LIKENESS}::test_a_change_far_behind_in_a_large_value_is_one",),
        two_hosts=(),
    ),
    Fault(
        name="a circle is judged without the states of its agents",
        edits=of(
            "supervisors/turn_guard.py",
            ('_unmarked(("state", state), volatile, own=own)', '_unmarked(("state", None), volatile, own=own)'),
        ),
        inline=(f"{GUARDS}::test_agents_whose_state_changes_go_on_with_the_same_messages",),
        two_hosts=(),
    ),
    Fault(
        name="a cap is counted and not kept",
        edits=of(
            "runtime/memory_runs.py",
            (
                "if over := cap_passed(counts, age_s, guards):",
                "if (over := cap_passed(counts, age_s, guards)) is None:",
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
