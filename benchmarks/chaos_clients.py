"""Clients of a chaos run: each sends commands to all agents, several at once, and writes down what it did and saw.

An ask that ends without an answer is sent again under its id, as a program does that wants to know. A tell has none, so
what became of one that failed is not known.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic

from chaos_desk import AGENTS, ARCHIVE, FILE, WRITE, Total, Write, Writing, Written
from history import Event, EventType, Recorder

from regrow import RegrowError, Running
from regrow.actors.durable_errors import InQuarantine, NotRunAgain
from regrow.runtime.command_ids import new_command_id

CLIENTS = 3
WINDOW = 3
"""How many commands of one client are under way at one agent."""
TELL_SHARE = 0.15
FILED_OF = 4
"""Every so many a clerk has one filed: all of them would be more than one archive can take from four clerks."""
ASK_LIMIT_S = 60.0
AGAIN_S = 0.1
"""Before a command is sent again."""
LIMIT_TRIES = 100
END_LIMIT_S = 150.0
"""For all that is under way at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How the next command for an agent is to be."""

    poison: bool = False
    clock_ahead_s: float | None = None
    twice: bool = False
    """Sent twice at once under one id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wished:
    wish: Wish
    sent: asyncio.Future[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiter:
    after_s: float
    acked: asyncio.Future[float]


class Clients:
    """All clients of a run."""

    def __init__(self, running: Running, recorder: Recorder, *, seed: int, begun_s: float) -> None:
        self._running = running
        self._recorder = recorder
        self._seed = seed
        self._begun_s = begun_s
        self._over = asyncio.Event()
        self._wishes: defaultdict[str, deque[_Wished]] = defaultdict(deque)
        self._waiters: defaultdict[str, list[_Waiter]] = defaultdict(list)
        self._lanes: list[asyncio.Task[None]] = []
        self.acked = 0

    def start(self) -> None:
        """Lets them send until `finish`."""
        for client in range(CLIENTS):
            for agent in AGENTS:
                self._lanes.append(asyncio.create_task(self._send_all(f"client-{client}", agent)))

    async def send_as(self, agent: str, wish: Wish) -> float:
        """The next command for that agent is to be so; when it was sent. Who no longer waits takes the wish back."""
        wished = _Wished(wish=wish, sent=asyncio.get_running_loop().create_future())
        self._wishes[agent].append(wished)
        return await wished.sent

    async def wait_ack(self, agent: str, *, after_s: float) -> float:
        """When that agent has first answered something that was first sent after a moment: all before it has passed."""
        waiter = _Waiter(after_s=after_s, acked=asyncio.get_running_loop().create_future())
        self._waiters[agent].append(waiter)
        try:
            return await waiter.acked
        finally:
            self._waiters[agent].remove(waiter)

    async def finish(self) -> bool:
        """Sends nothing new, and waits for all that is under way. False where something stays so."""
        self._over.set()
        _, left = await asyncio.wait(self._lanes, timeout=END_LIMIT_S)
        for lane in left:
            lane.cancel()
        for ended in await asyncio.gather(*self._lanes, return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
                raise ended
        return not left

    async def write_states(self) -> None:
        """Asks each agent for what it has committed; the line of one that does not say has only why."""
        for agent in AGENTS:
            total, text = None, ""
            try:
                total = await self._running.ref(agent).ask(Total(), timeout_s=ASK_LIMIT_S)
            except RegrowError as error:
                text = _said(error)
            self._recorder.add(Event(type=EventType.STATE, time=self._now(), agent=agent, position=total, text=text))

    def write_fault(self, kind: str, agent: str, at_s: float, *, window: str) -> None:
        """Writes down what was done to the system."""
        time = round(at_s - self._begun_s, 6)
        self._recorder.add(Event(type=EventType.FAULT, time=time, agent=agent, kind=kind, text=window))

    def _now(self) -> float:
        return round(monotonic() - self._begun_s, 6)

    # ---- one client and one agent ----------------------------------------------------------------

    async def _send_all(self, process: str, agent: str) -> None:
        dice = random.Random(f"{self._seed} {process} {agent}")
        room = asyncio.Semaphore(WINDOW)
        number = 0
        async with asyncio.TaskGroup() as under_way:
            while not self._over.is_set():
                await room.acquire()
                number += 1
                wished = self._next_wish(agent)
                wish = wished.wish if wished is not None else Wish()
                is_filed = agent != ARCHIVE and number % FILED_OF == 0
                is_tell = wished is None and dice.random() < TELL_SHARE
                invoke = Event(
                    type=EventType.INVOKE,
                    process=process,
                    agent=agent,
                    command=f"{process}>{agent.rpartition('/')[2]}#{number}",
                    id="" if is_tell else new_command_id(),
                    number=number,
                    kind="tell" if is_tell else "ask",
                    effects=() if wish.poison else (WRITE, FILE) if is_filed else (WRITE,),
                    poison=wish.poison,
                )
                send = partial(self._tell, invoke) if is_tell else partial(self._ask, invoke, wished)
                under_way.create_task(_then(send, room.release))

    def _next_wish(self, agent: str) -> _Wished | None:
        wishes = self._wishes[agent]
        while wishes:
            wished = wishes.popleft()
            if not wished.sent.done():
                return wished
        return None

    async def _tell(self, invoke: Event) -> None:
        message = Writing(
            command=invoke.command, source=invoke.process, number=invoke.number, is_filed=FILE in invoke.effects
        )
        self._add(invoke, EventType.INVOKE)
        try:
            await self._running.ref(invoke.agent).tell(message, send_timeout_s=ASK_LIMIT_S)
        except RegrowError as error:
            self._add(invoke, EventType.INFO, text=_said(error))
        else:
            self._ok(invoke)

    async def _ask(self, invoke: Event, wished: _Wished | None) -> None:
        wish = wished.wish if wished is not None else Wish()
        request = Write(
            command=invoke.command,
            source=invoke.process,
            number=invoke.number,
            is_filed=FILE in invoke.effects,
            poison=invoke.poison,
            clock_ahead_s=wish.clock_ahead_s,
        )
        first_s = monotonic()
        for _ in range(LIMIT_TRIES):
            if wish.twice:
                is_known = any(await asyncio.gather(*(self._try(invoke, request, wished, first_s) for _ in range(2))))
            else:
                is_known = await self._try(
                    invoke, request, wished, first_s
                )  # in this task, so that all leave in their order
            if is_known:
                return
            await asyncio.sleep(AGAIN_S)

    async def _try(self, invoke: Event, request: Write, wished: _Wished | None, first_s: float) -> bool:
        """One ask; whether its outcome is known by now. One that is sent again may be answered from its record."""
        self._add(invoke, EventType.INVOKE)
        if wished is not None and not wished.sent.done():
            wished.sent.set_result(first_s)
        try:
            written = await self._running.ref(invoke.agent).ask(request, timeout_s=ASK_LIMIT_S, command_id=invoke.id)
        except (InQuarantine, NotRunAgain) as error:
            self._add(invoke, EventType.INFO, text=_said(error))
            return True
        except RegrowError as error:
            self._add(invoke, EventType.INFO, text=_said(error))
            return False
        self._ok(invoke, written)
        for waiter in list(self._waiters[invoke.agent]):
            if first_s >= waiter.after_s and not waiter.acked.done():
                waiter.acked.set_result(monotonic())
        return True

    def _ok(self, invoke: Event, written: Written | None = None) -> None:
        self.acked += 1
        position, epoch = (written.position, written.epoch) if written is not None else (None, None)
        self._recorder.add(
            Event(
                type=EventType.OK,
                time=self._now(),
                process=invoke.process,
                agent=invoke.agent,
                command=invoke.command,
                position=position,
                epoch=epoch,
            )
        )

    def _add(self, invoke: Event, type: EventType, *, text: str = "") -> None:
        self._recorder.add(replace(invoke, type=type, time=self._now(), text=text))


async def _then(work: Callable[[], Awaitable[None]], after: Callable[[], None]) -> None:
    try:
        await work()
    finally:
        after()


def _said(error: RegrowError) -> str:
    return f"{type(error).__name__}: {error}"[:300]
