"""The end of a durable agent that has not begun: it waits for nothing, and leaves the agent free for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, on
from regrow.runtime.address import ActorId
from regrow.runtime.durability import LEASE_TTL_MS, Durability
from regrow.runtime.journal import Journal
from regrow.runtime.lifecycle import Crashed, ExitReason, Killed, Shutdown
from regrow.runtime.memory_journal import MemoryJournal
from regrow.runtime.message import Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, Unreliable, memory_journal, on_virtual_time

CLERK = "desk/clerk"
GRACE_S = 30.0
ANSWER_S = 0.2
SOON_S = 3.0
"""Less than the rest of a lease, and than any wait for a process that is dead."""


class Book(BaseModel):
    lines: int = 0


class Write(Request[int]):
    pass


class Clerk(DurableAgent[Book]):
    @on
    async def write(self, request: Write) -> int:
        self.state.lines += 1
        return self.state.lines


class Slow(Unreliable):
    """Does a claim at once, and tells of it later."""

    claims = 0

    def _cut(self, name: str, method: Any) -> Any:
        inner = super()._cut(name, method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            answer = await inner(*args, **kwargs)
            if name == "claim":
                self.claims += 1
                await pass_time(ANSWER_S)
            return answer

        return call


async def here_on(journal: Unreliable) -> Host:
    host = await Host.on(cast("Journal", journal))
    host.restarts = 0
    return host


class Named(BaseModel):
    name: str


class Renamed(DurableAgent[Named]):
    """Another class for the same agent, which can not read what a Clerk has written."""

    @classmethod
    def initial(cls) -> Named:
        return Named(name="new")


async def left(host: Host, *, after: Write) -> None:
    """The agent has had its last turn in that process, which lives on."""
    await host.ref(CLERK).ask(after)
    host.restarts = 0
    host.runtime.cells[ActorId(CLERK)].stop(Shutdown(), GRACE_S)
    await pass_time(0.01)
    host.runtime.forget(ActorId(CLERK))


async def written_and_left(journal: MemoryJournal) -> None:
    """An agent with a state that nobody holds."""
    there = await Host.on(journal, "there")
    assert await there.start(Clerk, CLERK) is None
    await left(there, after=Write())
    await pass_time(0.1)


async def started_soon(journal: Unreliable) -> int:
    """The first reply of the agent in another process, while the first process lives, and keeps its lease."""
    loop = asyncio.get_running_loop()
    there = await here_on(journal)
    begun_s = loop.time()
    assert await there.start(Clerk, CLERK) is None
    assert loop.time() - begun_s < SOON_S
    reply: int = await there.ref(CLERK).ask(Write())
    return reply


async def starting(host: Host) -> asyncio.Task[Crashed | None]:
    """A start that has come to where it waits."""
    start = asyncio.create_task(host.start(Clerk, CLERK))
    await pass_time(0.1)
    assert not start.done()
    return start


async def ended(host: Host, end: Callable[[], None]) -> tuple[float, list[tuple[str, ExitReason]]]:
    """How long it took until the agent had ended, and how it did."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    end()
    while not host.runtime.cells[ActorId(CLERK)].is_over:
        await pass_time(0.001)
    return loop.time() - begun_s, host.ends


@pytest.mark.parametrize("call", ["read", "claim"])
def test_a_stop_does_not_wait_for_a_journal_that_is_away_when_its_agent_claims(call: str) -> None:
    @on_virtual_time
    async def play() -> None:
        journal = Unreliable(memory_journal())
        host = await here_on(journal)
        journal.cuts = {(call, number): "before" for number in range(1, 100)}
        start = await starting(host)

        took_s, _ = await ended(host, lambda: host.runtime.cells[ActorId(CLERK)].stop(Shutdown(), GRACE_S))
        failed = await start
        journal.cuts = {}
        again = await host.start(Clerk, CLERK)

        assert took_s < 0.01
        assert failed is not None
        assert failed.type_name == "StoppedWhileStarting"
        assert again is None
        assert await host.ref(CLERK).ask(Write()) == 1

    play()


