"""Work of this process that waits for its turn in an actor's mailbox.

What a caller hands over here may be anything, since it never travels: only a number does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from regrow.runtime.context import CellContext
from regrow.runtime.errors import Closed, Refused
from regrow.runtime.message import Message, Request
from regrow.supervisors.errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildRunning,
    DynamicChild,
    FailedToStartChild,
    MaxChildren,
    NoSuchChild,
    SpecError,
)

T = TypeVar("T")

ANSWERED = (
    AlreadyPresent,
    AlreadyStarted,
    ChildRunning,
    DynamicChild,
    FailedToStartChild,
    MaxChildren,
    NoSuchChild,
    SpecError,
)
"""What the caller did wrong, or what went wrong for the caller alone: told to it, and the actor lives."""


class TurnTaken(Message):
    """The reply to TakeTurn; the result is handed over in the process."""


class TakeTurn(Request[TurnTaken]):
    """The turn of one piece of work has come."""

    life: int
    number: int


class _Work(Generic[T]):
    """One piece of work and what came of it."""

    __slots__ = ("error", "result", "run")

    def __init__(self, run: Callable[[], Awaitable[T]]) -> None:
        self.run = run
        self.result: list[T] = []
        self.error: Exception | None = None

    async def perform(self) -> None:
        try:
            self.result.append(await self.run())
        except ANSWERED as error:
            self.error = error

    def outcome(self) -> T:
        if self.error is not None:
            raise self.error
        (result,) = self.result
        return result


class Turns:
    """The work that waits at one life of one actor."""

    def __init__(self) -> None:
        self._waiting: dict[int, _Work[object]] = {}
        self._numbers = itertools.count(1)

    async def wait_turn(self, ctx: CellContext | None, run: Callable[[], Awaitable[T]]) -> T:
        """Runs `run` as a turn of the actor and returns its result.

        Raises what `run` raises of ANSWERED, Closed before the actor has started or after its end,
        Refused when it was restarted meanwhile, and what an ask raises.
        """
        if ctx is None:
            raise Closed("this supervisor has not started; start it first")
        ctx.live()
        number = next(self._numbers)
        work = _Work(run)
        self._waiting[number] = work  # type: ignore[assignment]
        try:
            await ctx.self_ref.ask(TakeTurn(life=ctx.incarnation, number=number), timeout_s=math.inf)
        finally:
            self._waiting.pop(number, None)
        return work.outcome()

    async def take(self, message: TakeTurn, ctx: CellContext) -> TurnTaken:
        """Does the work of that number. Raises Refused when it was meant for an earlier life."""
        work = self._waiting.pop(message.number, None) if message.life == ctx.incarnation else None
        if work is None:
            raise Refused(f"{ctx.id} was restarted before it came to this; look at its children and ask again")
        await work.perform()
        return TurnTaken()
