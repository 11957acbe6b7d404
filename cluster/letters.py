"""The dead letters of a whole app: what each process tells of its own, put together.

A process tells them as ages, since monotonic clocks of two processes have nothing in common and
the clocks of two machines may disagree. What a process has told outlives it: counts stay exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from regrow.runtime.address import HostId
from regrow.runtime.dead_letters import KEPT, DeadLetters
from regrow.runtime.message import Message

TELL_AFTER_S = 0.2
"""How soon a host tells the guardian of its dead letters: what a SIGKILL may cost of the count."""


class Letter(Message):
    """One dead letter, `age_s` seconds after it became one.

    `incarnation` is 0 where no life in particular was meant.
    """

    age_s: float
    reason: str
    message: str
    sender: str
    receiver: str
    incarnation: int


class Letters(Message):
    """Dead letters: how many for each reason, and the latest ones, oldest first; at most KEPT of them."""

    counts: tuple[tuple[str, int], ...] = ()
    latest: tuple[Letter, ...] = ()

    @property
    def total(self) -> int:
        """How many there were in all."""
        return sum(count for _, count in self.counts)

    def aged(self, more_s: float) -> Letters:
        """The same, so much later."""
        aged = tuple(letter.model_copy(update={"age_s": letter.age_s + more_s}) for letter in self.latest)
        return Letters(counts=self.counts, latest=aged)

    def with_more(self, *others: Letters) -> Letters:
        """These and the dead letters of other processes, the latest of all of them."""
        counts: Counter[str] = Counter()
        for each in (self, *others):
            counts.update(dict(each.counts))
        latest = sorted((letter for each in (self, *others) for letter in each.latest), key=lambda one: -one.age_s)
        return Letters(counts=tuple(sorted(counts.items())), latest=tuple(latest[-KEPT:]))


def told_by(dead: DeadLetters, now_s: float) -> Letters:
    """What one process has to tell at this moment of its own clock."""
    latest = tuple(
        Letter(
            age_s=max(0.0, now_s - letter.at_s),
            reason=letter.reason,
            message=letter.message_type,
            sender=letter.sender,
            receiver=letter.receiver,
            incarnation=letter.incarnation,
        )
        for letter in list(dead.latest)  # a copy: the control thread of a host may ask while more come
    )
    return Letters(counts=tuple(sorted(dead.counts.copy().items())), latest=latest)


class LetterBook:
    """What hosts have told so far, kept when they are gone. Times are this process's monotonic seconds."""

    def __init__(self) -> None:
        self._told: dict[HostId, tuple[float, Letters]] = {}
        self._of_gone: tuple[float, Letters] = (0.0, Letters())

    def note(self, host: HostId, letters: Letters, now_s: float) -> None:
        """A host tells all that it has counted until now; what it told before is part of that."""
        known = self._told.get(host)
        if known is None or letters.total >= known[1].total:  # an earlier word may come later
            self._told[host] = (now_s, letters)

    def close(self, living: Mapping[HostId, object], now_s: float) -> None:
        """What hosts that are no longer there have told becomes one sum, so that the book does not grow."""
        for host in [host for host in self._told if host not in living]:
            at_s, letters = self._told.pop(host)
            self._of_gone = (now_s, self._gone_at(now_s).with_more(letters.aged(now_s - at_s)))

    def all(self, now_s: float) -> Letters:
        """What all of them have told, dead or alive."""
        told = (letters.aged(now_s - at_s) for at_s, letters in self._told.values())
        return self._gone_at(now_s).with_more(*told)

    def _gone_at(self, now_s: float) -> Letters:
        at_s, letters = self._of_gone
        return letters.aged(now_s - at_s)
