"""Whether the calls of an agent loop go round in circles, and what its model is told then. Pure.

It follows from what calls gave and from nothing else, so a durable turn that is run again tells its model the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from regrow.runtime.guards import Guards, Rung
from regrow.runtime.likeness import likeness, likenesses, read_json
from regrow.supervisors.repeats import repeats_told

if TYPE_CHECKING:
    from regrow.actors.loop_answer import CallMade


class LoopRepeats:
    """The calls of one loop so far."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self._calls: list[tuple[int, int]] = []

    def warning(self, made: Sequence[CallMade]) -> str:
        """What the model is to be told behind the results of these calls, which it made at once; empty for nothing."""
        guards = self._guards
        if guards.repeats_end is None or guards.top < Rung.WARN:
            return ""
        judged = [each for each in made if each.name not in guards.polls]
        self._calls += sorted({self._likeness(each) for each in judged})  # in which order they came is chance
        times = repeats_told(self._calls)
        if not judged or times < guards.repeats_warn:
            return ""
        return (
            f"[{times} times now the same calls have given the same results. Nothing has changed: use what you know, "
            f"do something else, or say what is missing. After {guards.repeats_end} times, or a few more, this ends.]"
        )

    def _likeness(self, made: CallMade) -> tuple[int, int]:
        volatile = self._guards.volatile
        return (
            likenesses(read_json(made.arguments), volatile, of=made.name).written,
            likeness(read_json(made.told), volatile, is_result=True),
        )
