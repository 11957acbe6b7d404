"""Values as bytes outside of any link, packed by any thread of a process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from regrow.runtime.message import Message
from regrow.runtime.packing import pack, unpack


class Answer(Message):
    """Says what came of something."""

    text: str = ""


class Told(Message):
    """What a process tells of itself."""

    rows: tuple[Answer, ...]


@pytest.fixture
def threads_that_take_turns_often() -> Iterator[None]:
    """What shares something between threads by mistake fails at once and not once in a while."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.slow
@pytest.mark.usefixtures("threads_that_take_turns_often")
def test_two_threads_that_pack_at_the_same_time_do_not_mix_up_their_bytes() -> None:
    answer, told = Answer(), Told(rows=tuple(Answer(text=f"agent-{n}") for n in range(100)))

    def read_back(value: Message) -> list[object]:
        return [unpack(pack(value)) for _ in range(80)]

    with ThreadPoolExecutor(max_workers=4) as threads:
        results = list(threads.map(read_back, (told, answer, told, told)))

    assert results == [[told] * 80, [answer] * 80, [told] * 80, [told] * 80]