@on_virtual_time
async def test_nor_for_the_death_of_the_process_that_has_the_agent() -> None:
    journal = Unreliable(memory_journal())
    there = await Host.on(cast("Journal", journal), "there")
    assert await there.start(Clerk, CLERK) is None
    host = await here_on(journal)
    _ = await starting(host)

    took_s, _ = await ended(host, lambda: host.runtime.cells[ActorId(CLERK)].stop(Shutdown(), GRACE_S))

    assert took_s < 0.01
    assert await there.ref(CLERK).ask(Write()) == 1


@on_virtual_time
async def test_nor_for_the_lease_of_its_own_process() -> None:
    journal = Unreliable(memory_journal())
    host = await here_on(journal)
    durability = host.runtime.durability
    assert isinstance(durability, Durability)
    durability.renewed(ago_s=LEASE_TTL_MS / 1000)
    assert durability.is_parked
    _ = await starting(host)

    took_s, _ = await ended(host, lambda: host.runtime.cells[ActorId(CLERK)].stop(Shutdown(), GRACE_S))

    assert took_s < 0.01


@on_virtual_time
async def test_a_claim_that_is_under_way_at_a_stop_leaves_the_agent_free_for_another_process() -> None:
    journal = Slow(memory_journal())
    host = await here_on(journal)
    _ = await starting(host)
    assert journal.claims == 1

    took_s, _ = await ended(host, lambda: host.runtime.cells[ActorId(CLERK)].stop(Shutdown(), GRACE_S))

    assert took_s < 0.01
    assert await started_soon(journal) == 1


@on_virtual_time
async def test_so_does_one_that_is_under_way_at_a_kill_which_waits_for_no_claim() -> None:
    journal = Slow(memory_journal())
    host = await here_on(journal)
    _ = await starting(host)

    took_s, ends = await ended(host, host.runtime.cells[ActorId(CLERK)].kill)

    assert took_s == 0.0
    assert [type(reason) for _, reason in ends] in ([], [Killed])
    assert await started_soon(journal) == 1


@pytest.mark.parametrize("kills", [True, False], ids=["kill", "stop"])
def test_and_one_whose_answer_is_lost_and_comes_when_the_life_is_over(kills: bool) -> None:
    @on_virtual_time
    async def play() -> None:
        journal = Unreliable(memory_journal())
        host = await here_on(journal)
        journal.cuts = {("claim", 1): "after", **{("claim", number): "before" for number in range(2, 100)}}
        _ = await starting(host)
        cell = host.runtime.cells[ActorId(CLERK)]

        took_s, _ = await ended(host, cell.kill if kills else lambda: cell.stop(Shutdown(), GRACE_S))
        await pass_time(1.0)
        journal.cuts = {}

        assert took_s < 0.01
        assert await started_soon(journal) == 1

    play()


@on_virtual_time
async def test_a_life_that_follows_in_the_same_process_keeps_what_it_claims_beside_a_claim_that_was_cut() -> None:
    journal = Slow(memory_journal())
    host = await here_on(journal)
    _ = await starting(host)
    await ended(host, host.runtime.cells[ActorId(CLERK)].kill)

    assert await host.start(Clerk, CLERK) is None
    await pass_time(1.0)

    assert await host.ref(CLERK).ask(Write()) == 1


@on_virtual_time
async def test_a_state_that_can_not_be_read_is_told_before_its_agent_is_claimed() -> None:
    journal = memory_journal()
    await written_and_left(journal)
    before = await journal.read(ActorId(CLERK))

    host = await here_on(Unreliable(journal))
    failed = await host.start(Renamed, CLERK)

    assert failed is not None
    assert failed.type_name == "StateNotReadable"
    assert await journal.read(ActorId(CLERK)) == before


@on_virtual_time
async def test_where_it_is_written_while_the_agent_is_claimed_the_agent_is_given_back() -> None:
    journal = memory_journal()
    there = await Host.on(cast("Journal", journal), "there")
    assert await there.start(Clerk, CLERK) is None
    host = await here_on(Unreliable(journal))
    start = asyncio.create_task(host.start(Renamed, CLERK))
    await pass_time(0.1)  # it has found no state, and waits for the other process
    await left(there, after=Write())

    failed = await start
    host.runtime.forget(ActorId(CLERK))
    await pass_time(0.1)

    assert failed is not None
    assert failed.type_name == "StateNotReadable"
    assert (await journal.read(ActorId(CLERK))).host is None
