"""Whether the calls of an agent loop go round in circles: what its model is told then, and when its loop ends.

It follows from what calls gave and from nothing else, so a durable turn that is run again tells its model the same.
Calls that were made are ended by the guard of calls (`call_guard`); those that nothing came to are ended here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from regrow.actors.handoff import HandoffFailed
from regrow.actors.tool_errors import InvalidArguments, NotApproved, ToolDenied, UnknownTool
from regrow.runtime.guard_errors import RepeatedCall
from regrow.runtime.guards import Finding, Guards, Rung
from regrow.runtime.likeness import likeness, likenesses
from regrow.runtime.likeness_parts import read_json
from regrow.supervisors.repeats import repeats_told

if TYPE_CHECKING:
    from regrow.actors.loop_answer import CallMade

NOT_BEGUN = (UnknownTool, InvalidArguments, ToolDenied, NotApproved, HandoffFailed)
"""Of a call that ended so nothing has run, and no guard of calls has heard."""


class LoopRepeats:
    """The calls of one loop so far."""

    def __init__(self, agent: str, guards: Guards) -> None:
        self._agent = agent
        self._guards = guards
        self._calls: list[tuple[int, int]] = []
        self._rounds_of_nothing = 0

    def finding(self, made: Sequence[CallMade]) -> Finding | None:
        """What is to be said of the calls that the model has made at once now. A warning is to be told to the model."""
        guards = self._guards
        if guards.repeats_end is None or guards.top < Rung.WARN:
            return None
        judged = [each for each in made if each.name not in guards.polls]
        self._rounds_of_nothing += 1
        if not all(isinstance(each.error, NOT_BEGUN) for each in made):
            self._rounds_of_nothing = 0
        self._calls += sorted({self._likeness(each) for each in judged})  # in which order they came is chance
        times = repeats_told(self._calls)
        if not judged or times < guards.repeats_warn:
            return None
        evidence: dict[str, str | int | float] = {"tool": judged[-1].name, "times": times}
        if min(times, self._rounds_of_nothing) >= guards.repeats_end and guards.top >= Rung.REFUSE:
            text = (
                f"the model of {self._agent} has asked {times} times for the same, which can not be begun "
                f"({judged[-1].told}); offer what it looks for, or tell it in the instructions what there is"
            )
            return Finding(error=RepeatedCall, rung=Rung.REFUSE, text=text, evidence=evidence)
        text = (
            f"[{times} times now the same calls have given the same results. Nothing has changed: use what you know, "
            f"do something else, or say what is missing. After {guards.repeats_end} times, or a few more, this ends.]"
        )
        return Finding(error=RepeatedCall, rung=Rung.WARN, text=text, evidence=evidence)

    def _likeness(self, made: CallMade) -> tuple[int, int]:
        volatile = self._guards.volatile
        return (
            likenesses(read_json(made.arguments), volatile, of=made.name).written,
            likeness(read_json(made.told), volatile, is_result=True),
        )
