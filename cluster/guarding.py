"""Gives a process the guards of its app: what judges turns and messages there, and where runs are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrow.runtime.guards import Guarding, Guards
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.message_count import MessageCount
from regrow.supervisors.stall_watch import StallWatch
from regrow.supervisors.turn_guard import ByGuards

if TYPE_CHECKING:
    from regrow.runtime import Runtime
    from regrow.runtime.run_store import RunStore


def keep_guard(runtime: Runtime, guards: Guards, runs: RunStore | None = None) -> None:
    """From now on this process has these guards; without a store it counts runs in its own memory."""
    counted: RunStore = runs if runs is not None else MemoryRuns(runtime.loop.time)
    judges = guards.hop_limit is not None or guards.loop_rounds is not None
    runtime.guarding = Guarding(
        guards,
        turns=ByGuards(guards) if judges else None,
        runs=counted,
        messages=MessageCount(runtime, guards, counted) if guards.has_caps else None,
    )
    if guards.stall_s is not None:
        StallWatch(runtime, guards, guards.stall_s).begin()
