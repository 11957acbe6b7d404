"""What was done to a run, in the order in which it was."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from chaos_plans import Kind, Window


@dataclass(slots=True, kw_only=True)
class Fault:
    """One that was done. `recover_ms` is from then on, or from the end of a stop, to the first command served."""

    kind: Kind
    agent: str
    at_s: float
    window: Window | None = None
    command: str = ""
    recover_ms: float | None = None
    text: str = ""


@dataclass(slots=True)
class FaultLog:
    """All faults of a run."""

    faults: list[Fault] = field(default_factory=list)
    unserved: list[str] = field(default_factory=list)
    """Agents that were not served again in time, and after what."""
    late_answers: Counter[str] = field(default_factory=Counter)
    """What Redis said to scripts of dead processes that came late."""

    def kinds(self) -> Counter[Kind]:
        """How many of each."""
        return Counter(fault.kind for fault in self.faults)

    def windows(self) -> dict[Window, int]:
        """How many hit each window."""
        found = Counter(fault.window for fault in self.faults)
        return {window: found[window] for window in Window}


class Spoilt(Exception):
    """What a run stands on can not be mended, so that it shows nothing; the text says what."""


class Missed(Exception):
    """A fault could not be done, as what it waits for did not happen."""
