"""Which shapes of runs there are, and which of them nothing was tuned on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    (work.pages, False),
    (work.changing_poll, False),
    (work.patient_poll, False),
    (work.retried, False),
    (work.mapped, False),
    (work.dialogue, False),
    (work.edits, False),
    (work.pulled, False),
    (work.approved, False),
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
    (work.fan_out, False),
    (work.slow_poll, False),
    (work.ensemble, False),
    (work.reread, False),
    (work.saved, False),
    (work.haggled, False),
    (work.booked, False),
    (work.counted, False),
    (work.ticks, False),
)
"""Those on which nothing was tuned."""

HARD: Shapes = (
    (shapes.numbered, True),
    (shapes.reworded, True),
    (shapes.six_in_turns, True),
    (shapes.counted_turns, True),
    (work.steady_poll, False),
    (work.approved_alike, False),
)
"""Those that can not be told apart by what is the same: runaways for the hops and the caps, and work to be named."""
