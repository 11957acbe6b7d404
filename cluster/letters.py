"""The dead letters of a whole app: what each process tells of its own, put together.

A process tells them as ages, since monotonic clocks of two processes have nothing in common and
the clocks of two machines may disagree. What a process has told outlives it: see host_book.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from regrow.runtime.dead_letters import KEPT, DeadLetters
from regrow.runtime.message import Message


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


def letters_told(letters: Letters, *, now: datetime) -> dict[str, object]:
    """Dead letters as JSON, each with the time of day at which it became one, by the clock of this machine."""
    latest = [
        {
            "at": (now - timedelta(seconds=letter.age_s)).isoformat(timespec="milliseconds"),
            **letter.model_dump(mode="json", exclude={"age_s"}),
        }
        for letter in letters.latest
    ]
    return {"total": letters.total, "counts": dict(letters.counts), "latest": latest}
