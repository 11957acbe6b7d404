"""What a person may order for one agent of a running app, and what is told of it then."""

from __future__ import annotations

from enum import StrEnum

from regrow.runtime.message import Message

DEED_TIMEOUT_S = 60.0
"""How long a deed is waited for: an agent's default limit for its stop is 10 s, and a cold host takes seconds."""


class Deed(StrEnum):
    """What is to be done to an agent."""

    KILL = "kill"
    RESTART = "restart"


class Life(Message):
    """One life of an agent as the operating system knows it; `pid` is 0 where it has none."""

    incarnation: int
    pid: int


class Replaced(Message):
    """What became of an agent.

    `state` is `running` where a new life runs, `gone` where its supervisor does not start it again,
    `app_ended` where its end took the whole app along, and otherwise what it still is. `why` says why no
    life runs. `took_s` is from the order to that state.
    """

    agent: str
    deed: Deed
    before: Life | None
    after: Life | None
    state: str
    took_s: float
    why: str = ""
