"""A clock that jumps, wires that fail by seed, and an agent that keeps what it gets: for tests.

The clock is that of `virtual_time`. `Wires` join several runtimes of one process as Ray's actor calls join processes,
with every fault that those have.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from regrow.runtime.address import HostId
from regrow.runtime.lifecycle import ExitReason, Killed
from regrow.runtime.transport import CallEnd, PeerDead, PeerLost
from regrow.runtime.virtual_time import START_S, Stuck, VirtualLoop, pass_time, run_virtual, virtual

__all__ = [
    "CALM",
    "START_S",
    "FaultPlan",
    "LoopbackTransport",
    "Probe",
    "Stuck",
    "VirtualLoop",
    "Wires",
    "pass_time",
    "run_virtual",
    "virtual",
]

T = TypeVar("T")

# ---- an agent that keeps what it gets ------------------------------------------------------------


class Probe:
    """A behavior that keeps its messages for a test to look at. Requests wait until `reply` answers them."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self._looked_at = 0
        self._arrived: asyncio.Event = asyncio.Event()
        self._open: deque[asyncio.Future[object]] = deque()

    async def started(self, ctx: Any) -> None:
        """See Behavior."""

    async def handle(self, message: Any, ctx: Any) -> object:
        """Keeps the message; a request's turn goes on until the test answers it."""
        self.got.append(message)
        self._arrived.set()
        if ctx.deadline is None:
            return None
        reply: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._open.append(reply)
        return await reply

    async def stopping(self, reason: Any, ctx: Any) -> None:
        """See Behavior."""

    async def expect(self, kind: type[T], *, within_s: float = 5.0) -> T:
        """The next message that was not looked at yet; fails when it is of another class or does not come."""
        async with asyncio.timeout(within_s):
            while len(self.got) <= self._looked_at:
                self._arrived.clear()
                await self._arrived.wait()
        message = self.got[self._looked_at]
        self._looked_at += 1
        assert isinstance(message, kind), f"expected a {kind.__name__}, got {message!r}"
        return message

    def reply(self, value: object) -> None:
        """Answers the request that waits longest."""
        self._open.popleft().set_result(value)


# ---- wires between runtimes ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """How wires behave. Probabilities are per call."""

    latency_s: tuple[float, float] = (0.0002, 0.002)
    """One way. Calls overtake each other by up to the difference."""
    request_lost: float = 0.0
    reply_lost: float = 0.0
    doubled: float = 0.0
    slow: float = 0.0
    """Packets that take a hundred times as long, so that later ones overtake them by far."""
    fails_after_s: tuple[float, ...] = (0.001, 0.05, 1.0)
    """When the caller of a lost call learns of it."""
    verdict_s: tuple[float, float] = (0.005, 0.05)
    """From the death of a host until each of the others is told."""


CALM = FaultPlan()


class Receiving(Protocol):
    """What wires hand packets to: `runtime.peers.Peers`."""

    async def receive(self, host: HostId, packet: bytes) -> bytes:
        """See Peers."""
        ...

    async def listened(self, host: HostId) -> bytes:
        """See Peers."""
        ...

    def died(self, host: HostId, reason: ExitReason) -> None:
        """See Peers."""
        ...


Entry = Callable[[Receiving], Coroutine[Any, Any, bytes]]
"""What a call does inside the host that is called."""


