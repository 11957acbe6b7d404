"""Which calls of tools an agent began together: each before the first of them had ended, so none knew of an outcome."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Together:
    """Calls that were begun together, the first of them under the id `first`."""

    __slots__ = ("_first", "calls")

    def __init__(self, first: str) -> None:
        self._first = first
        self.calls = 0

    @property
    def batch(self) -> str:
        """The name that these calls share; empty as long as there is but one."""
        return self._first if self.calls > 1 else ""


class BegunTogether:
    """The calls of one process that others may still join, by agent and by what they are judged in."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Together] = {}

    @contextmanager
    def begun(self, agent: str, judged_in: str, id: str) -> Iterator[Together]:
        """As long as this lasts, a call is under way; where it is the first to end, no other joins those it is with."""
        key = (agent, judged_in)
        together = self._open.setdefault(key, Together(id))
        together.calls += 1
        try:
            yield together
        finally:
            if self._open.get(key) is together:
                del self._open[key]
