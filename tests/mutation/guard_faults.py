"""Faults in the guards, and in what is kept of traces. See `faults`."""

from __future__ import annotations

from tests.mutation.agent_faults import of
from tests.mutation.faults import Fault

LIKENESS = "tests/runtime/test_likeness.py"
GUARDS = "tests/cluster/test_guards.py"
ROWS = "tests/cluster/test_span_row.py"
TELEMETRY = "tests/runtime/test_telemetry.py"
CONTENT = "tests/runtime/test_span_content.py"

GUARD_FAULTS = (
    Fault(
        name="a change far behind in a large state is not seen",
        edits=of(
            "runtime/likeness.py",
            ("_written(list(islice(items, at, at + MAX_WRITTEN)))", '""'),
            ("_written(kept[at : at + MAX_WRITTEN])", '""'),
        ),
        inline=(f"{LIKENESS}::test_a_change_far_behind_in_a_large_value_is_one",),
        two_hosts=(),
    ),
    Fault(
        name="a circle is judged without the states of its agents",
        edits=of(
            "supervisors/turn_guard.py",
            ("| likeness(state, volatile, own=own) & _STATE", "| likeness(None, volatile, own=own) & _STATE"),
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
        name="an attribute without room takes all others along",
        edits=of("cluster/span_row.py", ("            left_out.append(name)\n", '            return "{}"\n')),
        inline=(f"{ROWS}::test_an_attribute_without_room_is_named_and_the_others_stay",),
        two_hosts=(),
    ),
    Fault(
        name="half of a secret stays at the edge of what is kept",
        edits=of("runtime/telemetry.py", ("read[: max(0, len(read) - MARGIN_CHARS)]", "read")),
        inline=(f"{TELEMETRY}::test_of_a_secret_at_the_edge_of_what_is_kept_no_part_stays",),
        two_hosts=(),
    ),
    Fault(
        name="a value that its name says is a secret stays among the arguments of a tool",
        edits=of(
            "runtime/span_content.py",
            ("            return REDACTED  # the name", "            return told  # the name"),
        ),
        inline=(f"{CONTENT}::test_secrets_leave_arguments_which_stay_json",),
        two_hosts=(),
    ),
)
