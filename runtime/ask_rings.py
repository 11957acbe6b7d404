"""Agents that block each other: found by following what an ask waits for from turn to turn.

A call chain that comes back to itself is seen at once, since each ask carries its chain. Asks that began apart are
not: A's turn asks B while B's turn asks A. So an ask of a turn that has waited for a while sends a `Chase` after
itself. Where the request lies behind a turn that runs, or is handled by one, the chase goes on along every ask of that
turn; a chase that comes back to the turn it set out from has found a ring. This is the edge chasing of K. M. Chandy,
J. Misra and L. M. Haas, «Distributed deadlock detection», ACM TOCS 1(2), 1983, for the AND model: what a turn asks,
it waits for. A turn that waits for nothing ends the chase, however slow it is. The start of a child is waited for as
well: there the chase goes on along what the child asks while it starts.

A ring must be found twice in a row, by the same asks, since an asker may give up while a chase is under way. Then one
of its asks fails, and every chase that finds this ring names the same one: where a start is part of the ring, the ask
of the child that starts. Were it the ask for the start, this would go on, and leave a child of which its asker knows
nothing.

Where a chase comes to an agent that runs as many turns beside each other as it may, `full_agents` goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrow.runtime.address import ActorId, HostId
from regrow.runtime.asks import PendingAsk
from regrow.runtime.awaited_starts import AwaitedStart, asks_of_starts
from regrow.runtime.cell import Cell, State
from regrow.runtime.delivery import MAX_REROUTES
from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.errors import AskCycle
from regrow.runtime.full_agents import FullAgents
from regrow.runtime.signals import Chase, FullRing, RingFound, SurveyChase
from regrow.runtime.turn import is_full

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext
    from regrow.runtime.message import Message
    from regrow.runtime.runtime import Runtime

MAX_RING = 64
"""The most agents in a ring that is still found; a longer one ends at its first deadline."""
MAX_KNOWN_CHASES = 4_096
"""How many visits of chases are remembered, so that none goes on twice from the same turn."""

Turn = tuple[Cell, Envelope | None]
"""A turn of a life; None for its start or its stop."""
Wait = PendingAsk | AwaitedStart
"""What a turn waits for."""
Path = tuple[tuple[str, str, int], ...]
"""The steps of a chase."""


class AskRings:
    """Starts, follows and closes chases in one process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.full = FullAgents(runtime, self)
        self._last_number = 0
        self._visits: dict[tuple[object, ...], None] = {}
        self._by_turn: dict[Turn, list[Wait]] | None = None
        self._queued: dict[Cell, tuple[int, frozenset[tuple[HostId | None, int]]]] = {}

    def look(self, asks: list[PendingAsk]) -> None:
        """Starts a chase for each turn that has waited long for one of these asks."""
        turns = dict.fromkeys(turn for ask in asks if (turn := _turn_of(ask.turn)) is not None)
        for turn in turns:
            self._set_out(turn, ())

    def next_number(self) -> int:
        """A number for one more chase."""
        self._last_number += 1
        return self._last_number

    def follow(self, cell: Cell, chase: Chase) -> None:
        """A chase has come to the agent that was asked or is started; it goes on from the turn that is in its way."""
        _, host, number = chase.path[-1]
        turn = _start_of(cell, -number) if number < 0 else _turn_of_ask(cell, HostId(host), number)
        is_begun = turn is not None
        if number > 0:
            turn = turn or _turn_ahead(cell)
        if turn is None:
            if number > 0 and is_full(cell) and self._is_queued(cell, HostId(host), number):
                self.full.found(cell, chase)
            return
        waits_for = self.waits_of(turn)
        # Whether the turn is in the ask's way comes last: nearly every turn waits for nothing, and ends the chase here.
        if not waits_for or not (is_begun or self._is_queued(cell, HostId(host), number)):
            return
        _, home, first = chase.path[0]
        if home == self._runtime.host and any(_number(wait) == first for wait in waits_for):
            if not isinstance(chase, SurveyChase):
                self._close(turn, chase)
        elif len(chase.path) < MAX_RING and self._is_first_visit(turn, chase):
            for wait in waits_for:
                self._send_on(cell, wait, chase)

    def found(self, cell: Cell, ring: RingFound) -> None:
        """One of a ring has to fail, and it is this agent's ask."""
        ask = self._runtime.asks.get(ring.ask_id)
        if ask is not None and ask.turn is not None and ask.turn.id == cell.actor:
            chain = tuple(ActorId(agent) for agent in ring.agents)
            self._runtime.asks.fail(ring.ask_id, AskCycle(chain, cell.actor, _why(cell, ring)))

    def _set_out(self, turn: Turn, found: Path) -> None:
        self.set_out(turn, Chase(number=self.next_number(), path=(), found=found))

    def set_out(self, turn: Turn, chase: Chase) -> None:
        """Sends a chase along everything for which a turn waits."""
        self._is_first_visit(turn, chase)
        for wait in self.waits_of(turn):
            self._send_on(turn[0], wait, chase)

    def _close(self, turn: Turn, chase: Chase) -> None:
        if chase.path != chase.found:
            if not chase.found:
                self._set_out(turn, chase.path)
            return
        victim = _place_of_victim(chase.path)
        agents = tuple(agent for agent, _, _ in (*chase.path[victim:], *chase.path[:victim]))
        actor, host, ask_id = chase.path[victim]
        self.send(HostId(host), ActorId(actor), RingFound(ask_id=ask_id, agents=agents))

    def _send_on(self, cell: Cell, wait: Wait, chase: Chase) -> None:
        runtime = self._runtime
        host = runtime.host if wait.actor in runtime.cells else wait.host
        if host is None or self._is_over(wait):
            return  # still looked for, so nobody is in its way; or over by now
        path = (*chase.path, (cell.actor, runtime.host, _number(wait)))
        # Not validated: it is right as it stands, and a path is as long as the ring.
        further = type(chase).model_construct(None, **{**chase.__dict__, "path": path})
        self.send(host, wait.actor, further)

    def send(self, host: HostId, actor: ActorId, signal: Message) -> None:
        """Sends a signal along the link on which the ask went, so that it comes behind it, and nowhere else."""
        envelope = Envelope(Kind.SIGNAL, actor, signal, self._runtime.origin)
        delivery = self._runtime.delivery
        if host == self._runtime.host:
            cell = self._runtime.cells.get(actor)
            if cell is not None:
                delivery.arrive(cell, envelope)
        elif delivery.carrier is not None:
            envelope.reroutes = MAX_REROUTES
            delivery.carrier.send(host, envelope)

    def _is_first_visit(self, turn: Turn, chase: Chase) -> bool:
        home = chase.path[0][1] if chase.path else self._runtime.host
        cell, envelope = turn
        visit = (home, chase.number, cell.actor, id(envelope))
        if visit in self._visits:
            return False
        if len(self._visits) >= MAX_KNOWN_CHASES:
            del self._visits[next(iter(self._visits))]
        self._visits[visit] = None
        return True

    def _is_queued(self, cell: Cell, host: HostId, ask_id: int) -> bool:
        """True when this ask is in the mailbox, or may be. Each mailbox is read once in a round: many are behind it."""
        if cell.open_slots.get(host, ask_id) is not None:
            return False
        if cell.mailbox.has_peers:
            return True  # which asks wait for room in another process is known there alone
        taken, queued = self._queued.get(cell, (-1, frozenset()))
        if taken != cell.mailbox.taken:  # what was taken since may be answered by now
            queued = cell.mailbox.queued_asks()
            self._queued[cell] = cell.mailbox.taken, queued
            self._forget_soon()
        return (host, ask_id) in queued

    def waits_of(self, turn: Turn) -> list[Wait]:
        """What a turn waits for. Sorted by turn once in each round of the loop, since many chases come together."""
        if self._by_turn is None:
            self._by_turn = {}
            for wait in (*self._runtime.asks, *self._runtime.awaited_starts):
                waiting = _turn_of(wait.turn)
                if waiting is not None:
                    self._by_turn.setdefault(waiting, []).append(wait)
            self._forget_soon()
        return [wait for wait in self._by_turn.get(turn, ()) if not self._is_over(wait)]

    def _is_over(self, wait: Wait) -> bool:
        return self._runtime.asks.get(wait.ask_id) is not wait if isinstance(wait, PendingAsk) else wait.is_over

    def _forget_soon(self) -> None:
        self._runtime.loop.call_soon(self._forget)

    def _forget(self) -> None:
        self._by_turn = None
        self._queued.clear()


