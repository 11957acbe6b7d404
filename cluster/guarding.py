"""Gives a process the guards of its app: what judges turns and messages there, and where runs are counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from regrow.cluster.code import agent_class
from regrow.runtime.fallback_runs import FallbackRuns
from regrow.runtime.guards import Guarding, Guards
from regrow.runtime.memory_runs import MemoryRuns
from regrow.runtime.message_count import MessageCount
from regrow.runtime.run_ends import RunEnds
from regrow.supervisors.stall_watch import StallWatch
from regrow.supervisors.turn_guard import ByGuards

if TYPE_CHECKING:
    from regrow.runtime import Runtime
    from regrow.runtime.run_store import RunStore


def counts_calls(targets: Iterable[object], guards: Guards) -> bool:
    """Whether these guards judge calls of tools, and any agent that is made from one of these has tools."""
    classes = [cls for each in targets if (cls := agent_class(each)) is not None]
    return guards.repeats_end is not None and any(cls.listed_tools or cls.tool_sources or cls.skills for cls in classes)


def keep_guard(runtime: Runtime, guards: Guards, runs: RunStore | None = None) -> None:
    """From now on this process has these guards. It counts runs in this store, or else in its own memory."""
    now_s = runtime.loop.time
    counted: RunStore = FallbackRuns(runs, now_s) if runs is not None else MemoryRuns(now_s)
    judges = guards.hop_limit is not None or guards.loop_rounds is not None
    ends = RunEnds(guards, now_s) if guards.has_caps else None
    runtime.guarding = Guarding(
        guards,
        turns=ByGuards(guards) if judges else None,
        runs=counted,
        messages=MessageCount(runtime, guards, counted, ends) if ends is not None else None,
        ends=ends,
    )
    if ends is not None:
        ends.on_sooner = runtime.asking.run_ends
    if guards.stall_s is not None:
        StallWatch(runtime, guards, guards.stall_s).begin()
