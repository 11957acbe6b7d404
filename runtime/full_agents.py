"""Agents all of whose concurrent turns wait, while the answer they wait for needs one turn more.

What is queued at such a full agent waits for whichever of its turns ends first, and so for ever only where none of
them will end: an OR among the ANDs of `ask_rings`. When a chase comes to a full agent, that agent makes a survey: it
sends a chase along what each of its turns waits for. Where one of these comes to a full agent, be it the same or
another, in whose mailbox the ask is queued, that is reported to who makes the survey; and another agent joins with all
its own turns. An agent is blocked when each of its turns has come to one that is blocked.

As with rings, what one survey sees a second must see too, in the same asks. Then one of these fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

from regrow.runtime.address import ActorId, HostId
from regrow.runtime.awaited_starts import asks_of_starts
from regrow.runtime.signals import Chase, FullRing, SurveyChase, Surveyed
from regrow.runtime.turn import is_full

if TYPE_CHECKING:
    from regrow.runtime.ask_rings import AskRings, Path
    from regrow.runtime.cell import Cell
    from regrow.runtime.runtime import Runtime

LOOK_AGAIN_S = 0.25
"""The least time between two surveys of an agent that is not found to be blocked."""
SURVEY_S = 5.0
"""How long a survey waits for its reports, which may have to cross slow wires; others begin meanwhile."""
MAX_IN_A_ROW = 8
"""How many surveys follow each other at once, while each finds its agent blocked, but by another way than before."""
MAX_KNOWN_SURVEYS = 1_024
"""How many surveys are remembered, so that an agent joins none twice."""

Place = tuple[str, str]
"""An agent and its host."""
Way = tuple["Path", Place]
"""How a turn came to a full agent, and to which one."""


class FullAgents:
    """Makes the surveys of the full agents in one process, and joins those of others."""

    def __init__(self, runtime: Runtime, rings: AskRings) -> None:
        self._runtime = runtime
        self._rings = rings
        self._surveys: dict[tuple[Cell, int], Survey] = {}
        self._fresh: dict[Cell, bool] = {}
        """Who has begun a survey a moment ago, and whether one more was wanted since."""
        self._joined: dict[tuple[str, str, int], None] = {}

    def found(self, cell: Cell, chase: Chase) -> None:
        """A chase has come to this full agent, where its ask waits for a place."""
        if isinstance(chase, SurveyChase):
            here = (cell.actor, self._runtime.host)
            report = Surveyed(survey=chase.survey, turn=chase.number, turns=chase.turns, path=chase.path, at=here)
            self._rings.send(HostId(chase.host), ActorId(chase.maker), report)
            self._join(cell, chase.maker, chase.host, chase.survey)
        elif cell in self._fresh:
            self._fresh[cell] = True
        else:
            self._look(cell)

    def reported(self, cell: Cell, report: Surveyed) -> None:
        """One turn, of this agent or of another that has joined its survey, waits for a place at a full agent."""
        survey = self._surveys.get((cell, report.survey))
        if survey is not None and survey.note(report):
            self._runtime.loop.call_soon(self._conclude, cell, survey)  # soon, since many come together

    def _look(self, cell: Cell) -> None:
        self._fresh[cell] = False
        self._runtime.loop.call_later(LOOK_AGAIN_S, self._look_again, cell)
        self._begin(cell, Survey(self._rings.next_number()))

    def _look_again(self, cell: Cell) -> None:
        if self._fresh.pop(cell) and is_full(cell):  # what it was wanted for may have come behind its chases
            self._look(cell)

    def _begin(self, cell: Cell, survey: Survey) -> None:
        key = (cell, survey.number)
        self._surveys[key] = survey
        self._runtime.loop.call_later(SURVEY_S, self._forget, key)
        self._join(cell, cell.actor, self._runtime.host, survey.number)

    def _forget(self, key: tuple[Cell, int]) -> None:
        self._surveys.pop(key, None)

    def _join(self, cell: Cell, maker: str, host: str, survey: int) -> None:
        key = (cell.actor, host, survey)
        if key in self._joined:
            return
        if len(self._joined) >= MAX_KNOWN_SURVEYS:
            del self._joined[next(iter(self._joined))]
        self._joined[key] = None
        # Soon and not now: the chase that led here may have passed many agents of this process, each one call deep.
        self._runtime.loop.call_soon(self._chase_all, cell, maker, host, survey)

    def _chase_all(self, cell: Cell, maker: str, host: str, survey: int) -> None:
        """Sends a chase from each turn; none where one of them waits for nothing and will end by itself."""
        turns = [(cell, envelope) for envelope in cell.in_turn]
        if len(turns) < len(cell.turns) or not is_full(cell):
            return  # one of them has ended
        if not all(self._rings.waits_of(turn) for turn in turns):
            return
        for turn in turns:
            number = self._rings.next_number()
            chase = SurveyChase(
                number=number, path=(), found=(), maker=maker, host=host, survey=survey, turns=len(turns)
            )
            self._rings.set_out(turn, chase)

    def _conclude(self, cell: Cell, survey: Survey) -> None:
        survey.is_due = False
        key = (cell, survey.number)
        if key not in self._surveys:
            return  # another one of this agent was quicker, or it took too long
        here = (cell.actor, self._runtime.host)
        blocked = blocked_agents(survey.turns, survey.seen_twice)
        if here in blocked:
            for each in [each for each in self._surveys if each[0] is cell]:
                del self._surveys[each]  # else each would have an ask fail for what the first has opened
            self._fail_one(ring_among(blocked, survey.seen_twice))
        elif here in blocked_agents(survey.turns, survey.ways):
            del self._surveys[key]
            if survey.in_a_row < MAX_IN_A_ROW:
                self._begin(cell, Survey(self._rings.next_number(), survey))

    def _fail_one(self, ring: Path) -> None:
        actor, host, ask_id = ring[0]
        found = FullRing(ask_id=ask_id, agents=tuple(agent for agent, _, _ in ring))
        self._rings.send(HostId(host), ActorId(actor), found)


class Survey:
    """What one survey has been told, and what of that the ones before it had been told too."""

    def __init__(self, number: int, before: Survey | None = None) -> None:
        self.number = number
        self.in_a_row: int = before.in_a_row + 1 if before is not None else 1
        self.turns: dict[Place, int] = {}
        self.ways: dict[Place, dict[int, list[Way]]] = {}
        self.seen_twice: dict[Place, dict[int, list[Way]]] = {}
        self.is_due = False
        self._before = before.seen if before is not None else frozenset[Way]()
        self._seen = set(self._before)

    def note(self, report: Surveyed) -> bool:
        """Takes a report in; True when it is time to draw a conclusion, and none is due yet."""
        way = (report.path, report.at)
        actor, host, _ = report.path[0]
        place = (actor, host)
        self.turns[place] = report.turns
        ways = self.ways.setdefault(place, {})
        ways.setdefault(report.turn, []).append(way)
        if way in self._before:
            self.seen_twice.setdefault(place, {}).setdefault(report.turn, []).append(way)
        self._seen.add(way)
        if self.is_due or len(ways) < report.turns:
            return False
        self.is_due = True
        return True

    @property
    def seen(self) -> frozenset[Way]:
        """All that this one and those before it were told."""
        return frozenset(self._seen)


def blocked_agents(turns: Mapping[Place, int], ways: Mapping[Place, Mapping[int, list[Way]]]) -> frozenset[Place]:
    """The full agents each of whose turns waits for a place at one of them.

    `turns` says how many turns each has, `ways` by turn what is known of where it leads.
    """
    blocked = {place for place, known in ways.items() if len(known) >= turns[place]}
    while True:
        free = {place for place in blocked if not all(_lead_to(blocked, known) for known in ways[place].values())}
        if not free:
            return frozenset(blocked)
        blocked -= free


def _lead_to(blocked: set[Place], ways: list[Way]) -> bool:
    """Whether a turn that leads there waits for one of them: what it asks, it waits for, so one is enough."""
    return any(at in blocked for _, at in ways)


def ring_among(blocked: frozenset[Place], ways: Mapping[Place, Mapping[int, list[Way]]]) -> Path:
    """A ring of asks among blocked agents; the first of them is to fail."""
    walked: dict[Place, Path] = {}
    place = min(blocked)
    while place not in walked:
        possible = [way for turn in ways[place].values() for way in turn if way[1] in blocked]
        walked[place], place = max(possible, key=lambda way: way[0][0][1:])
    places = list(walked)
    parts = [walked[each] for each in places[places.index(place) :]]  # what leads into the ring is no part of it
    ring = tuple(step for part in parts for step in part)
    # A turn of a full agent is to end, since that makes the place; but an ask that starts an agent is never given up.
    begins = list(accumulate((len(part) for part in parts[:-1]), initial=0))
    victim = max(asks_of_starts(ring) or begins, key=lambda at: ring[at][1:])
    return (*ring[victim:], *ring[:victim])
