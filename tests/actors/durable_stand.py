"""Processes with durable agents on one journal, on virtual time: an agent that ends is started again at once."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.durability import open_durability
from regrow.runtime.journal_entries import JournalLimits, partition_of
from regrow.runtime.journal_errors import JournalUnknown
from regrow.runtime.memory_journal import MemoryJournal
from regrow.runtime.runtime import Runtime
from regrow.runtime.starter import StartRequest
from regrow.runtime.testing import run_virtual
from tests.runtime.scripted import Nowhere

if TYPE_CHECKING:
    from regrow.actors import Agent
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.cell import Cell
    from regrow.runtime.errors import Bug
    from regrow.runtime.journal import Journal
    from regrow.runtime.journal_answers import QuarantineRow
    from regrow.runtime.journal_errors import JournalRefused
    from regrow.runtime.lifecycle import Crashed, ExitReason
    from regrow.runtime.ref import ActorRef

T = TypeVar("T")

BEGUN_MS = 1_764_000_000_000


def memory_journal(limits: JournalLimits | None = None) -> MemoryJournal:
    """A journal whose clock is the loop's."""
    loop = asyncio.get_running_loop()
    return MemoryJournal(now_ms=lambda: BEGUN_MS + int(loop.time() * 1000), limits=limits)


_open: list[Host] = []


def on_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Runs a test on virtual time, and closes the processes that it made."""

    @functools.wraps(test)
    def run() -> None:
        run_virtual(_closing(test()))

    return run


async def _closing(test: Coroutine[Any, Any, None]) -> None:
    try:
        await test
    finally:
        for host in _open:
            await host.runtime.aclose()
        _open.clear()


class Host:
    """One process. `restarts` says how often each agent may be started again; what ended is in `ends`."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.ends: list[tuple[str, ExitReason]] = []
        self.restarts = 100
        self.classes: dict[ActorId, type[Agent]] = {}
        self._lives = itertools.count(1)
        runtime.on_root_exit = self._ended
        _open.append(self)

    @classmethod
    async def on(cls, journal: Journal, name: str = "here") -> Host:
        """A new process on this journal."""
        runtime = Runtime(HostId(name), make_behavior=_made, directory=Nowhere())
        runtime.durability = await open_durability(runtime, journal, rng=random.Random(name))
        return cls(runtime)

    async def start(self, cls: type[Agent], id: str) -> Crashed | None:
        """Starts an agent; why it could not, or None."""
        self.classes[ActorId(id)] = cls
        return await self._start(ActorId(id))

    async def _start(self, actor: ActorId) -> Crashed | None:
        life = Incarnation(next(self._lives))
        return await self.runtime.start(StartRequest(actor=actor, incarnation=life, target=self.classes[actor]))

    def ref(self, id: str) -> ActorRef:
        """A ref to an agent here."""
        return self.runtime.ref_to(Address(ActorId(id)))

    def _ended(self, cell: Cell, reason: ExitReason) -> None:
        self.ends.append((cell.actor, reason))
        if self.restarts > 0 and not self.runtime.closed:
            self.restarts -= 1
            _ = self.runtime.spawn_task(self._again(cell.actor))

    async def _again(self, actor: ActorId) -> None:
        await self._start(actor)

    async def quarantined(self, id: str) -> tuple[QuarantineRow, ...]:
        """The messages of an agent that were set aside."""
        assert self.runtime.durability is not None
        return await self.runtime.durability.journal.quarantined(partition_of(ActorId(id)))


class Unreliable:
    """A journal whose connection is cut at chosen calls: before they are done, or after."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.cuts: dict[tuple[str, int], str] = {}
        """By method and the number of its call, from 1: `before` or `after`."""
        self.calls: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._journal, name)
        return self._cut(name, method) if asyncio.iscoroutinefunction(method) else method

    def _cut(self, name: str, method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        async def call(*args: Any, **kwargs: Any) -> T:
            self.calls[name] = number = self.calls.get(name, 0) + 1
            cut = self.cuts.get((name, number))
            if cut == "before":
                raise JournalUnknown("the connection was cut")
            result = await method(*args, **kwargs)
            if cut == "after":
                raise JournalUnknown("the connection was cut")
            return result

        return call


class Refusing(Unreliable):
    """Refuses each call of `methods`, or of all, while `refusal` is set."""

    refusal: JournalRefused | Bug | None = None
    methods: tuple[str, ...] = ()

    def becomes(self, journal: MemoryJournal) -> None:
        """From now on another store answers."""
        self._journal = journal

    def _cut(self, name: str, method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        inner = super()._cut(name, method)

        async def call(*args: Any, **kwargs: Any) -> T:
            if self.refusal is not None and (not self.methods or name in self.methods):
                self.calls[name] = self.calls.get(name, 0) + 1
                raise self.refusal
            return await inner(*args, **kwargs)

        return call


def _made(request: StartRequest) -> Behavior:
    cls: Any = request.target
    made: Behavior = cls.made(None)
    return made
