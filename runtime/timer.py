"""A message to oneself that waits for its time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from regrow.runtime.envelope import Envelope

if TYPE_CHECKING:
    from regrow.runtime.cell import Cell


class Timer:
    """A message to oneself that waits for its time. Ends with the incarnation that set it."""

    __slots__ = ("_cell", "_handle")

    def __init__(self, cell: Cell, handle: asyncio.TimerHandle) -> None:
        self._cell = cell
        self._handle = handle

    def cancel(self) -> None:
        """The message will not come, unless it is in the mailbox already."""
        self._handle.cancel()
        self._cell.timers.discard(self._handle)


def timer(cell: Cell, delay_s: float, notice: Envelope) -> Timer:
    """Offers a notice to its cell when it is time, if the incarnation that it is meant for still runs."""

    def tick() -> None:
        cell.timers.discard(handle)
        if cell.incarnation == notice.incarnation:
            cell.offer(notice)

    handle = cell.runtime.loop.call_later(delay_s, tick)
    cell.timers.add(handle)
    return Timer(cell, handle)
