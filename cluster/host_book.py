"""What the processes of an app tell of themselves, and how it outlives them: each host tells the guardian.

A host tells soon after something was counted, and once more before it ends in order. What a process has told is kept
when it is gone, so counts stay exact and no total goes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from dataclasses import dataclass

from regrow.cluster.letters import Letter, Letters
from regrow.cluster.metrics import AppMetrics, Counted, HostMetrics
from regrow.runtime.address import HostId
from regrow.runtime.deaths import Death, Had, SetAside
from regrow.runtime.message import Message

GONE_SHOWN = 20
"""Of so many hosts that are gone it is told what each has done; of those before them only what they did together."""


class HostTold(Message):
    """All that one process has to tell at `at_s` of its own monotonic clock; what it told before is part of it."""

    at_s: float
    metrics: HostMetrics
    letters: Letters


class DeathsTold(Message):
    """How lives of one process have ended since it told last, and what was set aside; by its own monotonic clock."""

    at_s: float
    deaths: tuple[Death, ...]
    set_aside: tuple[SetAside, ...] = ()
    left_out: int = 0


class LatestMessages(Message):
    """What an agent that lives has had, oldest first, and what it handles."""

    messages: tuple[Had, ...]


@dataclass(frozen=True, slots=True)
class _Heard:
    """What was told, and when by the clock of who heard it."""

    at_s: float
    told: HostTold


@dataclass(frozen=True, slots=True)
class Fresh:
    """Dead letters that were not told before, oldest first; of `others` only the number is known."""

    letters: tuple[Letter, ...] = ()
    others: int = 0


class HostBook:
    """What hosts have told so far, kept when they are gone. Times are this process's monotonic seconds."""

    def __init__(self) -> None:
        self._heard: dict[HostId, _Heard] = {}
        self._gone: deque[tuple[float, HostMetrics]] = deque()
        """When each was found gone, and what it had told."""
        self._earlier = Counted()
        self._letters_of_gone: tuple[float, Letters] = (0.0, Letters())

    def note(self, host: HostId, told: HostTold, now_s: float) -> Fresh:
        """A host tells all that it has counted until now; a word of before that comes late is passed over.

        Gives what it tells of dead letters for the first time.
        """
        known = self._heard.get(host)
        if known is not None and told.at_s < known.told.at_s:
            return Fresh()
        self._heard[host] = _Heard(now_s, told)
        count = told.letters.total - (known.told.letters.total if known is not None else 0)
        latest = told.letters.latest[-count:] if count else ()
        return Fresh(latest, others=count - len(latest))

    def close(self, living: Set[HostId], now_s: float) -> None:
        """What hosts that are no longer there have told is kept in so little room that the book does not grow."""
        for host in [host for host in self._heard if host not in living]:
            heard = self._heard.pop(host)
            aged = heard.told.letters.aged(now_s - heard.at_s)
            self._letters_of_gone = (now_s, self._gone_letters(now_s).with_more(aged))
            self._gone.append((now_s, heard.told.metrics))
            if len(self._gone) > GONE_SHOWN:
                _, first = self._gone.popleft()
                self._earlier = self._earlier.with_more(first.counted)

    def letters(self, now_s: float) -> Letters:
        """The dead letters of all of them, dead or alive."""
        told = (heard.told.letters.aged(now_s - heard.at_s) for heard in self._heard.values())
        return self._gone_letters(now_s).with_more(*told)

    def metrics(self, now_s: float) -> AppMetrics:
        """What all of them have counted, dead or alive; those that live first."""
        living = (heard.told.metrics for heard in self._heard.values())
        gone = (told.gone(now_s - at_s) for at_s, told in self._gone)
        return AppMetrics(hosts=(*living, *gone), earlier=self._earlier)

    def _gone_letters(self, now_s: float) -> Letters:
        at_s, letters = self._letters_of_gone
        return letters.aged(now_s - at_s)