def _turn_of(context: CellContext | None) -> Turn | None:
    """The turn of a context, while it waits; None where it has ended and its agent serves others."""
    return context.turn_that_runs() if context is not None else None


def _number(wait: Wait) -> int:
    """How a step of a path names it."""
    return wait.ask_id if isinstance(wait, PendingAsk) else -wait.incarnation


def _place_of_victim(path: Path) -> int:
    """Which step of a ring has its ask fail: the same one whoever finds the ring, so that no more than one fails."""
    return max(asks_of_starts(path) or range(len(path)), key=lambda place: path[place][1:])


def _why(cell: Cell, ring: RingFound) -> str:
    """What is to be said of a ring where it is not two turns alone that block each other."""
    starter = ring.agents[-1]
    if cell.state is State.STARTING and cell.parent == starter:
        return (
            f"{starter} waits until {cell.actor} has started, and that waits for this answer; "
            "hand it what it needs as its config, or let it ask once it has started"
        )
    if isinstance(ring, FullRing):
        return (
            f"{cell.actor} has begun all the {len(cell.turns)} turns that it may have at once, and what they ask "
            "for needs one more; let fewer of them ask at once, or have another agent serve what is asked back"
        )
    return ""


def _start_of(cell: Cell, incarnation: int) -> Turn | None:
    """The start of that life; None when it is over."""
    return (cell, None) if cell.state is State.STARTING and cell.incarnation == incarnation else None


def _turn_of_ask(cell: Cell, host: HostId, ask_id: int) -> Turn | None:
    """The turn that handles this ask of `cell`; None when it has not begun, or is over."""
    return next(((cell, envelope) for envelope in cell.in_turn if envelope.is_ask_of(host, ask_id)), None)


def _turn_ahead(cell: Cell) -> Turn | None:
    """The turn that must end before anything queued begins; None while none runs that keeps others waiting."""
    if cell.is_between_turns:
        return cell, None
    serial = (envelope for envelope in cell.in_turn if not cell.may_run_beside(envelope.message))
    return next(((cell, envelope) for envelope in serial), None)
