"""A store that takes no writes for a while ends nobody: all waits, is told once, and goes on; who asks hears why."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from regrow import Message, Request
from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_errors import NotStored
from regrow.runtime.address import ActorId
from regrow.runtime.durability import PARK_AFTER_S
from regrow.runtime.errors import AskTimeout
from regrow.runtime.journal_entries import partition_of
from regrow.runtime.journal_errors import (
    JournalAway,
    JournalDenied,
    JournalFull,
    JournalReadOnly,
    JournalRefused,
    JournalRestored,
    JournalUnknown,
)
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, Refusing, memory_journal, on_virtual_time

CLERK = ActorId("desk/clerk")
FULL = JournalFull("redis://here is full (OOM); raise its maxmemory. Nothing was written")
HEALS = [FULL, JournalReadOnly("a replica"), JournalDenied("no right"), JournalAway("it loads")]


class Tally(BaseModel):
    total: int = 0


class Add(Request[int]):
    n: int = 1


class Note(Message):
    n: int = 1


COMMAND = "019ab2d4-6c00-7000-8000-000000000001"
"""An id of somebody's own, whose turn does not run ahead."""


class World:
    gate: asyncio.Event | None = None


world = World()


async def wait_at_gate() -> None:
    if world.gate is not None:
        await world.gate.wait()


class Clerk(DurableAgent[Tally]):
    @on
    async def add(self, request: Add, ctx: DurableContext) -> int:
        await wait_at_gate()
        self.state.total += request.n
        return self.state.total

    @on
    async def note(self, note: Note) -> None:
        self.state.total += note.n


async def desk() -> tuple[Host, Refusing]:
    world.gate = None
    journal = Refusing(memory_journal())
    host = await Host.on(cast("Any", journal))
    assert await host.start(Clerk, CLERK) is None
    return host, journal


def told(logs: Any, event: str) -> list[str]:
    return [entry["log_level"] for entry in logs if entry["event"].startswith(event)]


@pytest.mark.parametrize("refusal", HEALS, ids=lambda refusal: type(refusal).__name__)
def test_what_is_asked_of_a_store_that_takes_no_writes_is_done_once_when_it_does_again(refusal: JournalRefused) -> None:
    @on_virtual_time
    async def test() -> None:
        host, journal = await desk()
        journal.refusal = refusal
        asking = [asyncio.create_task(host.ref(CLERK).ask(Add(), timeout_s=300)) for _ in range(3)]
        await pass_time(100)
        assert not any(ask.done() for ask in asking)

        journal.refusal = None

        assert sorted(await asyncio.gather(*asking)) == [1, 2, 3]
        assert host.ends == []

    test()


@on_virtual_time
async def test_a_turn_whose_commit_is_refused_waits_with_it_and_is_not_run_again() -> None:
    host, journal = await desk()
    world.gate = asyncio.Event()
    asking = asyncio.create_task(host.ref(CLERK).ask(Add(n=5), timeout_s=300))
    await pass_time(1)
    journal.refusal = FULL
    world.gate.set()
    await pass_time(100)

    journal.refusal = None

    assert await asking == 5
    assert host.ends == []


@on_virtual_time
async def test_who_asks_hears_before_the_deadline_why_nothing_was_stored_and_nothing_is_done_later() -> None:
    host, journal = await desk()
    journal.refusal = FULL
    began_s = asyncio.get_running_loop().time()

    with pytest.raises(NotStored, match=r"desk/clerk has not taken Add: redis://here is full .* raise its maxmemory"):
        await host.ref(CLERK).ask(Add(n=5), timeout_s=30)
    took_s = asyncio.get_running_loop().time() - began_s
    with pytest.raises(NotStored, match="is full"):
        await host.ref(CLERK).ask(Add(n=5), timeout_s=0.1)
    journal.refusal = None

    assert 27 < took_s < 30
    assert await host.ref(CLERK).ask(Add(n=1)) == 1
    assert host.ends == []


@on_virtual_time
async def test_who_waits_behind_others_hears_it_in_time_as_well() -> None:
    host, journal = await desk()
    journal.refusal = FULL
    asks = [asyncio.create_task(host.ref(CLERK).ask(Add(), timeout_s=600))]
    await pass_time(1)
    asks.append(asyncio.create_task(host.ref(CLERK).ask(Add(), timeout_s=20)))

    await pass_time(25)

    assert isinstance(asks[1].exception(), NotStored)
    journal.refusal = None
    assert await asks[0] == 1


