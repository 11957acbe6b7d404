"""Faults in what agents use all day: streams, tools, agents as tools, and skills. See `faults`."""

from __future__ import annotations

from tests.mutation.faults import Edit, Fault

GATE = "tests/actors/test_tool_gate.py"
PATHS = "tests/actors/test_tool_paths.py::test_each_path_that_a_handler_has_is_denied"
DURABLE_TOOLS = "tests/actors/test_tools_in_durable_turns.py"
AGENT_TOOLS = "tests/actors/test_agent_tool.py"
DURABLE_AGENT_TOOLS = "tests/actors/test_agent_tool_in_durable_turns.py"
SKILLS = "tests/actors/test_skill_folder.py"
STREAMS = "tests/runtime/test_streams.py"
ACROSS = "tests/runtime/test_streams_across.py"
"""Two processes on the virtual clock, since what is wrong is between them and not on Ray."""

GRANTS_ONLY_GROW = (
    "Totals(max(read.parts, self._read.parts), max(read.size_bytes, self._read.size_bytes))\n",
    "read\n",
)
LISTED_ONLY = "listed is None or (listed is not wanted and not isinstance(wanted, str))"
NARROWS = "frozenset(names) if outer is None else outer.intersection(names)"
ITS_DEADLINE = (
    "loop.call_at(deadline, self.leave) if deadline is not None and math.isfinite(deadline) else None",
    "loop.call_at(deadline + 1e9, self.leave) if deadline is not None and math.isfinite(deadline) else None",
)
LEADS_OUT = "if each.is_symlink() and not _end_of(each).is_relative_to(whole):"
STAYS_INSIDE = "if not found.is_relative_to(self.folder) or found.suffix not in TEXTS or not found.is_file():"


def of(file: str, *edits: tuple[str, str]) -> tuple[Edit, ...]:
    """Edits of one file, each as what stands there and what it becomes."""
    return tuple(Edit(file, old, new) for old, new in edits)


STREAM_FAULTS = (
    Fault(
        name="a producer does not wait for its reader",
        edits=of(
            "runtime/stream_window.py",
            ("return within and under_way < self._window.parts", "return within or under_way < 1e9"),
        ),
        inline=(f"{STREAMS}::test_a_reader_that_stops_reading_holds_up_its_own_producer_after_one_window",),
        two_hosts=(f"{ACROSS}::test_a_reader_elsewhere_that_stops_reading_holds_up_its_producer_and_nobody_else",),
    ),
    Fault(
        name="the reply leaves without the last parts",
        edits=of(
            "runtime/outflow.py",
            ("            self._flush()\n            self.is_over = True", "            self.is_over = True"),
        ),
        inline=(f"{STREAMS}::test_parts_come_in_order_and_behind_the_last_one_is_the_reply",),
        two_hosts=(f"{ACROSS}::test_parts_from_another_process_come_in_order_and_behind_them_is_the_reply",),
    ),
    Fault(
        name="a handler goes on when its reader has left",
        edits=of("runtime/asking.py", ("        self._runtime.streams.left(signal.host, signal.ask_id)\n", "")),
        inline=(f"{STREAMS}::test_leaving_the_block_early_cancels_the_handler_and_the_agent_serves_the_next_message",),
        two_hosts=(f"{ACROSS}::test_leaving_cancels_the_handler_in_the_other_process",),
    ),
    Fault(
        name="a handler goes on when the process of its reader has died",
        edits=of("runtime/streams.py", ("            if consumer == host:\n", "            if consumer != host:\n")),
        inline=(),
        two_hosts=(f"{ACROSS}::test_the_death_of_the_readers_process_cancels_the_handler",),
    ),
    Fault(
        name="a producer that hears nothing more emits past its deadline",
        edits=of("runtime/outflow.py", ITS_DEADLINE),
        inline=(),
        two_hosts=(f"{ACROSS}::test_a_producer_that_hears_nothing_more_ends_its_turn_at_the_deadline",),
    ),
    Fault(
        name="an older grant takes back a newer one",
        edits=of("runtime/stream_window.py", GRANTS_ONLY_GROW),
        inline=(
            "tests/runtime/test_stream_window.py::test_grants_that_overtake_each_other_or_come_twice_change_nothing",
        ),
        two_hosts=(),
    ),
    Fault(
        name="parts that are missing are passed over",
        edits=of(
            "runtime/stream_window.py",
            ("        if batch.parts and batch.first != self.arrived:\n", "        if False:\n"),
        ),
        inline=("tests/runtime/test_stream_window.py::test_a_gap_is_a_bug_and_never_silent",),
        two_hosts=(f"{ACROSS}::test_parts_that_leave_some_out_end_the_stream_and_harm_no_other",),
    ),
)

