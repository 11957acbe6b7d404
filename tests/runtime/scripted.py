"""A process whose actors do what a test hands them as functions."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from regrow.runtime.address import ActorId, Address, HostId, Incarnation
from regrow.runtime.cell import Cell, State
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.mailbox import MailboxSettings
from regrow.runtime.message import Message, Request
from regrow.runtime.runtime import Runtime
from regrow.runtime.starter import StartRequest

if TYPE_CHECKING:
    from regrow.runtime.behavior import Behavior
    from regrow.runtime.context import CellContext
    from regrow.runtime.lifecycle import Crashed, ExitReason
    from regrow.runtime.ref import ActorRef

Handle = Callable[[Any, Any], Awaitable[object]]


class Note(Message):
    """A message that says nothing but which one it is."""

    n: int = 0


class Echo(Request[str]):
    """Expects its own text."""

    text: str = ""


class Hang(Request[str]):
    """Expects a reply that does not come."""


class Boom(Exception):
    """What actors of these tests fail with."""


async def ignore(message: Any, ctx: CellContext) -> object:
    """Handles anything by doing nothing; echoes an Echo."""
    return message.text if isinstance(message, Echo) else None


async def for_ever(*_: object) -> str:
    """Does not end by itself."""
    await asyncio.get_running_loop().create_future()
    return ""


class Scripted:
    """A behavior made of functions. Messages of the classes in `beside` may be handled side by side."""

    def __init__(
        self,
        handle: Handle = ignore,
        *,
        started: Callable[[Any], Awaitable[object]] | None = None,
        stopping: Callable[[Any], Awaitable[object]] | None = None,
        beside: tuple[type[Message], ...] = (),
    ) -> None:
        self._handle = handle
        self._started = started
        self._stopping = stopping
        self._beside = beside
        self.stopped: list[ExitReason] = []

    async def started(self, ctx: CellContext) -> None:
        if self._started is not None:
            await self._started(ctx)

    async def handle(self, message: Message, ctx: CellContext) -> object:
        return await self._handle(message, ctx)

    async def stopping(self, reason: ExitReason, ctx: CellContext) -> None:
        self.stopped.append(reason)
        if self._stopping is not None:
            await self._stopping(ctx)

    def runs_concurrently(self, message: object) -> bool:
        return isinstance(message, self._beside)


class Nowhere:
    """A Directory of one process: what is not here is nowhere."""

    def host_of(self, actor: ActorId) -> HostId | None:
        return None

    async def locate(self, actor: ActorId) -> HostId | None:
        return None

    def forget(self, actor: ActorId) -> None:
        pass

    def host_died(self, host: HostId) -> list[ActorId]:
        return []


class Process:
    """One runtime. The target of a start is a behavior, or what makes one."""

    def __init__(self) -> None:
        self.runtime = Runtime(HostId("here"), make_behavior=_make, directory=Nowhere(), principal="tester")
        self._lives = itertools.count(1)

    async def start(
        self,
        name: str,
        target: Behavior | Callable[[], Behavior] | Handle = ignore,
        *,
        parent: str | None = None,
        mailbox: MailboxSettings | None = None,
        survives_exit: bool = True,
    ) -> ActorRef:
        """Starts a life; fails the test when it does not start."""
        failed = await self.try_start(name, target, parent=parent, mailbox=mailbox, survives_exit=survives_exit)
        assert failed is None, failed.traceback
        return self.ref(name)

    async def try_start(
        self,
        name: str,
        target: Behavior | Callable[[], Behavior] | Handle = ignore,
        *,
        parent: str | None = None,
        mailbox: MailboxSettings | None = None,
        survives_exit: bool = True,
    ) -> Crashed | None:
        """Starts a life; returns why it failed."""
        request = StartRequest(
            actor=ActorId(name),
            incarnation=Incarnation(next(self._lives)),
            target=target,
            parent=ActorId(parent) if parent is not None else None,
            mailbox=mailbox if mailbox is not None else MailboxSettings(),
            survives_exit=survives_exit,
        )
        return await self.runtime.start(request)

    def ref(self, name: str, life: int | None = None) -> ActorRef:
        address = Address(ActorId(name), Incarnation(life) if life is not None else None)
        return self.runtime.ref_to(address)

    def cell(self, name: str) -> Cell:
        return self.runtime.cells[ActorId(name)]

    def state(self, name: str) -> State | None:
        """None where there is no such actor."""
        cell = self.runtime.cells.get(ActorId(name))
        return cell.state if cell is not None else None

    @property
    def dead(self) -> dict[str, int]:
        """Dead letters by reason."""
        return dict(self.runtime.dead_letters.counts)


def _make(request: StartRequest) -> Behavior:
    target: Any = request.target
    if asyncio.iscoroutinefunction(target):
        return Scripted(target)
    made: Behavior = target if isinstance(target, Scripted) else target()
    return made


def tell(n: int = 0, receiver: str = "desk/clerk", origin: Origin | None = None) -> Envelope:
    """An envelope with a Note."""
    return Envelope(Kind.TELL, ActorId(receiver), Note(n=n), origin if origin is not None else Origin())


def notes(envelopes: list[Envelope]) -> list[int]:
    """Which Notes these envelopes hold."""
    return [envelope.message.n for envelope in envelopes if isinstance(envelope.message, Note)]


async def settle() -> None:
    """Lets everything happen that needs no time."""
    for _ in range(20):
        await asyncio.sleep(0)
