"""Processes with durable agents on one journal, joined by wires, that die at chosen operations of that journal.

Also in a life that goes on, answers of the journal can be lost, and its clock can jump.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from regrow.runtime.cell import State
from regrow.runtime.command_ids import NOISE_BITS, uuid7
from regrow.runtime.durability import open_durability
from regrow.runtime.journal_errors import JournalFull, JournalRefused, JournalUnknown
from regrow.runtime.lifecycle import Shutdown
from regrow.runtime.memory_journal import MemoryJournal
from regrow.runtime.testing import CALM, FaultPlan, pass_time
from tests.simulation.wires import Node, World

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from regrow.actors import DurableAgent
    from regrow.runtime.address import ActorId
    from regrow.runtime.cell import Cell
    from regrow.runtime.journal import Journal
    from regrow.runtime.lifecycle import Crashed, ExitReason
    from regrow.runtime.mailbox import MailboxSettings

BEGUN_MS = 1_764_000_000_000
JUMPS_MS = (-40_000, -11_000, 0, 11_000, 40_000)
"""How far the journal's clock is ahead: past a lease either way, and never so far that a message would expire."""
LATE_S = 2.0
"""So long after a call a copy of it may come: the server still reads what a connection had sent before it was cut."""
COPIED = ("claim", "enqueue")
"""The calls of which copies come late."""
LOOK_S = 0.001
"""Between two looks whether an agent has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFaults:
    """How often a call of the journal goes wrong in a life that goes on."""

    lost_before: float = 0.0
    """It is not done, and its caller does not know."""
    lost_after: float = 0.0
    """It is done, and its caller does not know."""
    jump: float = 0.0
    """The journal's clock jumps before it."""
    late: float = 0.0
    """A copy of it comes late, whether or not it was done, and after others; nobody hears its answer."""


