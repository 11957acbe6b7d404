"""The bookkeeping of a stream: nothing passes the window, nothing gets stuck, nothing is lost (SEMANTICS 4)."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.runtime.errors import Bug, InvalidMessage
from regrow.runtime.message import Message
from regrow.runtime.stream_window import MAX_PART_BYTES, Batch, Credit, Totals, Unread, Window, measured

WINDOWS = st.builds(Window, parts=st.integers(1, 12), size_bytes=st.integers(1, 400))
SIZES = st.lists(st.integers(1, 600), max_size=60)


class Text(Message):
    text: str
    tags: tuple[str, ...] = ()


@pytest.mark.slow
@given(WINDOWS, SIZES, st.integers(0, 2**32))
def test_every_part_comes_once_in_order_and_no_more_than_a_window_waits(
    window: Window, sizes: list[int], seed: int
) -> None:
    dice = random.Random(seed)
    credit, unread = Credit(window), Unread(window)
    there: deque[Batch] = deque()
    back: deque[Totals] = deque()
    todo = deque(enumerate(sizes))
    read: list[int] = []
    sizes_unread: deque[int] = deque()
    idle = 0

    def say(batch: Batch | None) -> None:
        if batch is not None:
            there.append(batch)

    while len(read) < len(sizes):
        before = len(todo), len(read), len(there), len(back)
        match dice.randrange(5):
            case 0 if todo:
                number, size_bytes = todo[0]
                if credit.covers(size_bytes):
                    todo.popleft()
                    sizes_unread.append(size_bytes)
                    if credit.spend(number, size_bytes):
                        say(credit.batch(wants=False))
                else:
                    say(credit.batch(wants=True))
            case 1:
                say(credit.batch(wants=False))
            case 2 if there:
                unread.add(there.popleft())
                if (totals := unread.due()) is not None:
                    back.append(totals)
            case 3 if unread:
                read.append(int(str(unread.take())))
                sizes_unread.popleft()
                if (totals := unread.due()) is not None:
                    back.append(totals)
            case 4 if back:
                credit.grant(back.popleft())
            case _:
                pass
        assert len(sizes_unread) <= window.parts
        assert sum(sizes_unread) <= window.size_bytes or len(sizes_unread) == 1
        idle = idle + 1 if before == (len(todo), len(read), len(there), len(back)) else 0
        assert idle < 500, "nothing moves any more"

    assert read == list(range(len(sizes)))


def test_grants_that_overtake_each_other_or_come_twice_change_nothing() -> None:
    credit = Credit(Window(parts=2, size_bytes=100))
    credit.spend("a", 10)
    credit.spend("b", 10)

    credit.grant(Totals(2, 20))
    credit.grant(Totals(1, 10))

    assert credit.covers(100)
    credit.spend("c", 100)
    assert not credit.covers(1)


def test_a_gap_is_a_bug_and_never_silent() -> None:
    unread = Unread(Window())
    unread.add(Batch(0, 2, False, ("a", "b")))

    with pytest.raises(Bug, match="part 3 of a stream came where part 2 was to come"):
        unread.add(Batch(3, 1, False, ("d",)))


def test_word_of_parts_that_went_elsewhere_is_no_gap_and_tells_how_many_there_were() -> None:
    unread = Unread(Window())
    unread.add(Batch(0, 2, False, ("a", "b")))
    assert (unread.arrived, unread.emitted) == (2, 2)

    unread.add(Batch(5, 0, False, ()))

    assert (unread.arrived, unread.emitted) == (2, 5)


def test_a_reader_tells_its_producer_at_half_a_window_and_not_of_every_part() -> None:
    unread = Unread(Window(parts=8, size_bytes=1_000))
    unread.add(Batch(0, 16, False, tuple("abcdefgh")))

    told = [(unread.take(), unread.due())[1] for _ in range(8)]

    assert [None if each is None else each.parts for each in told] == [None, None, None, 4, None, None, None, 8]


def test_sizes_are_those_of_the_texts_that_are_held() -> None:
    assert 200 <= measured(Text(text="x" * 100, tags=("y" * 50, "z" * 50)), "desk/a") <= 300
    assert measured("x" * 100, "desk/a") == measured(b"x" * 100, "desk/a")
    with pytest.raises(InvalidMessage, match="desk/a emits a str of more than 1,048,576 bytes"):
        measured("x" * (MAX_PART_BYTES + 1), "desk/a")


class Nested(Message):
    text: str = ""
    inner: Nested | None = None


@dataclass(frozen=True)
class Held:
    text: str


def test_what_is_nested_deeply_or_held_by_a_dataclass_counts_as_well() -> None:
    deep = Nested(text="x" * 100_000)
    for _ in range(200):
        deep = Nested(inner=deep)

    assert 100_000 <= measured(deep, "desk/a") <= 120_000
    assert 1_000 <= measured((Held(text="y" * 1_000),), "desk/a") <= 1_100
    with pytest.raises(InvalidMessage, match="desk/a emits a Nested of more than"):
        measured(Nested(text="x" * 1_000_000, inner=deep), "desk/a")


def test_what_holds_one_thing_very_many_times_is_refused_and_not_looked_at_for_ever() -> None:
    doubled: tuple[object, ...] = ("x",)
    for _ in range(64):
        doubled = (doubled, doubled)

    with pytest.raises(InvalidMessage, match="desk/a emits a tuple of more than"):
        measured(doubled, "desk/a")
