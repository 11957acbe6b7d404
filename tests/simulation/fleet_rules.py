"""What must hold of a tree over several hosts after each step, whatever happens (SEMANTICS 2).

The rules see what passes between supervisors and their starter, and what supervisors report, and nothing of what the
supervisors know. They speak of *supervisor lives*: a supervisor that is started anew begins with an empty window.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.cell import Cell, State
from regrow.runtime.lifecycle import Crashed, Escalated, ExitReason, Killed
from regrow.runtime.starter import StartRequest
from regrow.supervisors import ReportKind, SupervisorReport, SupervisorSpec
from tests.simulation.fleet import Fleet
from tests.supervisors.stage import Stage

ENDING = (State.STOPPING, State.EXITING)
COUNTED = (ReportKind.RESTARTING, ReportKind.ESCALATED)
"""The reports that cost a supervisor one unit of its restart intensity."""


@dataclass(slots=True, kw_only=True, eq=False)
class Supervised:
    """One life of one supervisor, as the rules have seen it."""

    spec: SupervisorSpec
    counted_at: list[float] = field(default_factory=list[float])
    """When restarts were counted, in seconds of the clock."""
    last_counted: int = 0
    """When, in steps: the last restart that was counted, or that cost nothing by rule."""
    freed: set[ActorId] = field(default_factory=set[ActorId])
    """Children whose death costs nothing, until they start again: another one had to be killed with its host."""
    events: set[str] = field(default_factory=set[str])
    """The deaths of hosts that were counted."""
    started: dict[ActorId, int] = field(default_factory=dict[ActorId, int])
    """When each child was started last, in steps, but for starts by order."""
    ended_last: tuple[State, int] | None = None
    """While it ends: in which state it gave its last order, and for which child, by its place in start order."""
    escalated: bool = False
    ordered: bool = False
    """Somebody told it to end."""


class Rules:
    """Is told of everything, and keeps what was broken."""

    def __init__(self, stage: Stage, tree: SupervisorSpec) -> None:
        self.broken: list[str] = []
        self.seen: Counter[str] = Counter()
        """How often something happened that the rules are about."""
        self._stage = stage
        self._specs = dict(_specs(stage.actor(), tree))
        self._places = {
            stage.actor(_below(actor, child.id)): place
            for actor, spec in self._specs.items()
            for place, child in enumerate(spec.children)
        }
        self._steps = itertools.count(1)
        self._open: defaultdict[ActorId, dict[Incarnation, bool]] = defaultdict(dict)
        """Lives that were begun and of which no supervisor has heard that they are over; whether a kill is open."""
        self._lives: dict[tuple[ActorId, int], Supervised] = {}
        self._event_of: dict[tuple[ActorId, int], str] = {}
        self._free: set[tuple[ActorId, int]] = set()
        """Lives whose end costs nothing."""
        self._operators: Counter[ActorId] = Counter()

    # ---- what is told by the starter -----------------------------------------------------------

    def starts(self, request: StartRequest) -> None:
        """No life begins before it is certain that the one before is over, and none for which nobody has paid."""
        actor = request.actor
        if others := self._open[actor]:
            self._breaks(f"{actor}#{request.incarnation} starts, and nobody knows whether {list(others)} are over")
        self._open[actor][request.incarnation] = False
        supervisor = self._supervisor_of(actor)
        if self._operators[self._parent(actor)]:
            return  # by order, perhaps: it costs nothing, and what was paid for before is still to come
        if supervisor.freed:
            supervisor.last_counted = next(self._steps)
            supervisor.freed.discard(actor)
        before = supervisor.started.get(actor)
        supervisor.started[actor] = next(self._steps)
        if before is not None and supervisor.last_counted < before:
            self._breaks(f"{actor}#{request.incarnation} starts again, and no restart was counted for that")

    def start_failed(self, request: StartRequest) -> None:
        """Its retry is counted by itself, also where it failed because its host died: it never was one of that host."""
        self.over(request.actor, request.incarnation)
        self._event_of.pop((request.actor, request.incarnation), None)
        self._free.discard((request.actor, request.incarnation))

    def orders(self, actor: ActorId, incarnation: Incarnation) -> None:
        """A supervisor that ends does so child by child in reverse start order, each before the next."""
        if actor in self._specs:
            self.life(actor, incarnation).ordered = True
        parent = self._stage.runtime.cells[self._parent(actor)]
        if parent.state not in ENDING:
            return
        supervisor, place = self._supervisor_of(actor), self._places[actor]
        if supervisor.ended_last is not None and supervisor.ended_last[0] is parent.state:
            if place > supervisor.ended_last[1]:
                self._breaks(f"{actor} is told to end behind one that was started before it")
        supervisor.ended_last = parent.state, place
        for other, later in self._places.items():
            alive = [kill_is_open for kill_is_open in self._open[other].values() if not kill_is_open]
            if self._parent(other) == parent.actor and later > place and alive:
                self._breaks(f"{actor} is told to end, and {other}, which was started after it, is not over")

    def unconfirmed(self, actor: ActorId) -> None:
        """From here on nobody waits for it to end, only for word of it."""
        self.seen["kills that were not confirmed"] += 1
        for incarnation in self._open[actor]:
            self._open[actor][incarnation] = True

    def over(self, actor: ActorId, incarnation: Incarnation, event: str = "", *, free: bool = False) -> None:
        """The supervisor knows of the end of a life."""
        if self._open[actor].pop(incarnation, None) is None:
            return  # it is told twice, as when a host dies whose lives had ended
        if event:
            self._event_of[actor, incarnation] = event
        if free:
            self.seen["ends by the death of a host that another brought about"] += 1
            self._free.add((actor, incarnation))
            self._supervisor_of(actor).freed.add(actor)

    # ---- what supervisors tell -----------------------------------------------------------------

    def reported(self, report: SupervisorReport) -> None:
        """The window is never passed, nobody gives up before it is, and one host's death is one event."""
        if report.kind not in COUNTED:
            return
        stage, actor = self._stage, ActorId(report.supervisor)
        supervisor = self.life(actor, stage.runtime.cells[actor].incarnation)
        supervisor.last_counted, now_s = next(self._steps), stage.loop.time()
        supervisor.counted_at.append(now_s)
        number = sum(now_s - at_s <= supervisor.spec.within_s for at_s in supervisor.counted_at)
        self.seen[report.kind.value] += 1
        if report.kind is ReportKind.ESCALATED:
            supervisor.escalated = True
        if (number > supervisor.spec.max_restarts) is not supervisor.escalated:
            self._breaks(
                f"{actor}: {report.kind} with {number} restarts of {supervisor.spec.max_restarts} in its window"
            )
        life = stage.actor(_below(actor, report.child)), report.incarnation
        if life in self._free:
            self._breaks(f"{actor}: pays for the end of {report.child}, whose host another one had brought down")
        if event := self._event_of.get(life, ""):
            self.seen["restarts after the death of a host"] += 1
            if event in supervisor.events:
                self._breaks(f"{actor}: the death of {event} is counted once more, for {report.child}")
            supervisor.events.add(event)

    def supervisor_ended(self, cell: Cell, reason: ExitReason, *, quiet: bool) -> None:
        """It outlives nobody below it by mistake, and ends only by its own rules or by order."""
        self.over(cell.actor, cell.incarnation)
        below = [actor for actor, lives in self._open.items() if lives and actor.startswith(f"{cell.actor}/")]
        if below:
            self._breaks(f"{cell.actor}#{cell.incarnation} has ended ({reason}), and {below} may still run")
        life = self.life(cell.actor, cell.incarnation)
        if quiet:
            return
        match reason:
            case Escalated():
                expected = life.escalated
            case Crashed():
                expected = False
            case Killed():
                expected = life.ordered
            case _:
                expected = life.ordered and not life.escalated
        if not expected:
            self._breaks(f"{cell.actor}#{cell.incarnation} ended as {reason}; {life.escalated=}, {life.ordered=}")

    # ---- what the simulation does --------------------------------------------------------------

    @contextmanager
    def operator_at(self, supervisor: ActorId) -> Iterator[None]:
        """While it lasts, starts of its children may be by order."""
        self._operators[supervisor] += 1
        try:
            yield
        finally:
            self._operators[supervisor] -= 1

    def life(self, actor: ActorId, incarnation: int) -> Supervised:
        """What is known of one life of a supervisor."""
        return self._lives.setdefault((actor, incarnation), Supervised(spec=self._specs[actor]))

    def left(self) -> list[str]:
        """Lives of which no supervisor has heard that they are over."""
        return [f"{actor}#{life}" for actor, lives in self._open.items() for life in lives]

    def _supervisor_of(self, actor: ActorId) -> Supervised:
        parent = self._parent(actor)
        return self.life(parent, self._stage.runtime.cells[parent].incarnation)

    def _parent(self, actor: ActorId) -> ActorId:
        return ActorId(actor.rpartition("/")[0])

    def _breaks(self, what: str) -> None:
        self.broken.append(f"at {self._stage.loop.time():.3f} s: {what}")


