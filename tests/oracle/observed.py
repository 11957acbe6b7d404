"""What was seen of one trace, in words that both sides share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Word: TypeAlias = Literal["init", "fail", "exit", "held", "overtook"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened: a start, a failed start, an end.

    OTP only: a start that was held back, and exits that went ahead of calls in the mailbox of a supervisor.
    `life` counts the starts of that path. `reason` is normal, shutdown, killed, crashed, escalated or
    escalated_as_shutdown for an end, and says nothing for anything else.
    """

    word: Word
    path: str
    life: int
    reason: str = ""
    orphans: tuple[tuple[str, int], ...] = ()
    """For the end of a killed supervisor: whoever went down with it, in no order."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operator was told: `ok`, a refusal, or for `spec` the spec in words."""

    op: str
    path: str
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """One supervisor's children: id, state and life of each in start order, and its counts."""

    children: tuple[tuple[str, str, int], ...]
    counts: tuple[int, ...]


@dataclass(slots=True)
class Step:
    """What one event led to, and how things were when all was quiet again."""

    log: list[Entry] = field(default_factory=list[Entry])
    answers: list[Answer] = field(default_factory=list[Answer])
    sups: dict[str, Rows] = field(default_factory=dict[str, Rows])


Seen: TypeAlias = "list[Step]"
"""The start, one step for each event, and the stop of the root."""
