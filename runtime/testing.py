"""A clock that jumps, wires that fail by seed, and an agent that keeps what it gets: for tests.

`run_virtual` runs a coroutine on an event loop whose time() and select() are ours: when nothing is
ready, time jumps to the next timer. asyncio's own timeouts, stamina and the whole kernel obey it,
so that thirty seconds of supervision take a millisecond. `Wires` join several runtimes of one
process as Ray's actor calls join processes, with every fault that those have.
"""

from __future__ import annotations

import asyncio
import functools
import random
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from regrow.runtime.address import HostId
from regrow.runtime.lifecycle import ExitReason, Killed
from regrow.runtime.transport import CallEnd, PeerDead, PeerLost

P = ParamSpec("P")
T = TypeVar("T")

START_S = 1_000.0
"""Where virtual time begins; not 0, so that code which confuses 0 with «no deadline» is found."""


class Stuck(AssertionError):
    """Nothing is ready, no timer is set and no thread works: the test would wait for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. Threads that it started are waited for in real time."""

    def __init__(self) -> None:
        self.now_s = START_S
        self._in_threads = 0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self.now_s

    @property
    def waits_for_threads(self) -> bool:
        """True while a thread of this loop's executor works, so that time must not jump."""
        return self._in_threads > 0

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override] # looser, as asyncio's own before 3.13
        """As asyncio's, counting what runs."""
        self._in_threads += 1
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *timeout_s: Any) -> None:
        """As asyncio's, which waits in a thread for the others to end."""
        self._in_threads += 1
        try:
            await super().shutdown_default_executor(*timeout_s)
        finally:
            self._in_threads -= 1

    def _thread_done(self, _: object) -> None:
        self._in_threads -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Never sleeps: where a real selector would, it moves the loop's clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._loop.waits_for_threads:
            return super().select(timeout if timeout is not None and timeout <= 0 else 0.05)
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None:
            raise Stuck("nothing is ready and no timer is set: something waits for what can not come")
        self._loop.now_s += timeout
        return []


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` to its end on a loop of its own with virtual time. Raises Stuck instead of hanging."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Makes an async test run on virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        run_virtual(test(*args, **kwargs))

    return run


async def pass_time(seconds: float) -> None:
    """Lets virtual time pass; whatever is due by then has happened."""
    await asyncio.sleep(seconds)


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
