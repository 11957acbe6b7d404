"""Whether a process holds its durable agents: with a lease, after another had them, and when it needs them no more."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, on
from regrow.actors.durable_body import body_of
from regrow.runtime.address import ActorId
from regrow.runtime.command_ids import uuid7
from regrow.runtime.durability import LEASE_TTL_MS, PARK_AFTER_S
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.journal_answers import ClaimVerdict
from regrow.runtime.journal_entries import Incoming, OperationId
from regrow.runtime.journal_errors import JournalRestored
from regrow.runtime.lifecycle import Fenced, Shutdown
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import BEGUN_MS, Host, memory_journal, on_virtual_time

CLERK = ActorId("desk/clerk")


class Noted(BaseModel):
    numbers: list[int] = []


class Note(Message):
    number: int


class Numbers(Request[tuple[int, ...]]):
    pass


class Clerk(DurableAgent[Noted]):
    @on
    async def note(self, message: Note) -> None:
        self.state.numbers.append(message.number)

    @on
    async def numbers(self, request: Numbers) -> tuple[int, ...]:
        return tuple(self.state.numbers)


async def clerk_on(host: Host) -> None:
    host.restarts = 0
    assert await host.start(Clerk, CLERK) is None


@on_virtual_time
async def test_a_process_that_can_not_renew_its_lease_begins_no_turn_and_goes_on_when_it_can() -> None:
    host = await Host.on(memory_journal())
    await clerk_on(host)
    assert host.runtime.durability is not None
    host.runtime.durability.renewed(ago_s=1.0)

    await pass_time(PARK_AFTER_S - 1.0)
    await host.ref(CLERK).tell(Note(number=1))  # taken all the same, for it is stored
    asking = asyncio.create_task(host.ref(CLERK).ask(Numbers(), timeout_s=600))
    await pass_time(300)

    assert not asking.done()
    assert host.ends == []
    host.runtime.durability.renewed(ago_s=0.0)
    assert await asking == (1,)


@on_virtual_time
async def test_an_agent_is_not_started_where_the_store_will_never_renew_the_lease() -> None:
    host = await Host.on(memory_journal())
    host.restarts = 0
    assert host.runtime.durability is not None
    host.runtime.durability.renewed(ago_s=PARK_AFTER_S)
    starting = asyncio.create_task(host.start(Clerk, CLERK))
    await pass_time(60)

    assert not starting.done()
    host.runtime.durability.refused(JournalRestored("it was wiped"))
    failed = await starting
    assert failed is not None and "it was wiped" in failed.message


@on_virtual_time
async def test_a_renewal_that_is_told_too_late_wakes_nobody() -> None:
    host = await Host.on(memory_journal())
    await clerk_on(host)
    assert host.runtime.durability is not None

    host.runtime.durability.renewed(ago_s=PARK_AFTER_S)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(host.runtime.durability.wait_leased(), 60)


@on_virtual_time
async def test_an_agent_that_a_process_needs_no_more_is_free_at_once() -> None:
    journal = memory_journal()
    first, second = await Host.on(journal, "first"), await Host.on(journal, "second")
    await clerk_on(first)
    await first.ref(CLERK).tell(Note(number=1))
    cell = first.runtime.cells[CLERK]
    cell.stop(Shutdown(), None)
    await pass_time(0.1)

    first.runtime.forget(CLERK)
    await clerk_on(second)

    assert await second.ref(CLERK).ask(Numbers()) == (1,)


@on_virtual_time
async def test_a_former_holder_whose_lease_is_over_is_revoked_by_who_claims_its_agent() -> None:
    journal = memory_journal()
    first, second = await Host.on(journal, "first"), await Host.on(journal, "second")
    await clerk_on(first)
    began_s = asyncio.get_running_loop().time()

    await clerk_on(second)

    waited_s = asyncio.get_running_loop().time() - began_s
    assert LEASE_TTL_MS / 1000 - 1 < waited_s < LEASE_TTL_MS / 1000 + 1
    assert first.runtime.durability is not None
    assert not await journal.renew(first.runtime.durability.host, ttl_ms=LEASE_TTL_MS)


@on_virtual_time
async def test_what_a_fenced_life_could_not_store_is_not_told_as_taken() -> None:
    journal = memory_journal()
    host = await Host.on(journal)
    await clerk_on(host)
    await journal.release(CLERK, (await journal.read(CLERK)).epoch)
    free = (await journal.read(CLERK)).owner
    await journal.claim(CLERK, await journal.new_host_epoch(), previous=free, operation=OperationId("another"))

    telling = asyncio.create_task(host.ref(CLERK).tell(Note(number=1), send_timeout_s=600))
    await pass_time(60)

    assert not telling.done()
    assert host.ends == [(CLERK, Fenced())]
    telling.cancel()


@on_virtual_time
async def test_a_life_that_gets_its_agent_back_takes_what_another_process_had_accepted() -> None:
    journal = memory_journal()
    host = await Host.on(journal)
    await clerk_on(host)
    await host.ref(CLERK).tell(Note(number=1))
    first = await journal.read(CLERK)
    await journal.release(CLERK, first.epoch)
    other = await journal.new_host_epoch()
    free = (await journal.read(CLERK)).owner
    claim = await journal.claim(CLERK, other, previous=free, operation=OperationId("another"))
    assert claim.verdict is ClaimVerdict.CLAIMED
    assert host.runtime.durability is not None
    body = body_of(host.runtime.durability.codec, Envelope(Kind.TELL, CLERK, Note(number=2), Origin()))
    await journal.enqueue([Incoming(agent=CLERK, command=uuid7(BEGUN_MS, 7), body=body, epoch=claim.row.epoch)])
    telling = asyncio.create_task(host.ref(CLERK).tell(Note(number=3), send_timeout_s=600))
    await pass_time(1)

    await journal.release(CLERK, claim.row.epoch)
    await clerk_on(host)
    await telling

    assert await host.ref(CLERK).ask(Numbers()) == (1, 2, 3)


async def renewed(host: Host) -> None:
    """Keeps the lease of a process."""
    assert host.runtime.durability is not None
    while True:
        await host.runtime.durability.journal.renew(host.runtime.durability.host, ttl_ms=LEASE_TTL_MS)
        await pass_time(LEASE_TTL_MS / 4_000)


@on_virtual_time
async def test_of_two_processes_that_start_an_agent_at_once_one_has_it_and_the_other_does_not_start() -> None:
    journal = memory_journal()
    one, other = await Host.on(journal, "one"), await Host.on(journal, "other")
    leases = [asyncio.create_task(renewed(host)) for host in (one, other)]

    failed = await asyncio.gather(one.start(Clerk, CLERK), other.start(Clerk, CLERK))

    [lost] = [failure for failure in failed if failure is not None]
    assert lost.type_name == "AgentHeld"
    await (one if failed[0] is None else other).ref(CLERK).tell(Note(number=1))
    row = await journal.read(CLERK)
    assert (row.epoch, row.version) == (1, 1)
    for lease in leases:
        lease.cancel()
