"""How a durable agent's messages come into the journal: step by step, in their order, whatever is refused between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from pydantic import BaseModel

from regrow import Message, Request
from regrow.actors import DurableAgent, on
from regrow.actors.durable_errors import NotStored
from regrow.runtime.address import ActorId
from regrow.runtime.journal_answers import Enqueued
from regrow.runtime.journal_entries import Incoming, JournalLimits
from regrow.runtime.journal_errors import JournalFull
from regrow.runtime.memory_journal import MemoryJournal
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time

CLERK = ActorId("desk/clerk")
NOTES = 7
Refuses = Callable[[int, Sequence[Incoming]], bool]


class Notes(BaseModel):
    got: list[int] = []


class Note(Message):
    n: int


class Add(Request[int]):
    n: int


class Seen(Request[tuple[int, ...]]):
    """The notes."""


class Clerk(DurableAgent[Notes]):
    @on
    async def note(self, message: Note) -> None:
        self.state.got.append(message.n)

    @on
    async def add(self, request: Add) -> int:
        self.state.got.append(request.n)
        return request.n

    @on(read_only=True)
    async def seen(self, request: Seen) -> tuple[int, ...]:
        return tuple(self.state.got)


class Filling:
    """A journal that is full at those of its batches that the test says, by number from 0 and contents."""

    def __init__(self, journal: MemoryJournal, refuses: Refuses) -> None:
        self._journal, self._refuses = journal, refuses
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def enqueue(self, messages: Sequence[Incoming], *, capacity: int | None = None) -> tuple[Enqueued, ...]:
        self.batches.append(len(messages))
        if self._refuses(len(self.batches) - 1, messages):
            raise JournalFull("redis://here is full")
        return await self._journal.enqueue(messages, capacity=capacity)


async def desk(refuses: Refuses, limits: JournalLimits | None = None) -> tuple[Filling, Host]:
    journal = Filling(memory_journal(limits), refuses)
    host = await Host.on(cast("Any", journal))
    assert await host.start(Clerk, CLERK) is None
    return journal, host


async def seen(host: Host) -> tuple[int, ...]:
    found: tuple[int, ...] = await host.ref(CLERK).ask(Seen())
    return found


@pytest.mark.parametrize(
    ("limits", "most"),
    [(JournalLimits(batch_messages=2), 2), (JournalLimits(batch_bytes=1), 1)],
    ids=["messages", "bytes"],
)
def test_more_than_one_step_of_the_journal_takes_is_stored_step_by_step_in_its_order_though_some_are_refused(
    limits: JournalLimits, most: int
) -> None:
    @on_virtual_time
    async def test() -> None:
        journal, host = await desk(lambda number, _: number % 3 == 1, limits)

        tells = [asyncio.create_task(host.ref(CLERK).tell(Note(n=n))) for n in range(NOTES)]
        await pass_time(10)

        assert all(tell.done() for tell in tells)
        assert await seen(host) == tuple(range(NOTES))
        assert max(journal.batches) == most
        assert host.ends == []

    test()


@on_virtual_time
async def test_what_arrives_while_a_batch_is_under_way_is_stored_behind_all_of_it() -> None:
    _, host = await desk(lambda number, _: number < 4, JournalLimits(batch_messages=2))
    tells: list[asyncio.Task[None]] = []

    for n in range(NOTES):  # one after the other, while the store has no room for the first ones
        tells.append(asyncio.create_task(host.ref(CLERK).tell(Note(n=n))))
        await pass_time(0.1)
    await asyncio.gather(*tells)

    assert await seen(host) == tuple(range(NOTES))


@on_virtual_time
async def test_an_ask_that_must_hear_in_time_is_not_stored_ahead_of_what_waits_before_it() -> None:
    is_full = True
    _, host = await desk(lambda _, messages: is_full and len(messages) > 1)
    tells = [asyncio.create_task(host.ref(CLERK).tell(Note(n=n))) for n in range(2)]
    asks = [asyncio.create_task(host.ref(CLERK).ask(Add(n=100), timeout_s=timeout_s)) for timeout_s in (3, 60)]

    await pass_time(4)
    assert isinstance(asks[0].exception(), NotStored)
    assert not any(task.done() for task in (*tells, asks[1]))
    is_full = False

    assert await asks[1] == 100
    assert await seen(host) == (0, 1, 100)
