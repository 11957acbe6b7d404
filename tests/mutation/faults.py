"""The faults that are planted, one at a time, and the tests that should notice each.

A fault is a handful of edits to the sources. Each names tests for a run in one process and for one with two: the
same suite on two real hosts, or raylets, where agents or Ray take part, and two runtimes on the virtual clock where
the fault is in the link itself.
"""

from __future__ import annotations

from dataclasses import dataclass

PLACED = "tests/conformance/placements"


@dataclass(frozen=True, slots=True)
class Edit:
    """`old` stands exactly once in the file, and becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong. `inline` or `two_hosts` is empty where that run does not have what is wrong."""

    name: str
    edits: tuple[Edit, ...]
    inline: tuple[str, ...]
    two_hosts: tuple[str, ...]


def on_stage(test: str, case: str = "") -> dict[str, tuple[str, ...]]:
    """One test of the placements for both runs; `case` is the parameter of one that has another."""
    case = f"-{case}" if case else ""
    return {run: (f"{PLACED}/{test}[{run}{case}]",) for run in ("inline", "two_hosts")}


def of_supervisors(*tests: str) -> tuple[str, ...]:
    """Tests of supervisors on the virtual clock."""
    return tuple(f"tests/supervisors/test_supervisor{test}" for test in tests)


def of_killed_hosts(test: str) -> tuple[str, ...]:
    """A test on two real hosts of which one is killed."""
    return (f"{PLACED}/test_host_deaths.py::{test}[two_hosts]",)


UNCONFIRMED = (
    f"{PLACED}/test_raylet_deaths.py"
    "::test_a_kill_on_another_node_that_nobody_has_confirmed_blocks_the_restart[two_raylets]"
)
"""The one test with a kill that nobody confirms: on one node the keeper sees each process gone."""

DOWN_IN_TURN = "            self.mailbox.put_in_turn(envelope, self.accept)\n"
IN_WINDOW = "(self.attempts[0][1] + within_s - self.earlier_s)"
GIVES_BACK = """            if self.holds_names:
                await self.runtime.names.give_back(self)
"""
KEPT_DOWN = """        self.watched_at.pop(monitor, None)
        self.watched_life.pop(monitor, None)
        return self.watching.pop(monitor, None)
"""
COUNTED_ONCE = 'counted = free or (event != "" and event == self._last_event)'
TAKES_EVENT = "self._by_event.pop(exited.event, {})"
BY_EVENT = "and (child.exited is exited or (exited.event and child.exited.event == exited.event))"
RETRIED = "                failed = await self._lives.start(child) is not None\n"
ENDS_TIMERS = "        for timer in self.timers:\n            timer.cancel()\n"
TICK_OF_A_LIFE = "message, self.origin().waited(delay_s), incarnation=self.incarnation)"
OF_A_LIFE = "            if envelope.incarnation != cell.incarnation or (cell.is_over and envelope.kind <= Kind.ASK):\n"
OF_THIS_LIFE = (
    "    if envelope.incarnation is None or envelope.incarnation == cell.incarnation:\n        return False\n"
)
DEDUPED = "if self.delivered < frame.number <= last and frame.number not in self._early"

