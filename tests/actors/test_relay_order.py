"""Which rows of an outbox are sent when: whatever receivers do, each gets its own in order, once, and soon."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.actors.relay_order import AGAIN_MAX_S, Confirm, ReadPage, RelayOrder
from regrow.runtime.address import ActorId
from regrow.runtime.command_ids import uuid7
from regrow.runtime.journal_answers import OutboxRow
from regrow.runtime.journal_entries import OutboxId

SENDER = ActorId("desk/clerk")
RECEIVERS = [ActorId(f"desk/{name}") for name in "abcd"]
PAGE, SENT, EACH = 4, 7, 3
STEPS = 5_000
"""More than any of these runs needs; one that takes more goes round in circles."""


@dataclass
class Outbox:
    """A store, receivers that take, are away or are stuck, and the doer between them."""

    rows: list[OutboxRow] = field(default_factory=list[OutboxRow])
    on_way: defaultdict[ActorId, list[OutboxId]] = field(default_factory=lambda: defaultdict(list))
    told: dict[OutboxId, OutboxId | None] = field(default_factory=dict["OutboxId", "OutboxId | None"])
    """Behind which row each said that it is, when it left."""
    seen: dict[ActorId, OutboxId] = field(default_factory=dict["ActorId", "OutboxId"])
    arrived: defaultdict[ActorId, list[int]] = field(default_factory=lambda: defaultdict(list))
    written: defaultdict[ActorId, list[int]] = field(default_factory=lambda: defaultdict(list))
    away: set[ActorId] = field(default_factory=set[ActorId])
    stuck: set[ActorId] = field(default_factory=set[ActorId])
    tried: set[ActorId] = field(default_factory=set[ActorId])
    now_s: float = 0.0
    pages: int = 0
    number: int = 0

    def __post_init__(self) -> None:
        self.order = RelayOrder(page=PAGE, sent_rows=SENT, receiver_rows=EACH)

    def commit(self, *targets: ActorId, agent: ActorId = SENDER) -> None:
        """A turn leaves rows."""
        for target in targets:
            self.number += 1
            id = OutboxId(f"{self.number}-0")
            self.rows.append(OutboxRow(id=id, agent=agent, target=target, command=uuid7(self.number, 0), body=b""))
            if agent == SENDER:
                self.written[target].append(self.number)
        if targets and agent == SENDER:
            self.order.more()

    def step(self, meanwhile: tuple[ActorId, ...] = (), *, committed: tuple[ActorId, ...] = ()) -> bool:
        """The doer does one thing; while it waits for the journal it hears of these. False where it rests."""
        match self.order.next(self.now_s):
            case Confirm(ids):
                self.heard(meanwhile)
                self.rows = [row for row in self.rows if row.id not in ids]
                self.order.confirmed(ids)
            case ReadPage(after):
                self.pages += 1
                last = 0 if after is None else number_of(after)
                page = [row for row in self.rows if number_of(row.id) > last][:PAGE]
                self.heard(meanwhile)
                self.commit(*committed)
                for row in page:
                    if row.agent == SENDER and self.order.takes(row.id, row.target):
                        self.send(row)
                self.order.read(page)
            case _:
                return False
        return True

    def send(self, row: OutboxRow) -> None:
        on_way = self.on_way[row.target]
        assert row.id not in on_way, "a row is on its way twice"
        on_way.append(row.id)
        self.told[row.id] = self.order.behind(row.id)
        assert len(on_way) <= (1 if row.target in self.tried else EACH)
        assert sum(map(len, self.on_way.values())) <= SENT + len(RECEIVERS)

    def heard(self, targets: tuple[ActorId, ...]) -> None:
        """What becomes of the rows on their way to these."""
        for target in targets:
            if target in self.away:
                for id in self.on_way.pop(target, []):
                    self.order.stays(id, self.now_s)
                    self.tried.add(target)
            elif target not in self.stuck and self.on_way[target]:
                id = self.on_way[target].pop(0)
                if self.told[id] in (None, self.seen.get(target)):
                    self.arrives(id, target)
                else:
                    self.order.stays(id, self.now_s)
                    self.tried.add(target)

    def arrives(self, id: OutboxId, target: ActorId) -> None:
        self.seen[target] = id
        self.arrived[target].append(number_of(id))
        assert self.arrived[target] == self.written[target][: len(self.arrived[target])], "a row was overtaken"
        self.order.has_arrived(id)
        if not self.on_way[target]:
            self.tried.discard(target)

    def heard_of_one(self, target: ActorId, dice: random.Random) -> None:
        """One row of several comes back, from wherever its receiver was last, or finds it there: in any order."""
        if target in self.away | self.stuck or not self.on_way[target]:
            return
        id = self.on_way[target].pop(dice.randrange(len(self.on_way[target])))
        behind = dice.choice((self.told[id], self.order.behind(id)))  # as it left, or as it was sent on since
        if behind in (None, self.seen.get(target)) and dice.random() < 0.5:
            self.arrives(id, target)
        else:
            self.order.stays(id, self.now_s)
            self.tried.add(target)

    def settle(self) -> None:
        """Goes on until nothing more happens without somebody from outside."""
        quiet_s = self.now_s + 2 * AGAIN_MAX_S
        for _ in range(STEPS):
            if self.step():
                continue
            if any(rows for target, rows in self.on_way.items() if target not in self.stuck):
                self.heard(tuple(RECEIVERS))
            elif self.now_s < quiet_s:
                self.now_s += 1.0
            else:
                return
        raise AssertionError("it never comes to rest")

    def is_through(self, target: ActorId) -> bool:
        return self.arrived[target] == self.written[target]


def number_of(id: OutboxId) -> int:
    return int(id.removesuffix("-0"))


ACTIONS = {
    "commit": 4,
    "other": 2,
    "away": 1,
    "stuck": 1,
    "back": 2,
    "heard": 3,
    "one": 3,
    "step": 10,
    "late": 2,
    "wait": 2,
    "retry": 1,
    "life": 1,
}
"""What may happen, and how often."""


def act(outbox: Outbox, what: str, targets: tuple[ActorId, ...]) -> None:
    match what:
        case "commit":
            outbox.commit(*targets)
        case "other":
            outbox.commit(*targets, agent=ActorId("desk/neighbour"))
        case "away":
            outbox.away |= set(targets)
        case "stuck":
            outbox.stuck |= set(targets) - outbox.away
        case "back":
            outbox.away -= set(targets)
            outbox.stuck -= set(targets)
        case "heard":
            outbox.heard(targets)
        case "one":
            for target in targets:
                outbox.heard_of_one(target, random.Random(outbox.number + outbox.pages))
        case "life":
            outbox.order.next(outbox.now_s, lives=False)
            outbox.order.begin_life(outbox.now_s)
        case "step":
            outbox.step(targets)
        case "late":
            outbox.step(committed=targets)
        case "retry":
            outbox.order.retry(outbox.now_s)
        case _:
            outbox.now_s += 1.0 + len(targets)


@pytest.mark.slow
@given(st.integers(0, 2**32))
def test_each_receiver_gets_its_rows_once_and_in_order_whatever_others_do(seed: int) -> None:
    outbox, dice = Outbox(), random.Random(seed)
    for what in dice.choices(list(ACTIONS), list(ACTIONS.values()), k=dice.randrange(200)):
        act(outbox, what, tuple(dice.choices(RECEIVERS, k=dice.randrange(7))))

    outbox.settle()

    held_up = outbox.away | outbox.stuck
    assert all(outbox.is_through(target) for target in RECEIVERS if target not in held_up)
    outbox.away.clear()
    outbox.stuck.clear()
    outbox.settle()
    assert all(outbox.is_through(target) for target in RECEIVERS)
    assert [row for row in outbox.rows if row.agent == SENDER] == []
    assert outbox.order.next(outbox.now_s) is None


def test_a_receiver_that_takes_nothing_has_no_more_on_its_way_than_its_bound_and_holds_up_nobody() -> None:
    a, b, *_ = RECEIVERS
    outbox = Outbox(stuck={a})
    outbox.commit(*[a] * 20, b, *[a] * 20, b)

    outbox.settle()

    assert outbox.is_through(b)
    assert len(outbox.on_way[a]) == EACH


def test_receivers_that_take_nothing_and_have_all_that_may_be_on_its_way_leave_one_row_for_each_other() -> None:
    a, b, c, d = RECEIVERS
    outbox = Outbox(stuck={a, b, c})
    outbox.commit(*[a, b, c] * 4, *[d] * 10)

    outbox.settle()

    assert outbox.is_through(d)
    assert sum(len(outbox.on_way[each]) for each in (a, b, c)) == SENT


def test_rows_behind_pages_of_those_for_an_absent_receiver_are_reached() -> None:
    a, b, *_ = RECEIVERS
    outbox = Outbox(away={a})
    outbox.commit(*[a] * (5 * PAGE), b)

    for _ in range(20):
        outbox.step(meanwhile=(a, b))

    assert outbox.is_through(b)


def test_a_receiver_that_was_away_begins_with_its_oldest_row_alone() -> None:
    a = RECEIVERS[0]
    outbox = Outbox(away={a})
    outbox.commit(*[a] * 6)
    while outbox.step(meanwhile=(a,)):
        pass
    outbox.away.clear()
    outbox.now_s += 1.0

    while outbox.step():
        pass

    assert [number_of(id) for id in outbox.on_way[a]] == [1]


def test_what_was_sent_behind_a_row_that_comes_back_says_so_until_that_one_has_arrived() -> None:
    a = RECEIVERS[0]
    outbox = Outbox()
    outbox.commit(*[a] * EACH)
    outbox.step()
    first, second, third = (OutboxId(f"{number}-0") for number in (1, 2, 3))

    assert [outbox.order.behind(id) for id in (first, second, third)] == [None, first, second]
    outbox.order.stays(first, 0.0)
    assert outbox.order.behind(second) == first
    assert outbox.order.has_arrived(second) == third  # nobody will ever have it
    assert outbox.order.behind(third) == first


def test_that_a_receiver_is_away_is_news_once_and_not_heard_of_a_row_which_came_back_for_its_order() -> None:
    a = RECEIVERS[0]
    outbox = Outbox()
    outbox.commit(*[a] * EACH)
    outbox.step()
    first, second, third = (OutboxId(f"{number}-0") for number in (1, 2, 3))

    assert not outbox.order.stays(second, 0.0, is_away=False)
    assert outbox.order.stays(first, 0.0)
    assert not outbox.order.stays(third, 0.0)


def test_it_is_news_again_when_it_has_been_there_meanwhile() -> None:
    a = RECEIVERS[0]
    outbox = Outbox()
    outbox.commit(a, a)
    outbox.step()
    for id in outbox.on_way.pop(a):
        outbox.order.stays(id, 0.0)
    outbox.now_s = AGAIN_MAX_S
    while outbox.step():
        pass
    outbox.arrives(outbox.on_way[a].pop(), a)
    while outbox.step():
        pass

    assert outbox.order.stays(outbox.on_way[a].pop(), AGAIN_MAX_S)


def test_new_rows_are_found_without_reading_again_what_is_on_its_way_or_left_behind() -> None:
    a, b, *_ = RECEIVERS
    outbox = Outbox(away={a})
    outbox.commit(*[a] * (5 * PAGE))
    while outbox.step(meanwhile=(a,)):
        pass
    outbox.pages = 0

    outbox.commit(b)
    while outbox.step():
        pass

    assert len(outbox.on_way[b]) == 1
    assert outbox.pages == 2


def test_a_row_that_is_committed_while_the_last_page_is_read_is_found() -> None:
    a, b, *_ = RECEIVERS
    outbox = Outbox()
    outbox.commit(a)
    outbox.step()
    outbox.step(committed=(b,))

    outbox.settle()

    assert outbox.is_through(b)


def test_while_new_rows_never_cease_others_are_confirmed_and_who_comes_back_gets_its_own() -> None:
    a, b, c, *_ = RECEIVERS
    outbox = Outbox(stuck={b}, away={c})
    outbox.commit(c, c, *[b] * EACH)
    for _ in range(10):
        outbox.step(meanwhile=(a, c))
    outbox.away.clear()
    outbox.now_s += AGAIN_MAX_S

    for _ in range(100):
        assert all(outbox.step(meanwhile=(a, a, c), committed=(a,)) for _ in range(2))

    assert outbox.is_through(c)
    assert len(outbox.arrived[a]) > 90
    assert len(outbox.rows) < EACH + 10


def test_a_life_that_is_over_sends_nothing_more_and_confirms_what_still_arrives() -> None:
    a = RECEIVERS[0]
    outbox = Outbox()
    outbox.commit(a, a)
    outbox.step()
    outbox.commit(a)
    outbox.heard((a, a))

    assert outbox.order.next(0.0, lives=False) == Confirm((OutboxId("1-0"), OutboxId("2-0")))
    outbox.order.confirmed([OutboxId("1-0"), OutboxId("2-0")])
    assert outbox.order.next(0.0, lives=False) is None
