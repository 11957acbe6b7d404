"""What a durable agent has sent goes to each receiver in order, and no receiver holds up another (SEMANTICS 6)."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_outbox import EMPTIED_WITHIN_S
from regrow.runtime.address import ActorId
from regrow.runtime.journal_entries import JournalLimits, partition_of
from regrow.runtime.memory_journal import MemoryJournal
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time

CLERK, STUCK, OTHER = "desk/clerk", "desk/stuck", "desk/other"
DAY_S = 86_400.0


class Notes(BaseModel):
    got: list[int] = []


class Note(Message):
    n: int


class Send(Request[int]):
    """Sends one note to each of these."""

    to: tuple[str, ...]


class Seen(Request[tuple[int, ...]]):
    """The notes."""


class Clerk(DurableAgent[Notes]):
    @on
    async def send(self, request: Send, ctx: DurableContext) -> int:
        for n, to in enumerate(request.to):
            await ctx.tell(to, Note(n=n))
        return len(request.to)

    @on
    async def note(self, message: Note) -> None:
        self.state.got.append(message.n)

    @on(read_only=True)
    async def seen(self, request: Seen) -> tuple[int, ...]:
        return tuple(self.state.got)


class Stuck(Clerk):
    """Takes its time."""

    may_go = asyncio.Event()

    @on
    async def note(self, message: Note) -> None:
        await Stuck.may_go.wait()
        self.state.got.append(message.n)


class Leaving(Clerk):
    """Ends behind what it sends."""

    @on
    async def send(self, request: Send, ctx: DurableContext) -> int:
        sent = await super().send(request, ctx)
        ctx.stop()
        return sent


async def desk(limits: JournalLimits | None = None, *, journal: MemoryJournal | None = None) -> Host:
    Stuck.may_go = asyncio.Event()
    host = await Host.on(journal or memory_journal(limits))
    host.runtime.delivery.is_durable = lambda _: True
    assert await host.start(Clerk, CLERK) is None
    assert await host.start(Clerk, OTHER) is None
    return host


async def seen(host: Host, id: str) -> tuple[int, ...]:
    found: tuple[int, ...] = await host.ref(id).ask(Seen())
    return found


@on_virtual_time
async def test_a_receiver_that_takes_nothing_holds_up_no_other_and_gets_its_own_in_order_later() -> None:
    host = await desk(JournalLimits(mailbox=2, page=5))
    assert await host.start(Stuck, STUCK) is None
    await host.ref(CLERK).ask(Send(to=(*[STUCK] * 12, OTHER)))
    await host.ref(CLERK).ask(Send(to=(OTHER, STUCK, OTHER)))
    await pass_time(1.0)
    others = await seen(host, OTHER)

    Stuck.may_go.set()
    await pass_time(10.0)

    assert others == (12, 0, 2)
    assert await seen(host, STUCK) == (*range(12), 1)


@on_virtual_time
async def test_pages_of_messages_for_an_agent_that_is_not_there_hold_up_no_other_and_arrive_when_it_is() -> None:
    host = await desk(JournalLimits(page=4))
    await host.ref(CLERK).ask(Send(to=(*[STUCK] * 12, OTHER)))
    await pass_time(1.0)
    others = await seen(host, OTHER)
    await pass_time(200.0)
    await host.ref(CLERK).ask(Send(to=(OTHER, STUCK)))
    await pass_time(1.0)
    later = await seen(host, OTHER)

    assert await host.start(Clerk, STUCK) is None
    await pass_time(61.0)

    assert (others, later) == ((12,), (12, 0))
    assert await seen(host, STUCK) == (*range(12), 1)


@on_virtual_time
async def test_what_an_agent_has_sent_leaves_though_it_ends_behind_it_for_good() -> None:
    host = await desk(JournalLimits())
    host.restarts = 0
    assert await host.start(Leaving, "desk/leaving") is None

    await host.ref("desk/leaving").ask(Send(to=(OTHER, OTHER, OTHER)))
    await pass_time(1.0)

    assert [end[0] for end in host.ends] == ["desk/leaving"]
    assert await seen(host, OTHER) == (0, 1, 2)


@on_virtual_time
async def test_an_agent_that_ends_waits_for_no_receiver_that_takes_nothing() -> None:
    host = await desk(JournalLimits(mailbox=1))
    host.restarts = 0
    assert await host.start(Stuck, STUCK) is None
    assert await host.start(Leaving, "desk/leaving") is None

    await host.ref("desk/leaving").ask(Send(to=(STUCK,) * 5))
    await pass_time(EMPTIED_WITHIN_S + 0.1)

    assert [end[0] for end in host.ends] == ["desk/leaving"]
    Stuck.may_go.set()


@on_virtual_time
async def test_when_all_has_arrived_the_outbox_is_empty_and_its_agent_idle() -> None:
    host = await desk(JournalLimits(page=4))
    journal = host.runtime.durability.journal  # type: ignore[union-attr] # this process has one
    for _ in range(5):
        await host.ref(CLERK).ask(Send(to=(OTHER,) * 7))
    await pass_time(1.0)

    assert await journal.outbox(partition_of(ActorId(CLERK))) == ()
    assert host.runtime.cells[ActorId(CLERK)].behavior.is_idle(early=False)  # type: ignore[union-attr] # a DurableLife
    assert await seen(host, OTHER) == (*range(7),) * 5


@pytest.mark.slow
@pytest.mark.parametrize(("away_s", "got"), [(DAY_S - 120, (0,)), (DAY_S + 120, ())])
def test_what_waits_for_its_receiver_for_longer_than_results_are_kept_is_refused_and_seen(
    away_s: float, got: tuple[int, ...]
) -> None:
    @on_virtual_time
    async def test() -> None:
        host = await desk(JournalLimits())
        await host.ref(CLERK).ask(Send(to=(STUCK,)))
        with capture_logs() as logs:
            await pass_time(away_s)

            assert await host.start(Clerk, STUCK) is None
            await pass_time(61.0)

        assert await seen(host, STUCK) == got
        assert len(told_as_old(logs)) == 1 - len(got)
        assert host.runtime.dead_letters.counts["refused"] == 1 - len(got)
        assert host.ends == []

    test()


@pytest.mark.slow
@on_virtual_time
async def test_so_is_what_an_agent_has_left_that_nobody_started_for_longer() -> None:
    journal = memory_journal()
    before = await desk(journal=journal)
    await before.ref(CLERK).ask(Send(to=(STUCK, STUCK)))
    durability = before.runtime.durability
    assert durability is not None
    await before.runtime.aclose()
    await journal.revoke(durability.host, reaped=True)
    await pass_time(DAY_S + 1)

    with capture_logs() as logs:
        after = await desk(journal=journal)
        assert await after.start(Clerk, STUCK) is None
        await pass_time(61.0)

    assert await seen(after, STUCK) == ()
    assert after.runtime.dead_letters.counts == {"refused": 2}
    (told,) = told_as_old(logs)
    assert (told["agent"], told["receiver"], told["waited_s"]) == (CLERK, STUCK, int(DAY_S) + 1)
    assert await journal.outbox(partition_of(ActorId(CLERK))) == ()


def told_as_old(logs: Sequence[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [entry for entry in logs if "longer than ids are kept" in entry["event"]]
