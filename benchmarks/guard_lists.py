"""Which shapes of runs there are, and which of them nothing was tuned on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import guard_circles as circles
import guard_deeds as deeds
import guard_noisy as noisy
import guard_shapes as shapes
import guard_work as work

Shape = Callable[[shapes.Writer], int]
"""Writes a run; returns the number of its first event that need not have been."""
Shapes = Sequence[tuple[Shape, bool]]
"""Each shape, and whether it is a runaway."""

SEEN: Shapes = (
    (shapes.same_call, True),
    (shapes.ring, True),
    (shapes.ping_pong, True),
    (shapes.tools_in_turns, True),
    (shapes.same_error, True),
    (shapes.hasty_poll, True),
    (shapes.numbered, True),
    (shapes.six_in_turns, True),
    (noisy.tests_again, True),
    (noisy.search_number, True),
    (noisy.new_request, True),
    (noisy.counted_tries, True),
    (noisy.guessed_code, True),
    (noisy.behind_the_end, True),
    (noisy.broken_install, True),
    (noisy.same_thought, True),
    (noisy.written_and_linted, True),
    (circles.counted_hops, True),
    (circles.stamped_ping_pong, True),
    (circles.what_do_you_mean, True),
    (circles.planned_and_criticized, True),
    (circles.long_ring, True),
    (circles.others_at_once, True),
    (circles.on_and_off, True),
    (work.pages, False),
    (work.changing_poll, False),
    (work.patient_poll, False),
    (work.retried, False),
    (work.mapped, False),
    (work.dialogue, False),
    (work.edits, False),
    (work.pulled, False),
    (work.approved, False),
    (work.steady_poll, False),
    (deeds.pressed, False),
    (deeds.undone, False),
    (deeds.awaited_build, False),
    (deeds.sweep, False),
    (deeds.set_options, False),
    (deeds.deleted_at_once, False),
    (deeds.approved_orders, False),
    (deeds.dice, False),
    (deeds.live_dashboard, False),
    (deeds.frames, False),
    (deeds.played, False),
    (deeds.read_first, False),
)
"""Those that were there while the guards were made."""

HELD_OUT: Shapes = (
    (shapes.other_spelling, True),
    (shapes.stamped_texts, True),
    (shapes.asked_again, True),
    (shapes.at_once, True),
    (shapes.not_my_job, True),
    (shapes.broken_loop, True),
    (shapes.impatient, True),
    (noisy.edit_and_back, True),
    (noisy.new_session, True),
    (noisy.gone_page, True),
    (noisy.clocked_result, True),
    (noisy.refused_payment, True),
    (noisy.stuck_click, True),
    (noisy.frozen_dashboard, True),
    (circles.heard_at, True),
    (circles.nothing_yet, True),
    (circles.pleasantries, True),
    (circles.many_at_once, True),
    (circles.two_who_search, True),
    (work.fan_out, False),
    (work.slow_poll, False),
    (work.ensemble, False),
    (work.reread, False),
    (work.saved, False),
    (work.haggled, False),
    (work.booked, False),
    (work.counted, False),
    (work.ticks, False),
    (deeds.tested_edits, False),
    (deeds.scrolled, False),
    (deeds.next_page, False),
    (deeds.capped_backoff, False),
    (deeds.rarely_better, False),
    (deeds.deleted_users, False),
    (deeds.free_names, False),
    (deeds.slept, False),
    (deeds.bisected, False),
    (deeds.numbered_tickets, False),
    (deeds.committed, False),
    (deeds.go_on, False),
)
"""Those that were put aside: nothing was tuned on them, and only their sums were looked at meanwhile."""

HARD: Shapes = (
    (shapes.reworded, True),
    (shapes.counted_turns, True),
    (work.approved_alike, False),
)
"""Those that can not be told apart by what is the same: runaways for the hops and the caps, and work to be named."""
