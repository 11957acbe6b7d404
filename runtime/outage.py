"""Tells of times in which the journal does not serve: when one begins, of each further cause, and of its end.

Each of a thousand agents tries again and again meanwhile, and none of those tries is news.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from regrow.runtime.errors import WorldBroke
from regrow.runtime.journal_errors import JournalAway, JournalDenied, JournalFull, JournalReadOnly, JournalUnknown

HEALS = (JournalUnknown, JournalAway, JournalFull, JournalReadOnly, JournalDenied)
"""What may be over without anything being started anew: who waits for the journal waits for its end."""

log = structlog.get_logger("regrow.durable")


class Outage:
    """Whether the journal serves this process."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._began_s = 0.0
        self._told: set[type[WorldBroke]] = set()
        self._trying = 0

    @property
    def is_on(self) -> bool:
        """Whether an operation waits for the journal to serve again."""
        return self._trying > 0

    def begins(self) -> None:
        """One more operation has failed, and will be tried again until `ends`."""
        self._trying += 1

    def failed(self, error: WorldBroke) -> None:
        """Why a try has failed."""
        if not self._told:
            self._began_s = self._now_s()
        if type(error) not in self._told:
            self._told.add(type(error))
            # What nobody needs to mend is a warning.
            tell = log.warning if isinstance(error, JournalUnknown | JournalAway) else log.error
            tell("the journal does not serve; durable agents wait, and nothing is lost", reason=str(error))

    def ends(self) -> None:
        """An operation is not tried again: it was served, or nobody waits for it any more."""
        self._trying -= 1

    def served(self) -> None:
        """An operation was served; where another one still fails, it may be another part of the store."""
        if self._told and not self._trying:
            self._told.clear()
            log.info("the journal serves again", after_s=round(self._now_s() - self._began_s, 1))