FAULTS: tuple[Fault, ...] = (
    Fault(
        name="restarts stay counted after the window",
        edits=(Edit("supervisors/intensity.py", IN_WINDOW, IN_WINDOW.replace("within_s", "1e9")),),
        **on_stage("test_supervision.py::test_restarts_older_than_the_window_do_not_count"),
    ),
    Fault(
        name="a supervisor stops its children in start order",
        edits=(
            Edit(
                "supervisors/lives.py",
                "for child in reversed(self._children):\n            await self.end(child)",
                "for child in self._children:\n            await self.end(child)",
            ),
        ),
        **on_stage("test_supervision.py::test_a_supervisor_stops_its_children_in_reverse_and_starts_them_in_order"),
    ),
    Fault(
        name="a failed start is retried in a loop and not through the mailbox",
        edits=(
            Edit(
                "supervisors/restarts.py",
                RETRIED,
                "                while await self._lives.start(child) is not None:\n"
                "                    await __import__('asyncio').sleep(0)\n"
                "                failed = False\n",
            ),
        ),
        **on_stage(
            "test_supervision.py::test_other_children_are_restarted_between_the_tries_of_one_that_fails_to_start"
        ),
    ),
    Fault(
        name="a Down overtakes the last messages of the dead",
        edits=(Edit("runtime/cell.py", DOWN_IN_TURN, "            self.mailbox.put_system(envelope)\n"),),
        **on_stage("test_bonds.py::test_down_comes_after_the_last_message"),
    ),
    Fault(
        name="a name is freed after the Down",
        edits=(
            Edit("runtime/cell.py", GIVES_BACK, ""),
            Edit(
                "runtime/cell.py",
                "        self.runtime.announce_exit(self, reason, quiet=quiet)\n",
                "        self.runtime.announce_exit(self, reason, quiet=quiet)\n"
                "        if self.holds_names:\n"
                "            self.runtime.loop.call_later(\n"
                "                0.5, lambda: self.runtime.spawn_task(self.runtime.names.give_back(self))\n"
                "            )\n",
            ),
        ),
        **on_stage("test_names.py::test_a_name_is_free_when_its_watchers_hear_of_the_end"),
    ),
    Fault(
        name="the slot of a dead child is freed after its Down",
        edits=(
            Edit(
                "runtime/cell.py",
                "        self.state = State.RESTARTING if self._survives_exit else State.ENDED\n",
                "        self.state = State.EXITING\n",
            ),
            Edit(
                "runtime/cell.py",
                "        if self.state is State.ENDED:\n            self.runtime.drop(self, reason)\n",
                "        later = self.runtime.loop.call_later\n"
                "        if self._survives_exit:\n"
                "            self.state = State.RESTARTING\n"
                "        else:\n"
                "            later(0.5, self.runtime.drop, self, reason)\n",
            ),
        ),
        **on_stage("test_asks.py::test_a_namesake_can_be_started_in_the_down_handler"),
    ),
    Fault(
        name="a frame that comes twice is delivered twice",
        edits=(
            Edit(
                "runtime/link_incoming.py",
                f"            {DEDUPED}\n",
                f"            {DEDUPED}\n"
                "            or (frame.number <= self.delivered and self._handed_on(self._decoded(frame), 0))\n",
            ),
        ),
        inline=(),
        two_hosts=(
            "tests/simulation/test_link_simulation.py",
            "tests/runtime/test_peers.py::test_nothing_is_lost_doubled_or_overtaken_while_one_call_in_five_fails",
        ),
    ),
    Fault(
        name="each monitor is told twice",
        edits=(
            Edit(
                "runtime/bonds.py",
                "            told.append((watcher, life, down))\n",
                "            told.extend([(watcher, life, down)] * 2)\n",
            ),
            Edit("runtime/bonds.py", KEPT_DOWN, "        return self.watching.get(monitor)\n"),
        ),
        **on_stage("test_exits.py::test_a_watcher_is_told_the_reason_of_an_end", "killed"),
    ),
    Fault(
        name="the bound of a mailbox counts each sender alone",
        edits=(
            Edit(
                "runtime/mailbox.py",
                "if len(self.user) < self._bound and (not self._is_contended or self._may_pass(envelope)):",
                "mine = [e for e in self.user if e.origin.sender == envelope.origin.sender]\n"
                "        if len(mine) < self._bound:",
            ),
        ),
        **on_stage("test_mailboxes.py::test_the_bound_counts_all_senders_together"),
    ),
    Fault(
        name="a life begins before the death of the one before is confirmed (supervisor)",
        edits=(
            Edit(
                "supervisors/lives.py",
                "            child.life = Life.UNCONFIRMED\n",
                "            self._over(child)\n",
            ),
        ),
        inline=of_supervisors(
            "_shutdown.py::test_rest_for_one_waits_at_a_child_whose_death_is_not_confirmed",
            "_shutdown.py::test_one_for_all_waits_for_every_death",
        ),
        two_hosts=(UNCONFIRMED,),
    ),
    Fault(
        name="a life begins before the death of the one before is confirmed (keeper)",
        edits=(
            Edit(
                "cluster/ray_keeper.py",
                "            kill(record.pid)\n        return True\n",
                "            pass\n        return True\n",
            ),
            Edit(
                "supervisors/lives.py",
                "            await child.wait_dead()\n\n    async def end_all",
                "            self._over(child)\n\n    async def end_all",
            ),
        ),
        inline=(),
        two_hosts=of_killed_hosts("test_a_stopped_process_is_killed_at_the_limit_and_dead_before_the_next_life_begins"),
    ),
    Fault(
        name="an expired message is run",
        edits=(
            Edit(
                "runtime/turn.py",
                "envelope.deadline <= cell.runtime.loop.time():",
                "envelope.deadline <= cell.runtime.loop.time() - 1e9:",
            ),
        ),
        **on_stage("test_asks.py::test_an_expired_request_is_dropped_before_it_runs"),
    ),
    Fault(
        name="the restart limit is charged for each sibling that dies with one host",
        edits=(
            Edit("supervisors/restarts.py", COUNTED_ONCE, "counted = free"),
            Edit("supervisors/children.py", BY_EVENT, "and child.exited is exited"),
            Edit("supervisors/children.py", TAKES_EVENT, TAKES_EVENT.replace("pop", "get")),
        ),
        inline=of_supervisors(".py::test_children_that_die_with_one_host_are_one_event"),
        two_hosts=of_killed_hosts("test_agents_that_die_with_one_process_are_one_event_for_their_supervisor"),
    ),
    Fault(
        name="a kill can be trapped",
        edits=(
            Edit(
                "runtime/cell.py",
                "        self.end(Killed(detail=detail))\n",
                "        if self.bonds.traps_exits and not hasattr(self.behavior, 'ended'):\n"
                "            self.stop(Killed(detail=detail), 5.0)\n"
                "        else:\n"
                "            self.end(Killed(detail=detail))\n",
            ),
        ),
        **on_stage("test_exits.py::test_a_kill_can_not_be_trapped"),
    ),
    Fault(
        name="a transient child that finished is started again",
        edits=(
            Edit("supervisors/strategy.py", "            return bool(reason.abnormal)\n", "            return True\n"),
        ),
        **on_stage("test_exits.py::test_a_transient_child_comes_back_unless_it_ended_as_it_should", "normal"),
    ),
    Fault(
        name="rest_for_one takes the earlier siblings along",
        edits=(
            Edit("supervisors/strategy.py", "            return children[first:]\n", "            return children\n"),
        ),
        **on_stage("test_supervision.py::test_rest_for_one_stops_the_later_ones_and_starts_from_the_failed_one_on"),
    ),
    Fault(
        name="timers of an earlier life arrive in the next",
        edits=(
            Edit("runtime/cell.py", ENDS_TIMERS, ""),
            Edit("runtime/context.py", TICK_OF_A_LIFE, TICK_OF_A_LIFE.replace("self.incarnation)", "None)")),
            Edit("runtime/timer.py", "        if cell.incarnation == notice.incarnation:\n", "        if cell:\n"),
        ),
        **on_stage("test_asks.py::test_timers_of_an_earlier_life_never_arrive"),
    ),
    Fault(
        name="a ref of an earlier life reaches the next",
        edits=(
            Edit("runtime/delivery.py", OF_A_LIFE, "            if False:\n"),
            Edit("runtime/turn.py", OF_THIS_LIFE, "    if cell:\n        return False\n"),
        ),
        **on_stage("test_asks.py::test_a_ref_of_an_earlier_life_fails_at_once"),
    ),
    Fault(
        name="a link with an agent of a dead process is not told",
        edits=(
            Edit(
                "runtime/bonds.py",
                "            if there == host and other in self.links:\n",
                "            if there == host and not self.links:\n",
            ),
        ),
        inline=(),
        two_hosts=(
            "tests/runtime/test_host_death.py::test_a_link_with_an_actor_there_takes_along_or_is_told",
            *of_killed_hosts("test_a_link_to_a_killed_process_takes_the_other_side_along"),
        ),
    ),
    Fault(
        name="a crash empties the mailbox",
        edits=(
            Edit(
                "runtime/cell.py",
                "        self.behavior = None\n        self.ended_at",
                "        self.mailbox.drain()\n        self.behavior = None\n        self.ended_at",
            ),
        ),
        **on_stage("test_mailboxes.py::test_the_mailbox_outlives_a_crash_in_order_and_what_was_handled_is_lost"),
    ),
)
