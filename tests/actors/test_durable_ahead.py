"""Turns that begin while their message is on its way to the journal (decision 0017): they commit nothing without it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.runtime.journal_answers import Enqueued, EnqueueVerdict
from regrow.runtime.journal_entries import Incoming
from regrow.runtime.memory_journal import MemoryJournal
from regrow.runtime.message import Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time

if TYPE_CHECKING:
    from regrow.runtime.journal import Journal

CLERK = "desk/clerk"
A_WHILE_S = 5.0


class Add(Request[int]):
    n: int
    with_step: bool = False


class Tally(BaseModel):
    total: int = 0


class Clerk(DurableAgent[Tally]):
    begun = 0
    stepped = 0

    @on
    async def add(self, request: Add, ctx: DurableContext) -> int:
        Clerk.begun += 1
        if request.with_step:
            await ctx.step("count", self.count)
        self.state.total += request.n
        return self.state.total

    async def count(self) -> None:
        Clerk.stepped += 1


class LateJournal:
    """A journal whose answers to `enqueue` arrive when the test says so, and which may say before that it is full."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self.full = 0
        self.is_late = True
        self.arrives = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def enqueue(self, messages: Sequence[Incoming], *, capacity: int | None = None) -> tuple[Enqueued, ...]:
        if self.full:
            self.full -= 1
            answers = tuple(Enqueued(verdict=EnqueueVerdict.FULL) for _ in messages)
        else:
            answers = await self._journal.enqueue(messages, capacity=capacity)
        if self.is_late:
            await self.arrives.wait()
        return answers


async def desk() -> tuple[LateJournal, Host]:
    Clerk.begun = Clerk.stepped = 0
    journal = LateJournal(memory_journal())
    host = await Host.on(cast("Journal", journal))  # all else is the journal's
    assert await host.start(Clerk, CLERK) is None
    return journal, host


def asking(host: Host, request: Add) -> asyncio.Task[int]:
    return asyncio.create_task(_await(lambda: host.ref(CLERK).ask(request)))


async def _await(ask: Callable[[], Awaitable[int]]) -> int:
    return await ask()


@on_virtual_time
async def test_a_turn_begins_and_is_committed_while_its_message_is_being_stored() -> None:
    _, host = await desk()
    asked = asking(host, Add(n=2))

    await pass_time(A_WHILE_S)

    assert asked.done() and asked.result() == 2


@on_virtual_time
async def test_no_step_is_taken_before_the_message_is_stored() -> None:
    journal, host = await desk()
    asked = asking(host, Add(n=2, with_step=True))

    await pass_time(A_WHILE_S)
    assert (Clerk.begun, Clerk.stepped, asked.done()) == (1, 0, False)
    journal.arrives.set()

    assert await asked == 2
    assert (Clerk.begun, Clerk.stepped) == (1, 1)


@on_virtual_time
async def test_a_turn_whose_message_found_no_room_commits_when_it_is_stored_and_once() -> None:
    journal, host = await desk()
    journal.full = 1
    asked = asking(host, Add(n=2))

    await pass_time(A_WHILE_S)
    assert (Clerk.begun, asked.done()) == (1, False)
    journal.arrives.set()

    assert await asked == 2
    assert await host.ref(CLERK).ask(Add(n=1)) == 3


@on_virtual_time
async def test_a_life_that_is_killed_ahead_of_its_message_leaves_it_to_the_next() -> None:
    journal, host = await desk()
    journal.full = 1
    asked = asking(host, Add(n=2))
    await pass_time(A_WHILE_S)

    host.runtime.cells[host.ref(CLERK).address.actor].kill()
    journal.arrives.set()

    assert await asked == 2
    assert await host.ref(CLERK).ask(Add(n=1)) == 3


@on_virtual_time
async def test_who_names_the_command_is_never_run_ahead_of_what_the_journal_has_of_it() -> None:
    journal, host = await desk()
    journal.is_late = False
    command = "019ab2d4-6c00-7000-8000-000000000001"
    assert await host.ref(CLERK).ask(Add(n=2), command_id=command) == 2
    journal.is_late = True
    journal.arrives.set()

    assert await host.ref(CLERK).ask(Add(n=2), command_id=command) == 2

    assert Clerk.begun == 1