@on_virtual_time
async def test_an_ask_whose_storing_was_cut_may_have_been_stored_and_is_not_told_that_it_was_not() -> None:
    host, journal = await desk()
    journal.cuts = {("enqueue", number): "after" for number in range(1, 12)}

    assert await host.ref(CLERK).ask(Add(n=5), timeout_s=60) == 5


@on_virtual_time
async def test_nor_is_it_where_the_store_refuses_after_the_cut() -> None:
    host, journal = await desk()
    journal.cuts = {("enqueue", 1): "after"}
    asking = asyncio.create_task(host.ref(CLERK).ask(Add(n=5), timeout_s=20, command_id=COMMAND))
    await pass_time(0.01)
    journal.refusal = JournalAway("it loads")

    with pytest.raises(AskTimeout):
        await asking
    journal.refusal = None

    assert await host.ref(CLERK).ask(Add(n=1)) == 1, "it was stored, and has expired by then"
    assert host.ends == []


@on_virtual_time
async def test_an_ask_that_is_let_go_while_its_process_is_parked_ends_nobody() -> None:
    host, journal = await desk()
    durability = host.runtime.durability
    assert durability is not None
    durability.renewed(ago_s=PARK_AFTER_S)
    journal.refusal = FULL
    with pytest.raises(NotStored):
        await host.ref(CLERK).ask(Add(n=5), timeout_s=10)
    journal.refusal = None

    durability.renewed(ago_s=0)

    assert await host.ref(CLERK).ask(Add(n=1)) == 1
    assert host.ends == []


@on_virtual_time
async def test_a_refusing_store_is_told_once_for_each_cause_and_once_when_it_serves_again() -> None:
    host, journal = await desk()
    with capture_logs() as logs:
        journal.refusal = JournalAway("it fails over")
        asks = [asyncio.create_task(host.ref(CLERK).ask(Add(), timeout_s=600)) for _ in range(5)]
        await pass_time(50)
        journal.refusal = FULL
        await pass_time(50)
        journal.refusal = None
        await asyncio.gather(*asks)

    assert told(logs, "the journal does not serve") == ["warning", "error"]
    assert told(logs, "the journal serves again") == ["info"]
    (again,) = [entry["after_s"] for entry in logs if entry["event"] == "the journal serves again"]
    assert 100 <= again < 103


@on_virtual_time
async def test_a_second_outage_is_told_again() -> None:
    host, journal = await desk()
    with capture_logs() as logs:
        for number in (1, 2):
            journal.refusal = FULL
            asking = asyncio.create_task(host.ref(CLERK).ask(Add(), timeout_s=600))
            await pass_time(10)
            journal.refusal = None
            assert await asking == number

    assert told(logs, "the journal does not serve") == ["error"] * 2


@on_virtual_time
async def test_an_agent_starts_when_the_store_takes_writes_again() -> None:
    journal = Refusing(memory_journal())
    host = await Host.on(cast("Any", journal))
    journal.refusal = FULL
    starting = asyncio.create_task(host.start(Clerk, CLERK))
    await pass_time(60)
    assert not starting.done()

    journal.refusal = None

    assert await starting is None


@on_virtual_time
async def test_a_store_that_has_gone_back_takes_nothing_and_who_asks_hears_it_at_once() -> None:
    host, journal = await desk()
    journal.refusal = JournalRestored("it has less than was seen in it")

    with pytest.raises(NotStored, match="it has less than was seen in it"):
        await host.ref(CLERK).ask(Add(n=5), timeout_s=30)

    journal.refusal = None
    assert await host.ref(CLERK).ask(Add(n=1)) == 1


@on_virtual_time
async def test_an_agent_whose_store_was_wiped_while_it_ran_does_not_begin_anew() -> None:
    host, journal = await desk()
    assert await host.ref(CLERK).ask(Add(n=5)) == 5
    wiped = memory_journal()
    await wiped.new_host_epoch()
    journal.becomes(wiped)

    host.restarts = 0
    asking = asyncio.create_task(host.ref(CLERK).ask(Add(n=1)))
    while not host.ends:
        await pass_time(0.1)
    failed = await host.start(Clerk, CLERK)

    assert failed is not None and "the store has epoch 0 of desk/clerk, and epoch 1 was seen" in failed.message
    asking.cancel()
    assert (await wiped.read(CLERK)).epoch == 0
    assert await wiped.mailboxes(partition_of(CLERK)) == ()


def test_a_cut_is_no_refusal() -> None:
    assert not issubclass(JournalUnknown, JournalRefused)
