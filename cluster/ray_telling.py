"""A host tells the guardian what it has counted, and its dead letters: after a SIGKILL, that is what is known of it.

It looks once a second and tells only what is new, so a host where nothing happens says nothing. Dead letters are told
sooner, since each may be somebody's loss.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from regrow.cluster.host_book import DeathsTold, HostTold
from regrow.cluster.letters import told_by
from regrow.cluster.metrics import counted, measured
from regrow.runtime.packing import pack

if TYPE_CHECKING:
    from regrow.runtime import Runtime

LOOK_S = 1.0
"""How often a host looks whether it has counted more: what a SIGKILL may cost of the counts."""
LETTERS_AFTER_S = 0.2
"""How soon it tells of a dead letter or a death: what a SIGKILL may cost of those."""


class Telling:
    """Of one host, from its joining on. Made on the loop of the cells; `told` may be asked on any thread."""

    def __init__(self, runtime: Runtime, guardian: Any) -> None:
        self._runtime = runtime
        self._guardian = guardian
        self._known = counted(runtime)
        self._late_s = 0.0
        self._due_s = 0.0
        self._soon: asyncio.TimerHandle | None = None
        runtime.dead_letters.added = runtime.deaths.added = self._tell_soon
        # At once: what has put one message into quarantine may kill this process with the next one.
        runtime.deaths.added_aside = self.tell_deaths
        self._left_out = 0
        self._look_later()

    def told(self) -> HostTold:
        """All that this process has to tell now."""
        now_s = self._runtime.loop.time()
        # Asked while a handler blocks the loop, it shows for how long already.
        lag_s = max(self._late_s, now_s - self._due_s)
        letters = told_by(self._runtime.dead_letters, now_s)
        return HostTold(at_s=now_s, metrics=measured(self._runtime, lag_s), letters=letters)

    def tell_deaths(self) -> None:
        """Tells what was not told before of deaths and quarantine. To be called on the loop of the cells."""
        untold = self._runtime.deaths
        deaths, set_aside = untold.take()
        if deaths or set_aside:
            left_out, self._left_out = untold.left_out - self._left_out, untold.left_out
            now_s = self._runtime.loop.time()
            told = DeathsTold(at_s=now_s, deaths=deaths, set_aside=set_aside, left_out=left_out)
            self._guardian.heard_deaths.remote(pack(told))

    def _look_later(self) -> None:
        loop = self._runtime.loop
        self._due_s = loop.time() + LOOK_S
        loop.call_at(self._due_s, self._look)

    def _look(self) -> None:
        self._late_s = max(0.0, self._runtime.loop.time() - self._due_s)
        if counted(self._runtime) != self._known:
            self._tell()
        self._look_later()

    def _tell_soon(self) -> None:
        if self._soon is None:
            self._soon = self._runtime.loop.call_later(LETTERS_AFTER_S, self._tell)

    def _tell(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        self.tell_deaths()
        told = self.told()
        self._known = told.metrics.counted
        # Not waited for: the next word holds this one, and a guardian that is gone takes this process along.
        self._guardian.heard.remote(self._runtime.host, pack(told))
