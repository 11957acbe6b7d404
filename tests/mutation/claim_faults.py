"""Faults in how durable agents are claimed and given back, and in how they look for what waits. See `faults`."""

from __future__ import annotations

from tests.mutation.faults import Edit, Fault

LATE = (
    "tests/conformance/test_journal_ownership.py::test_a_claim_that_comes_late_does_not_take_what_was_given_back_since"
)
MOVED = (
    "tests/simulation/test_claims_simulation.py"
    "::test_an_agent_starts_soon_wherever_it_is_wanted_though_starts_are_cut_and_claims_come_late"
)
CUT = "tests/actors/test_stops_of_claims.py"
LOOKS = (
    "tests/actors/test_looks_refused.py::test_a_reminder_whose_look_was_refused_for_good_comes_when_the_store_is_mended"
)

TOLD_AT_ONCE = (
    "        intake.serves(claim.row.epoch)  # without a wait behind the claim, in which this life might end\n"
)
READ_FIRST = "        take_state(row)\n        claim = await"

CLAIM_FAULTS: tuple[Fault, ...] = (
    Fault(
        name="a claim that comes late takes what was given back (in memory)",
        edits=(
            Edit(
                "runtime/memory_journal.py",
                "        if row.row.owner != previous:\n",
                "        if row.row.owner != previous and (row.host or previous.host) is not None:\n",
            ),
        ),
        inline=(LATE,),
        two_hosts=(MOVED,),
    ),
    Fault(
        name="a claim that comes late takes what was given back (in Redis)",
        edits=(
            Edit(
                "cluster/journal_hosts.lua",
                "if h ~= a.previous or e ~= a.epoch then",
                "if h ~= a.previous or (h and e ~= a.epoch) then",
            ),
        ),
        inline=(),
        two_hosts=(LATE,),
    ),
    Fault(
        name="a claim is forgotten with the life that made it",
        edits=(
            Edit(
                "actors/durable_claim.py",
                "            _ = cell.runtime.spawn_task(_given_back(agent, intake, trying))\n",
                "            trying.cancel()\n",
            ),
        ),
        inline=(f"{CUT}::test_and_one_whose_answer_is_lost_and_comes_when_the_life_is_over",),
        two_hosts=(MOVED,),
    ),
    Fault(
        name="a claim is known when the state is read",
        edits=(
            Edit("actors/durable_claim.py", TOLD_AT_ONCE, ""),
            Edit(
                "actors/durable_life.py",
                "        self._epoch = claim.row.epoch\n",
                "        self._epoch = claim.row.epoch\n        self._intake.serves(self._epoch)\n",
            ),
        ),
        inline=(f"{CUT}::test_where_it_is_written_while_the_agent_is_claimed_the_agent_is_given_back",),
        two_hosts=(),
    ),
    Fault(
        name="an agent is claimed before its state is read",
        edits=(
            Edit("actors/durable_claim.py", READ_FIRST, "        claim = await"),
            Edit("actors/durable_claim.py", "    if claim.row.version != row.version:\n", "    if True:\n"),
        ),
        inline=(f"{CUT}::test_a_state_that_can_not_be_read_is_told_before_its_agent_is_claimed",),
        two_hosts=(),
    ),
    Fault(
        name="a look into the mailbox that is refused is the last one",
        edits=(
            Edit(
                "actors/durable_intake.py",
                "  # nobody else looks, and one day the store is mended\n                    continue\n",
                "\n                    return\n",
            ),
        ),
        inline=(LOOKS,),
        two_hosts=(),
    ),
    Fault(
        name="a look for reminders that breaks is the last one",
        edits=(
            Edit(
                "actors/durable_timers.py",
                "        except (JournalRefused, Bug) as refusal:\n",
                "        except JournalRefused as refusal:\n",
            ),
        ),
        inline=(LOOKS,),
        two_hosts=(),
    ),
)
