"""What truly happened to each row of a simulation, beside what its sender was told of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from regrow.runtime.link import RowState
from regrow.runtime.outcome import Outcome


@dataclass(slots=True, eq=False)
class SimRow:
    """A row of the simulation; at the receiving end it is another object with the same number."""

    number: int
    sender: str
    receiver: str
    needs_room: bool = True
    is_ask: bool = False
    on_settled: object = None

    @property
    def lane(self) -> str:
        return "user" if self.needs_room else "system"


@dataclass
class History:
    """What truly happened to each row, and what its sender was told."""

    seed: int
    accepted: dict[int, SimRow] = field(default_factory=dict[int, SimRow])
    order: dict[int, int] = field(default_factory=dict[int, int])
    accepted_s: dict[int, float] = field(default_factory=dict[int, float])
    taken_by: dict[int, str] = field(default_factory=dict[int, str])
    taken_s: dict[int, float] = field(default_factory=dict[int, float])
    handled: set[int] = field(default_factory=set[int])
    told: dict[int, Outcome] = field(default_factory=dict[int, Outcome])
    withdrawn: set[int] = field(default_factory=set[int])
    returned: dict[int, RowState] = field(default_factory=dict[int, RowState])
    last: dict[tuple[str, str, str, str], int] = field(default_factory=dict[tuple[str, str, str, str], int])
    turned_away: dict[int, Outcome] = field(default_factory=dict[int, Outcome])

    def check(self, holds: bool, what: str) -> None:
        """Fails with the seed, so that any failure can be run again."""
        if not holds:
            raise AssertionError(f"seed {self.seed}: {what}")

    def accept(self, row: SimRow, now: float) -> None:
        self.accepted[row.number] = row
        self.order[row.number] = len(self.order) + 1
        self.accepted_s[row.number] = now

    def take(self, row: SimRow, life: str, now: float) -> None:
        self.check(row.number not in self.taken_by, f"row {row.number} was delivered twice")
        self.check(row.number not in self.withdrawn, f"row {row.number} was withdrawn, yet delivered")
        self.check(row.number not in self.turned_away, f"row {row.number} was turned away before, yet delivered")
        key = (row.sender, life, row.receiver, row.lane)
        before = self.last.get(key, 0)
        self.check(before < self.order[row.number], f"row {row.number} of {key} was overtaken")
        self.last[key] = self.order[row.number]
        self.taken_by[row.number] = life
        self.taken_s[row.number] = now

    def turn_away(self, row: SimRow, outcome: Outcome) -> None:
        self.check(row.number not in self.turned_away, f"row {row.number} was turned away twice")
        self.turned_away[row.number] = outcome

    def tell(self, row: SimRow, outcome: Outcome) -> None:
        self.check(row.number not in self.told, f"row {row.number} was settled twice")
        self.check(outcome is not Outcome.FULL, f"row {row.number} was settled as FULL instead of waiting")
        truth = self.turned_away.get(row.number, Outcome.TAKEN if row.number in self.taken_by else None)
        self.check(outcome is truth, f"row {row.number} was told {outcome.name}; in truth {truth}")
        self.told[row.number] = outcome

    def close(self, rows: list[tuple[SimRow, RowState]], all_rows: set[int]) -> None:
        """A link ended: what it returned and what it had finished must be all its rows, and be true."""
        for row, state in rows:
            number = row.number
            self.check(number in all_rows, f"row {number} was returned by a link that it was not sent on")
            self.check(number not in self.returned, f"row {number} was returned twice")
            self.check(number not in self.withdrawn, f"row {number} was withdrawn and returned")
            self.check(
                self.told.get(number, Outcome.TAKEN) is Outcome.TAKEN, f"row {number} was turned away and returned"
            )
            if state in (RowState.UNSENT, RowState.WAITING):
                self.check(number not in self.taken_by, f"row {number} was delivered and returned as {state}")
            if state is RowState.TAKEN:
                self.check(number in self.taken_by, f"row {number} was never delivered and returned as {state}")
            self.returned[number] = state
        for number in all_rows - self.returned.keys() - self.withdrawn:
            is_over = number in self.handled or self.told.get(number, Outcome.TAKEN) is not Outcome.TAKEN
            self.check(is_over, f"row {number} was lost: not handled, not turned away, not returned by close")
