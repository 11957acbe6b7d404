"""Who is started because the journal has something for it: when the app starts, and whenever somebody has ended."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from regrow.cluster.durable_ids import DurableIds
from regrow.cluster.roots import Roots
from regrow.cluster.waker import ALL_PARTITIONS, LOOKS_AT_ONCE, TRY_AGAIN_S, Waker
from regrow.runtime import ActorId, HostId, Refused, Runtime
from regrow.runtime.command_ids import uuid7
from regrow.runtime.journal_entries import (
    NOTHING,
    Commit,
    Hand,
    Incoming,
    OperationId,
    Outcome,
    Outgoing,
    Partition,
    SetTimer,
    Writes,
    partition_of,
)
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import BEGUN_MS, memory_journal
from tests.runtime.scripted import Nowhere
from tests.supervisors.stage import virtual

if TYPE_CHECKING:
    from regrow.runtime.memory_journal import MemoryJournal

KIND = "desk/clerk"
SOON_S = 0.01


class Pools:
    """In place of the roots of an app: one kind of agents with keys, of which it notes who is started."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.started: list[str] = []
        self.active: set[str] = set()
        self.refuses = 0
        self.breaks = 0
        self.slow: set[str] = set()
        """Those whose starts do not come to an end."""
        self.is_away = False
        """Whether their supervisor does not run."""

    def is_keyed(self, actor: ActorId) -> bool:
        return actor.startswith(f"{KIND}/")

    def pool_of(self, actor: ActorId) -> Pools | None:
        return self if self.is_keyed(actor) and not self.is_away else None

    def row(self, actor: ActorId) -> str | None:
        return "its row" if actor == "desk/pool/18" else None

    def runs(self, key: str) -> bool:
        return key in self.active

    async def start_on_demand(self, actor: ActorId) -> bool:
        self.asked.append(actor)
        if self.refuses:
            self.refuses -= 1
            raise Refused("not now")
        if self.is_away:
            return False
        if self.breaks:
            self.breaks -= 1
            raise ValueError("a bug")
        key = actor.removeprefix(f"{KIND}/")
        if key in self.slow:
            await asyncio.get_running_loop().create_future()
        self.started.append(key)
        self.active.add(key)
        return True


