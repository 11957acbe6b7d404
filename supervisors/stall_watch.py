"""Looks now and then for turns that hang: they run for long, and wait for no agent, model or tool that is known.

Of agents that wait for each other only the last one hangs. Its asker, if it has one, is told at once instead of at its
deadline; the turn itself goes on, since what hangs may be anything, and its agent lives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from regrow.runtime.envelope import Kind
from regrow.runtime.guard_errors import Stalled
from regrow.runtime.guards import Finding, Guards, Rung
from regrow.runtime.signals import failure_of
from regrow.supervisors.turn_guard import is_judged

if TYPE_CHECKING:
    from regrow.runtime.cell import Cell
    from regrow.runtime.envelope import Envelope
    from regrow.runtime.runtime import Runtime

LOOKS: Final = 4
"""In the time after which a turn counts as stalled; so it is found at most a quarter later."""


def stalled(actor: str, message: str, idle_s: float, stall_s: float) -> Finding | None:
    """What is to be said of a turn that has waited for nothing known for so long."""
    if idle_s < stall_s:
        return None
    return Finding(
        error=Stalled,
        rung=Rung.REFUSE,
        text=(
            f"{actor} has handled {message} for {idle_s:,.1f} s without asking anybody or calling a tool (stall_s="
            f"{stall_s:g}); it may hang, and was not stopped: look at what it waits for, or make that an ask or a tool"
        ),
        evidence={"idle_s": round(idle_s, 3), "stall_s": stall_s, "message": message},
    )


class StallWatch:
    """The turns of one process."""

    def __init__(self, runtime: Runtime, guards: Guards, stall_s: float) -> None:
        self._runtime = runtime
        self._guards = guards
        self._stall_s = stall_s
        self._idle_since_s: dict[Envelope, float] = {}
        self._told: set[Envelope] = set()

    def begin(self) -> None:
        """Looks from now on, until the runtime closes."""
        self._runtime.loop.call_later(self._stall_s / LOOKS, self._look)

    def _look(self) -> None:
        if self._runtime.closed:
            return
        now_s, idle = self._runtime.loop.time(), dict(self._idle())
        self._idle_since_s = {each: self._idle_since_s.get(each, now_s) for each in idle}
        self._told &= idle.keys()
        for envelope, since_s in self._idle_since_s.items():
            cell = idle[envelope]
            finding = stalled(cell.actor, type(envelope.message).__name__, now_s - since_s, self._stall_s)
            if finding is not None and envelope not in self._told:
                self._told.add(envelope)
                self._tell(cell, envelope, finding)
        self.begin()

    def _idle(self) -> Iterator[tuple[Envelope, Cell]]:
        """The turns of agents that wait for nothing known."""
        asking = {id(turn[1]) for ask in self._runtime.asks if ask.turn and (turn := ask.turn.turn_that_runs())}
        calling = self._runtime.guarding.calling
        for cell in self._runtime.cells.values():
            if calling[cell.actor] or not is_judged(cell.behavior):
                continue
            for envelope in cell.in_turn:
                if id(envelope) not in asking:
                    yield envelope, cell

    def _tell(self, cell: Cell, envelope: Envelope, finding: Finding) -> None:
        self._runtime.guarding.found(finding, envelope.origin, agent=cell.actor)
        is_kept = cell.intake is not None and cell.intake.holds(envelope)  # it has an outcome that is recorded
        if self._guards.top >= Rung.REFUSE and envelope.kind == Kind.ASK and not is_kept:
            self._runtime.fail(envelope, failure_of(finding.error(finding.text, **finding.evidence)))