TOOL_FAULTS = (
    Fault(
        name="the gate forgets the capability of a message",
        edits=of(
            "actors/tool_gate.py", ("    if not capabilities.allows_tool(capability, name):\n", "    if False:\n")
        ),
        inline=(f"{GATE}::test_what_the_capability_does_not_list_is_denied", PATHS),
        two_hosts=(),
    ),
    Fault(
        name="a tool passes for a listed one of its name",
        edits=of("actors/tool_gate.py", (LISTED_ONLY, "listed is None")),
        inline=(f"{GATE}::test_another_tool_of_a_listed_name_is_denied",),
        two_hosts=(),
    ),
    Fault(
        name="a limit of tools inside of another one widens it",
        edits=of("runtime/capability.py", (NARROWS, "frozenset(names)")),
        inline=(PATHS,),
        two_hosts=(),
    ),
    Fault(
        name="consent to one call is taken by another",
        edits=of("actors/recorded_tools.py", ("about=asked.call, timeout_s", "about=asked.tool, timeout_s")),
        inline=(f"{DURABLE_TOOLS}::test_consent_is_for_one_call_and_no_other_one_takes_it",),
        two_hosts=(),
    ),
    Fault(
        name="consent outlives a change of its tool",
        edits=of("actors/recorded_tools.py", ("        if asked.tool_hash != tool.hash:\n", "        if False:\n")),
        inline=(f"{DURABLE_TOOLS}::test_consent_to_a_tool_that_has_changed_since_is_void",),
        two_hosts=(),
    ),
    Fault(
        name="a tool that must not be repeated is repeated after a kill",
        edits=of("actors/durable_turn.py", ("        if not idempotent:\n", "        if False:\n")),
        inline=(
            f"{DURABLE_TOOLS}::test_of_one_that_was_under_way_and_must_not_be_repeated_nobody_knows_and_a_person_decides",
        ),
        two_hosts=(),
    ),
    Fault(
        name="a function for frameworks belongs to no turn",
        edits=of(
            "actors/tool_functions.py",
            (
                "turn.tools.call(tool, arguments), turn.runtime.loop\n",
                "tool.function(**arguments), turn.runtime.loop\n",
            ),
        ),
        inline=(PATHS,),
        two_hosts=(),
    ),
)

AGENT_TOOL_FAULTS = (
    Fault(
        name="an agent is asked by a tool under another id when the turn is run again",
        edits=of(
            "actors/durable_context.py",
            ('derived = turn.derived(f"{key.name}\\0{key.occurrence}")', "derived = self._durable.command()"),
        ),
        inline=(
            f"{DURABLE_AGENT_TOOLS}::test_a_kill_while_it_is_asked_asks_again_under_the_same_id_and_it_answers_once",
        ),
        two_hosts=(),
    ),
    Fault(
        name="an agent that is a tool is asked past the capability of the message",
        edits=of(
            "actors/agent_tool.py",
            ("            if not _ctx.origin().permits(ref.address.actor):\n", "            if False:\n"),
        ),
        inline=(f"{AGENT_TOOLS}::test_one_that_the_capability_does_not_reach_as_an_agent_is_not_asked",),
        two_hosts=(),
    ),
    Fault(
        name="a limit of an agent that is a tool is forgotten",
        edits=of("actors/agent_tool.py", ("    with only_tools(only):\n", "    if only is not None:\n")),
        inline=(f"{AGENT_TOOLS}::test_a_limit_of_the_tool_is_for_its_calls_alone_and_only_narrows",),
        two_hosts=(),
    ),
    Fault(
        name="an agent gets all tools of a skill's module",
        edits=of(
            "actors/skill_folder.py",
            ("return {each: there[each] for each in declared}", "return there"),
        ),
        inline=(
            f"{SKILLS}::test_a_skill_has_a_name_a_version_a_description_instructions_and_the_tools_that_it_declares",
        ),
        two_hosts=(),
    ),
    Fault(
        name="links lead out of a skill",
        edits=(
            *of("actors/skill_folder.py", (LEADS_OUT, "if False:")),
            *of("actors/skill.py", (STAYS_INSIDE, "if not found.is_file():")),
        ),
        inline=(
            f"{SKILLS}::test_a_link_out_of_the_folder_is_refused_before_anything_is_read",
            f"{SKILLS}::test_what_is_outside_of_the_folder_or_no_text_is_no_file_of_the_skill",
        ),
        two_hosts=(),
    ),
)

AGENT_FAULTS: tuple[Fault, ...] = (*STREAM_FAULTS, *TOOL_FAULTS, *AGENT_TOOL_FAULTS)
