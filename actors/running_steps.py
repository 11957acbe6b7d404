"""The steps of one turn that run now and must not be cut short: the turn ends when they have, and a stop waits for it.

Cut between its beginning and its record, nobody would know whether such a step was done. So each is a task of its own,
since a stop cancels that of the turn; and the turn knows also those that user code has put into tasks and left there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from regrow.runtime.contain import Escape, contained
from regrow.runtime.errors import Misuse

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.cell import Cell
    from regrow.runtime.journal_entries import StepKey

P = ParamSpec("P")
T = TypeVar("T")


REFUSED_AGAIN_S = 0.05
"""Between two steps that a turn tries to begin while it is being stopped; the first is refused at once."""


class RunningSteps:
    """Of one turn of the life that `behavior` is in this cell."""

    def __init__(self, cell: Cell, behavior: Behavior) -> None:
        self._cell = cell
        self._behavior = behavior
        self._tasks: dict[asyncio.Future[Any], StepKey] = {}
        self._begun: set[StepKey] = set()
        self._has_refused = False
        self.is_over = False
        """Whether the handler has ended, and all of its steps that must not be cut."""

    async def wait_refused(self, key: StepKey) -> None:
        """Lets others run where a turn that is being stopped begins steps again and again, whatever it hears.

        What refuses them does not wait by itself, and a handler that swallows it would hold the process, and with it
        the end of its own grace.
        """
        if self._is_stopping and key not in self._begun:
            if self._has_refused:
                await asyncio.sleep(REFUSED_AGAIN_S)
            self._has_refused = True

    def begins(self, key: StepKey) -> None:
        """A step is about to be sent to the journal; from now on nobody can say that it was not begun.

        Raises CancelledError in a turn that is being stopped: the next life takes that step. Raises Misuse when the
        turn has ended: it might be committed without that step, of which nobody would know then.
        """
        if key in self._begun:
            return  # it is sent again, as its answer has not come
        if self.is_over:
            raise self.too_late(key)
        if self._is_stopping or not self._lasts:  # killed, it may be on its way here all the same
            raise asyncio.CancelledError(f"step {key.name!r} does not begin, since its agent is being stopped")
        self._begun.add(key)

    def too_late(self, key: StepKey) -> Misuse:
        """What is said of a step that comes to the journal, or back from it, when its turn has ended."""
        return Misuse(
            f"step {key.name!r} (number {key.occurrence + 1}) of {self._cell.actor} came when its turn had ended, and "
            "is not recorded: await in the handler what takes steps, before it returns or waits for a message"
        )

    async def kept(self, key: StepKey, step: Callable[[], Awaitable[T]]) -> T:
        """Awaits a step that a stop of its agent does not cut short, once it has begun.

        What else cancels whoever awaits it, as a time limit of the handler does, cancels the step.
        """
        taking = asyncio.ensure_future(contained(step))
        self._tasks[taking] = key
        taking.add_done_callback(lambda task: self._tasks.pop(task, None))
        try:
            return await asyncio.shield(taking)
        except Escape as escape:
            raise escape.error from None
        except asyncio.CancelledError:
            if not self._outlasts_stop(key):
                taking.cancel()
            try:
                await asyncio.wait([taking])
            finally:
                if not taking.cancel():  # it has ended, and is looked at: the stop hides what it may have raised
                    _ = taking.cancelled() or taking.exception()
            raise

    async def through(self, handle: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a handler gives, once no step of it runs. Raises what it raises, then too; a kill cuts them."""
        try:
            return await contained(handle, *args, **kwargs)
        finally:
            try:
                if self._tasks:
                    await self._over()
            finally:
                self.is_over = True

    async def _over(self) -> None:
        stop: asyncio.CancelledError | None = None
        while self._tasks:
            if not self._lasts:
                self._cut(lambda _: True)
                return
            if self._is_stopping:
                self._cut(lambda key: not self._outlasts_stop(key))
            try:
                await asyncio.wait(list(self._tasks))
            except asyncio.CancelledError as error:
                if not self._is_stopping:
                    self._cut(lambda _: True)
                    raise
                stop = error  # heard when they are over
        if stop is not None:
            raise stop

    def _cut(self, which: Callable[[StepKey], bool]) -> None:
        for taking, key in self._tasks.items():
            if which(key):
                taking.cancel()

    def _outlasts_stop(self, key: StepKey) -> bool:
        """Whether what has cancelled a task is a stop, which leaves this step alone."""
        return self._is_stopping and key in self._begun

    @property
    def _lasts(self) -> bool:
        return self._cell.behavior is self._behavior and not self._cell.is_over

    @property
    def _is_stopping(self) -> bool:
        """Of a life that is killed, also in the midst of its stop, nothing is waited for."""
        return self._lasts and self._cell.told_to_stop
