"""The time in which a stop is to be over: at its end the life is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regrow.runtime.cell import Cell


def limit_stop(cell: Cell, grace_s: float) -> None:
    """Kills this life when the grace is over. Limited again, it ends no later than the earliest of all limits."""
    loop = cell.runtime.loop
    if cell.watchdog is not None:
        if cell.watchdog.when() <= loop.time() + grace_s:
            return
        cell.watchdog.cancel()
    cell.watchdog = loop.call_later(grace_s, cell.kill, f"did not stop within {grace_s:g} s")