class Wires:
    """Joins the hosts of one process. One seed gives one behavior."""

    def __init__(self, seed: int = 0, plan: FaultPlan = CALM) -> None:
        self.random = random.Random(seed)
        self.plan = plan
        self.calls = 0
        self._loop = asyncio.get_running_loop()
        self._hosts: dict[HostId, Receiving] = {}
        self._listening: set[HostId] = set()
        self._dead: dict[HostId, ExitReason] = {}
        self._inside: dict[HostId, dict[asyncio.Task[bytes], None]] = {}
        self._frozen: dict[HostId, list[Callable[[], object]]] = {}
        """Hosts that do not answer, and what goes on when they do again."""
        self._calling: dict[asyncio.Task[None], None] = {}

    def transport(self, host: HostId, *, listens: bool = False) -> LoopbackTransport:
        """The way out of one host. With `listens` nobody can call it, as if it were a driver."""
        if listens:
            self._listening.add(host)
        return LoopbackTransport(self, host)

    def join(self, host: HostId, receiving: Receiving) -> None:
        """The way into one host; from now on it can be called."""
        self._hosts[host] = receiving
        self._inside[host] = {}

    @property
    def hosts(self) -> list[HostId]:
        """Those that live."""
        return list(self._hosts)

    def can_call(self, host: HostId) -> bool:
        """See Transport."""
        return host not in self._listening

    def freeze(self, host: HostId) -> None:
        """Nothing comes out of the host any more and nothing gets in, as when its process is stopped by SIGSTOP."""
        self._frozen.setdefault(host, [])

    def is_frozen(self, host: HostId) -> bool:
        """True between `freeze` and `thaw`."""
        return host in self._frozen

    def thaw(self, host: HostId) -> None:
        """The host goes on where it stood: what waited for it to get in or out does."""
        for go_on in self._frozen.pop(host, ()):
            self._loop.call_soon(go_on)

    def cut(self, host: HostId, reason: ExitReason | None = None, *, tell: bool = True) -> None:
        """The host's process is dead: nothing of it runs or answers, and with `tell` the others will be told."""
        self._dead[host] = reason if reason is not None else Killed(detail=f"host {host} died")
        del self._hosts[host]
        for task in self._inside.pop(host):
            task.cancel()
        self.thaw(host)
        if not tell:
            return
        for other, receiving in self._hosts.items():
            self._loop.call_later(self.random.uniform(*self.plan.verdict_s), self._tell_death, other, receiving, host)

    def _tell_death(self, other: HostId, receiving: Receiving, host: HostId) -> None:
        if self._hosts.get(other) is receiving:
            receiving.died(host, self._dead[host])

    def spawn(self, call: Coroutine[Any, Any, None]) -> None:
        """Runs a call whose end is told to a function."""
        task = self._loop.create_task(call)
        self._calling[task] = None
        task.add_done_callback(lambda done: self._calling.pop(done, None))

    async def carry(self, caller: HostId, host: HostId, enter: Entry) -> bytes:
        """One call: there, inside, and back, with what the plan says may happen to it."""
        self.calls += 1
        plan, dice = self.plan, self.random
        is_lost, reply_is_lost = dice.random() < plan.request_lost, dice.random() < plan.reply_lost
        is_doubled = dice.random() < plan.doubled
        there_s, again_s, back_s = self._latency_s(), self._latency_s(), self._latency_s()
        fails_s = dice.choice(plan.fails_after_s)
        await self._thawed(caller)
        if is_lost or caller in self._dead:
            await asyncio.sleep(fails_s)
            raise self._lost(host)
        arrived: asyncio.Future[asyncio.Task[bytes] | None] = self._loop.create_future()
        # Timers and no awaits: a packet that has left arrives even when its caller dies or gives up.
        self._loop.call_later(there_s, self._enter, host, enter, arrived)
        if is_doubled:
            self._loop.call_later(again_s, self._enter, host, enter, self._loop.create_future())
        inside = await arrived
        if inside is not None:
            await asyncio.wait([inside])
        await self._thawed(host)
        await asyncio.sleep(back_s)
        if inside is None or inside.cancelled():
            raise self._lost(host)
        if reply_is_lost:
            await asyncio.sleep(fails_s)
            raise PeerLost(f"the reply of {host} was lost")
        return inside.result()

    def _enter(self, host: HostId, enter: Entry, arrived: asyncio.Future[asyncio.Task[bytes] | None]) -> None:
        if host in self._frozen:
            self._frozen[host].append(lambda: self._enter(host, enter, arrived))
            return
        receiving = self._hosts.get(host)
        task: asyncio.Task[bytes] | None = None
        if receiving is not None:
            task = self._loop.create_task(enter(receiving))
            inside = self._inside[host]
            inside[task] = None
            task.add_done_callback(lambda done: inside.pop(done, None))
        if not arrived.done():
            arrived.set_result(task)

    async def _thawed(self, host: HostId) -> None:
        while host in self._frozen:
            thawed: asyncio.Future[None] = self._loop.create_future()
            self._frozen[host].append(partial(_let_go, thawed))
            await thawed

    def _lost(self, host: HostId) -> PeerLost | PeerDead:
        """What the failure of a call says: sometimes that the peer is dead, sometimes only that contact was lost."""
        reason = self._dead.get(host)
        if reason is not None and self.random.random() < 0.5:
            return PeerDead(reason)
        return PeerLost(f"a call to {host} failed")

    def _latency_s(self) -> float:
        times = 100 if self.random.random() < self.plan.slow else 1
        return self.random.uniform(*self.plan.latency_s) * times


def _let_go(thawed: asyncio.Future[None]) -> None:
    if not thawed.done():
        thawed.set_result(None)


class LoopbackTransport:
    """The Transport port over Wires."""

    def __init__(self, wires: Wires, host: HostId) -> None:
        self._wires = wires
        self._host = host
        self._met: set[HostId] = set()

    def forget(self, host: HostId) -> None:
        """See Transport."""
        self._met.discard(host)

    @property
    def met(self) -> frozenset[HostId]:
        """See Transport."""
        return frozenset(self._met)

    @property
    def listens(self) -> bool:
        """See Transport."""
        return not self._wires.can_call(self._host)

    def can_call(self, host: HostId) -> bool:
        """See Transport."""
        return self._wires.can_call(host)

    def call(self, host: HostId, packet: bytes, ended: Callable[[CallEnd], None]) -> None:
        """See Transport."""
        self._wires.spawn(self._call(host, packet, ended))

    async def _call(self, host: HostId, packet: bytes, ended: Callable[[CallEnd], None]) -> None:
        end: CallEnd
        try:
            end = await self._carry(host, lambda peer: peer.receive(self._host, packet))
        except (PeerLost, PeerDead) as failure:
            end = failure
        ended(end)

    def greet(self, host: HostId) -> None:
        """See Transport."""
        self._met.add(host)

    async def listen(self, host: HostId) -> bytes | None:
        """See Transport."""
        return await self._carry(host, lambda peer: peer.listened(self._host))

    async def _carry(self, host: HostId, enter: Entry) -> bytes | None:
        self._met.add(host)
        try:
            return await self._wires.carry(self._host, host, enter)
        except PeerDead:
            self.forget(host)
            raise
