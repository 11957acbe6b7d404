"""Faults in the way of messages to durable agents: sent, taken in order, stored, and sent on. See `faults`.

What is wrong between processes is noticed by two of them on the virtual clock.
"""

from __future__ import annotations

from tests.mutation.agent_faults import of
from tests.mutation.faults import Fault

CUSTODY = "tests/actors/test_custody.py"
LEAVING = "tests/actors/test_durable_leaving.py"
REJECTING = "tests/actors/test_rejecting_receivers.py"
ARRIVAL = "tests/actors/test_arrival_order.py"
RELAY = "tests/actors/test_relay_order.py"
OFFERED_AGAIN = (
    f"{ARRIVAL}::test_a_row_that_is_offered_once_more_is_not_taken_behind_one_that_was_turned_away_just_before"
)

DOUBLES_PAUSE = "        queue.pause_s = min(2 * queue.pause_s, AGAIN_MAX_S)\n"
WAITS_FOR_ALL = (
    "        if any(kept.is_on_way for kept in queue.kept.values()):\n"
    "            self._again(queue, receiver, queue.pause_s)\n"
    "            return\n"
)
IN_ORDER = "return envelope.behind not in seen.turned_away and seen.last in (envelope.behind, envelope.command_id)"

CUSTODY_FAULTS = (
    Fault(
        name="a custody lets go of what a store refuses for good",
        edits=(
            *of(
                "runtime/custody.py",
                ("if outcome in (Outcome.TAKEN, Outcome.TOO_LARGE):", "if outcome is not Outcome.NOT_HERE:"),
            ),
            *of(
                "actors/durable_storing.py",
                ("is_sent_on = self._cell.runtime.custody.keeps(envelope)", "is_sent_on = False"),
            ),
        ),
        inline=(),
        two_hosts=(f"{CUSTODY}::test_what_is_sent_on_stays_though_its_store_then_refuses_for_good",),
    ),
    Fault(
        name="a copy that comes back into custody waits for the one that was sent",
        edits=of(
            "runtime/custody.py",
            ("earlier.envelope, earlier.is_on_way = envelope, False", "earlier.envelope = envelope"),
        ),
        inline=(),
        two_hosts=(f"{CUSTODY}::test_two_processes_that_have_the_same_messages_do_not_wait_for_each_other",),
    ),
    Fault(
        name="what is in custody waits for all that is on its way",
        edits=of("runtime/custody.py", (DOUBLES_PAUSE, WAITS_FOR_ALL + DOUBLES_PAUSE)),
        inline=(),
        two_hosts=(f"{CUSTODY}::test_what_is_on_its_way_holds_up_nothing_that_another_has_sent",),
    ),
    Fault(
        name="a killed turn tells a sender that its message is handled before it is stored",
        edits=of(
            "runtime/turn.py",
            ("and not is_stashed and not is_kept:", "and not is_stashed and not _is_kept(cell, envelope):"),
        ),
        inline=(),
        two_hosts=(
            f"{CUSTODY}::test_what_a_killed_life_had_begun_before_it_was_stored_is_not_told_to_its_sender_as_handled",
        ),
    ),
)

ORDER_FAULTS = (
    Fault(
        name="a row is taken though the one in front of it was not seen",
        edits=of("actors/arrival_order.py", (IN_ORDER, "return True")),
        inline=(f"{ARRIVAL}::test_a_row_is_taken_when_the_one_in_front_of_it_was_seen_and_not_before",),
        two_hosts=(f"{LEAVING}::test_a_message_that_was_sent_after_an_agent_that_had_moved_is_overtaken_by_none",),
    ),
    Fault(
        name="a row that was turned away is forgotten",
        edits=of(
            "actors/arrival_order.py", ("            seen.turned_away.add(envelope.command_id)\n", "            pass\n")
        ),
        inline=(
            f"{ARRIVAL}::test_a_row_that_is_offered_once_more_is_not_taken_behind_one_that_was_turned_away_just_before",
        ),
        two_hosts=(),
    ),
    Fault(
        name="a row that a full mailbox rejects counts as seen",
        edits=of("actors/arrival_order.py", ("is_taken = has_room and _is_in_order", "is_taken = _is_in_order")),
        inline=(f"{ARRIVAL}::test_a_row_that_is_rejected_for_want_of_room_is_seen_by_none_that_was_sent_behind_it",),
        two_hosts=(
            f"{REJECTING}::test_what_a_turn_tells_one_that_rejects_waits_in_the_outbox_and_arrives_once_and_in_order",
        ),
    ),
    Fault(
        name="rows are sent past one that was left behind",
        edits=of(
            "actors/relay_order.py",
            ("if receiver.leaves or not self._has_room(receiver):", "if not self._has_room(receiver):"),
        ),
        inline=(f"{RELAY}::test_each_receiver_gets_its_rows_once_and_in_order_whatever_others_do",),
        two_hosts=(),
    ),
    Fault(
        name="what a turn tells a full mailbox that rejects is a dead letter",
        edits=of(
            "actors/durable_outbox.py",
            ("if outcome in (Outcome.NOT_HERE, Outcome.REJECTED) and", "if outcome is Outcome.NOT_HERE and"),
        ),
        inline=(),
        two_hosts=(
            f"{REJECTING}::test_what_a_turn_tells_one_that_rejects_waits_in_the_outbox_and_arrives_once_and_in_order",
        ),
    ),
)

STORING_FAULTS = (
    Fault(
        name="what was not stored when its agent left is sent on by nobody",
        edits=of(
            "actors/durable_storing.py",
            ("if entry.envelope.kind == Kind.TELL and not entry.was_stored:", "if entry.was_stored:"),
        ),
        inline=(),
        two_hosts=(f"{LEAVING}::test_so_is_what_another_process_has_sent_and_was_not_told_as_taken",),
    ),
    Fault(
        name="what is being stored when its agent leaves is told as stored",
        edits=of("actors/durable_storing.py", ("entry.stored.done() else Kept.UNDER_WAY", "entry else Kept.UNDER_WAY")),
        inline=(),
        two_hosts=(f"{LEAVING}::test_so_is_what_another_process_has_sent_and_was_not_told_as_taken",),
    ),
)

DURABLE_FAULTS: tuple[Fault, ...] = (*CUSTODY_FAULTS, *ORDER_FAULTS, *STORING_FAULTS)