class FleetStage(Stage):
    """A stage whose workers are in the hosts of a fleet, and whose every step the rules see."""

    def __init__(self, rng: random.Random, tree: SupervisorSpec) -> None:
        super().__init__(Fleet)
        assert isinstance(self.starter, Fleet)
        self.fleet = self.starter
        self.rules = Rules(self, tree)
        self.fleet.stage, self.fleet.witness, self.fleet.rng = self, self.rules, rng
        announce = self.runtime.announce_exit

        def announced(cell: Cell, reason: ExitReason, *, quiet: bool) -> None:
            self.rules.supervisor_ended(cell, reason, quiet=quiet)
            announce(cell, reason, quiet=quiet)

        self.runtime.announce_exit = announced  # type: ignore[method-assign]

    def reported(self, report: SupervisorReport) -> None:
        super().reported(report)
        self.rules.reported(report)


def _specs(actor: ActorId, tree: SupervisorSpec) -> Iterator[tuple[ActorId, SupervisorSpec]]:
    """Every supervisor of a tree."""
    yield actor, tree
    for child in tree.children:
        if isinstance(child.behavior, SupervisorSpec):
            yield from _specs(ActorId(f"{actor}/{child.id}"), child.behavior)


def _below(actor: str, id: str) -> str:
    """The path below the root of a child."""
    return f"{actor.partition('/')[2]}/{id}".removeprefix("/")