class Mortal:
    """The journal as one process sees it: with that process, its calls end where they are.

    After `lives` calls of it the process dies: with the last one done, or with `before` not even begun.
    """

    def __init__(self, journal: MemoryJournal, die: Callable[[], None]) -> None:
        self._journal = journal
        self._die = die
        self.calls = 0
        self.lives: int | None = None
        self.before = False
        self.is_dead = False
        self.faults = JournalFaults()
        self.dice = random.Random(0)
        self.jump: Callable[[], None] = lambda: None
        self.late: Callable[[float, Callable[[], Coroutine[Any, Any, Any]]], None] = lambda _delay_s, _call: None
        """Makes a call after so many seconds."""
        self.copies = 0
        """How many calls come again, late."""
        self.lost = 0
        """How many answers were."""
        self.full = 0
        """So many of the next calls that store messages are refused, as by a store without room."""
        self.refusal: JournalRefused | None = None
        """While it is set, they are refused for good."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._journal, name)
        return self._mortal(method) if inspect.iscoroutinefunction(method) else method

    def _mortal(self, method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.is_dead:
                await asyncio.Event().wait()
            self.calls += 1
            if method.__name__ == "enqueue" and self.refusal is not None:
                raise self.refusal
            if method.__name__ == "enqueue" and self.full:
                self.full -= 1
                raise JournalFull("the store is full; raise its maxmemory")
            faults = self.faults
            if self.dice.random() < faults.jump:
                self.jump()
            if faults.late and method.__name__ in COPIED and self.dice.random() < faults.late:
                self.copies += 1
                self.late(self.dice.uniform(0.0, LATE_S), partial(method, *args, **kwargs))
            dies = self.lives is not None and self.calls == self.lives
            if not dies and self.dice.random() < faults.lost_before:
                self._lose(method.__name__)
            if dies and self.before:
                self._die()
                await asyncio.Event().wait()
            result = await method(*args, **kwargs)
            if dies:
                self._die()
                await asyncio.Event().wait()
            await asyncio.sleep(0)  # an answer takes its time, and others go on meanwhile
            if self.dice.random() < faults.lost_after:
                self._lose(method.__name__)
            return result

        return call

    def _lose(self, name: str) -> NoReturn:
        self.lost += 1
        raise JournalUnknown(f"the connection was cut during {name}")


class DurableWorld(World):
    """A world whose hosts share a journal. Who is not `kept` dies when its Mortal says so."""

    def __init__(self, seed: int = 0, plan: FaultPlan = CALM) -> None:
        super().__init__(seed, plan, restart_after_s=0.01)
        self._loop = asyncio.get_running_loop()
        self._dice = random.Random(f"journal {seed}")
        self._ahead_ms = 0
        self.jumps = 0
        self.journal = MemoryJournal(now_ms=self._store_ms)
        self.mortals: dict[str, Mortal] = {}
        self._kinds: dict[str, type[DurableAgent[Any]]] = {}
        self._held: set[ActorId] = set()
        """Who is not started again before all that are restarted with it have ended."""

    def _now_ms(self) -> int:
        return BEGUN_MS + int(self._loop.time() * 1000)

    def _store_ms(self) -> int:
        return self._now_ms() + self._ahead_ms

    def disturb(self, faults: JournalFaults) -> None:
        """From now on calls of the journal go wrong so often, for all processes that there are."""
        for mortal in self.mortals.values():
            mortal.faults, mortal.dice, mortal.jump, mortal.late = faults, self._dice, self._jump, self._late

    def _late(self, delay_s: float, call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._later(delay_s, lambda: self._spawn(call()))

    def _jump(self) -> None:
        self.jumps += 1
        self._ahead_ms = self._dice.choice(JUMPS_MS)

    async def host(self, name: str) -> Node:
        """A process that may hold durable agents."""
        node = self.node(name)
        mortal = self.mortals[name] = Mortal(self.journal, lambda: self.kill(name))
        node.runtime.durability = await open_durability(node.runtime, cast("Journal", mortal), rng=random.Random(name))
        return node

    def node(self, name: str, *, listens: bool = False) -> Node:
        """See World; every process knows which agents are durable."""
        made = super().node(name, listens=listens)
        made.runtime.delivery.is_durable = lambda actor: actor in self._kinds
        made.runtime.delivery.new_command = lambda: uuid7(self._now_ms(), self.wires.random.getrandbits(NOISE_BITS))
        return made

    async def start_durable(
        self, node: Node, actor: str, kind: type[DurableAgent[Any]], *, mailbox: MailboxSettings | None = None
    ) -> None:
        """Starts a durable agent."""
        self._kinds[actor] = kind
        await self.start(node, actor, lambda: kind.made(None), mailbox=mailbox)

    async def attempt(self, node: Node, actor: ActorId) -> Crashed | None:
        """One start of an agent there, which may fail; whoever calls this ends it, and starts it again."""
        self._held.add(actor)
        return await node.runtime.start(self._request(actor))

    async def restart_in_order(self, actors: Sequence[ActorId], *, grace_s: float) -> None:
        """As a supervisor restarts siblings: stops one after the other, the last first, and then starts them all."""
        self._held.update(actors)
        homes: dict[ActorId, Node] = {}
        for actor in reversed(actors):
            await self._stopped(actor, homes, grace_s)
        for actor in actors:
            home = homes.get(actor)
            if home is None or home.is_dead:
                await pass_time(self.wires.plan.verdict_s[1] + 0.1)  # no other may have it before that
                home = self.wires.random.choice([node for node in self.living if self.wires.can_call(node.host)])
            self._held.discard(actor)
            await self._start(home, actor)

    async def end(self, node: Node, actor: ActorId, *, grace_s: float | None) -> bool:
        """Ends an agent in a process that lives: in order, or without a grace at once. It waits for `begin` then.

        False where none runs there.
        """
        cell = node.runtime.cells.get(actor)
        if cell is None or cell.behavior is None:
            return False
        self._held.add(actor)
        if grace_s is None:
            cell.kill()
        else:
            cell.stop(Shutdown(), grace_s)
        while cell.behavior is not None:
            await pass_time(LOOK_S)
        return True

    def leave(self, node: Node, actor: ActorId) -> None:
        """No further life of an agent that has ended comes to this process."""
        node.runtime.forget(actor)
        self.truth.remove(actor)

    async def begin(self, node: Node, actor: ActorId) -> None:
        """Starts the next life of an agent that has ended, wherever the one before was."""
        self._held.discard(actor)
        await self._start(node, actor)

    async def _stopped(self, actor: ActorId, homes: dict[ActorId, Node], grace_s: float) -> None:
        for node in self.living:
            cell = node.runtime.cells.get(actor)
            if cell is None:
                continue
            while cell.state is State.STARTING and not node.is_dead:
                await pass_time(LOOK_S)
            if cell.behavior is not None:
                cell.stop(Shutdown(), grace_s)
            while cell.behavior is not None and not node.is_dead:
                await pass_time(LOOK_S)
            homes[actor] = node

    def ended(self, node: Node, cell: Cell, reason: ExitReason) -> None:
        """See World."""
        if cell.actor in self._held:
            self.ends.append((cell.actor, reason))
        else:
            super().ended(node, cell, reason)

    def _restart(self, node: Node | None, actor: ActorId) -> None:
        if actor not in self._held:
            super()._restart(node, actor)

    def kill(self, name: str) -> None:
        """See World."""
        if name in self.nodes:
            self.mortals[name].is_dead = True
            super().kill(name)

    def _verdict(self, node: Node, reason: ExitReason) -> None:
        assert node.runtime.durability is not None
        self._spawn(self._buried(node, reason, node.runtime.durability.host))

    async def _buried(self, node: Node, reason: ExitReason, host: Any) -> None:
        await self.journal.revoke(host, reaped=True)  # before anybody hears of the death, as the guardian does
        super()._verdict(node, reason)