class Breaking:
    """A journal whose first answer of what is due is none."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self._breaks = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def due(self, partition: Partition) -> Any:
        if self._breaks:
            self._breaks = False
            raise ValueError("a row that nobody wrote")
        return await self._journal.due(partition)


def waker(pools: Pools, journal: MemoryJournal, *agents: str) -> Runtime:
    """A process with a waker, which looks at first for these agents, or through everything."""

    def made(request: object) -> object:
        raise AssertionError("nobody is made here")

    runtime = Runtime(HostId("here"), make_behavior=made, directory=Nowhere())  # type: ignore[arg-type]
    first = [partition_of(ActorId(agent)) for agent in agents] or ALL_PARTITIONS
    ids = DurableIds(map(ActorId, ("desk/static", "desk/pool/*", f"{KIND}/*")))
    Waker(cast("Roots", pools), runtime, journal, is_durable=ids, first=first)
    return runtime


_numbers = itertools.count(1)


async def mail(journal: MemoryJournal, agent: str) -> Incoming:
    """Puts a message into the mailbox of an agent."""
    message = Incoming(agent=ActorId(agent), command=uuid7(BEGUN_MS, next(_numbers)), body=b"-")
    await journal.enqueue([message])
    return message


async def turn(journal: MemoryJournal, agent: str, writes: Writes) -> None:
    """Has an agent handle one message, and leave this."""
    message = await mail(journal, agent)
    host = await journal.new_host_epoch()
    owner = (await journal.read(ActorId(agent))).owner
    claim = await journal.claim(ActorId(agent), host, previous=owner, operation=OperationId(f"claim {agent}"))
    hand = Hand(
        agent=ActorId(agent),
        epoch=claim.row.epoch,
        version=claim.row.version,
        command=message.command,
        operation=OperationId(f"commit {agent}"),
    )
    await journal.commit(Commit(hand=hand, outcome=Outcome.COMMITTED, result=b"", writes=writes))
    await journal.release(ActorId(agent), claim.row.epoch)


@pytest.mark.heavy
@pytest.mark.slow
@virtual
async def test_when_the_app_starts_all_who_have_mail_or_messages_to_relay_are_started() -> None:
    journal, pools = memory_journal(), Pools()
    for key in ("ada", "bob"):
        await mail(journal, f"{KIND}/{key}")
    outgoing = Outgoing(target=ActorId("desk/other"), command=uuid7(BEGUN_MS, next(_numbers)), body=b"-")
    await turn(journal, f"{KIND}/eve", Writes(outgoing=(outgoing,)))
    await turn(journal, f"{KIND}/idle", NOTHING)

    runtime = waker(pools, journal)
    await pass_time(SOON_S)

    assert sorted(pools.started) == ["ada", "bob", "eve"]
    await runtime.aclose()


@virtual
async def test_who_has_a_reminder_is_started_at_its_time_and_not_before() -> None:
    journal, pools = memory_journal(), Pools()
    begun_s = asyncio.get_running_loop().time()
    for key, due_s in (("ada", 100), ("bob", 5_000)):
        set_timer = SetTimer(timer="later", due_ms=BEGUN_MS + int(begun_s + due_s) * 1_000, schedule=b"-")
        await turn(journal, f"{KIND}/{key}", Writes(timers=(set_timer,)))

    runtime = waker(pools, journal, f"{KIND}/ada", f"{KIND}/bob")
    started = []
    for at_s in (99, 101, 4_999, 5_001):
        await pass_time(begun_s + at_s - asyncio.get_running_loop().time())
        started.append(list(pools.started))

    assert started == [[], ["ada"], ["ada"], ["ada", "bob"]]
    await runtime.aclose()


@virtual
async def test_who_could_not_be_started_is_tried_again_after_a_while() -> None:
    journal, pools = memory_journal(), Pools()
    await mail(journal, f"{KIND}/ada")
    pools.refuses = 2

    runtime = waker(pools, journal, f"{KIND}/ada")
    await pass_time(2 * TRY_AGAIN_S)
    assert pools.started == []
    await pass_time(2 * TRY_AGAIN_S)

    assert pools.started == ["ada"]
    await runtime.aclose()


@virtual
async def test_who_has_mail_while_its_supervisor_does_not_run_is_started_when_it_does_again() -> None:
    journal, pools = memory_journal(), Pools()
    await mail(journal, f"{KIND}/ada")
    pools.is_away = True

    runtime = waker(pools, journal, f"{KIND}/ada")
    await pass_time(SOON_S)
    pools.is_away = False
    await pass_time(2 * TRY_AGAIN_S)

    assert pools.started == ["ada"]
    await runtime.aclose()


@virtual
async def test_a_start_that_breaks_ends_nothing_else_and_is_tried_again() -> None:
    journal, pools = memory_journal(), Pools()
    await mail(journal, f"{KIND}/ada")
    pools.breaks = 1

    runtime = waker(pools, journal, f"{KIND}/ada", f"{KIND}/bob")
    with capture_logs() as logs:
        await pass_time(SOON_S)
        await mail(journal, f"{KIND}/bob")
        cast("Any", pools).released(ActorId(f"{KIND}/bob"))
        await pass_time(SOON_S)

    assert pools.started == ["bob"]
    assert [entry["agent"] for entry in logs if entry["log_level"] == "error"] == [f"{KIND}/ada"]
    await pass_time(TRY_AGAIN_S)
    assert pools.started == ["bob", "ada"]
    await runtime.aclose()


@virtual
async def test_a_look_that_breaks_is_told_and_tried_again() -> None:
    journal, pools = Breaking(memory_journal()), Pools()
    await mail(cast("MemoryJournal", journal), f"{KIND}/ada")

    with capture_logs() as logs:
        runtime = waker(pools, cast("MemoryJournal", journal), f"{KIND}/ada")
        await pass_time(SOON_S)
    assert [entry["log_level"] for entry in logs] == ["error"]
    await pass_time(TRY_AGAIN_S)

    assert pools.started == ["ada"]
    await runtime.aclose()


@pytest.mark.heavy
@virtual
async def test_starts_that_take_long_hold_up_no_look_and_are_not_begun_twice() -> None:
    journal, pools = memory_journal(), Pools()
    slow = [f"slow{number}" for number in range(LOOKS_AT_ONCE + 64)]
    pools.slow.update(slow)
    for key in (*slow, "ada"):
        await mail(journal, f"{KIND}/{key}")

    runtime = waker(pools, journal, *(f"{KIND}/{key}" for key in slow))
    await pass_time(SOON_S)
    for key in (*slow, "ada"):
        cast("Any", pools).released(ActorId(f"{KIND}/{key}"))
    await pass_time(SOON_S)

    assert pools.started == ["ada"]
    assert max(Counter(pools.asked).values()) == 1
    await runtime.aclose()


@virtual
async def test_mail_of_others_is_left_where_it_is_and_of_those_who_never_run_again_that_is_said() -> None:
    journal, pools = memory_journal(), Pools()
    others = ("desk/static", "desk/pool/17", "desk/pool/18", "gone/clerk/ada")
    for agent in others:
        await mail(journal, agent)

    with capture_logs() as logs:
        runtime = waker(pools, journal, *others)
        await pass_time(100.0)

    assert pools.started == []
    told = {log["agent"]: log["reason"] for log in logs}
    assert told.keys() == {"desk/pool/17", "gone/clerk/ada"}, "who runs, or starts by itself, has its mail"
    assert "gives other ids" in told["desk/pool/17"] and "not in the app's tree" in told["gone/clerk/ada"]
    await runtime.aclose()
