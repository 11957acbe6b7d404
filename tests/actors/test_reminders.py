"""Reminders of durable agents: at least once for each time, whatever dies in between (SEMANTICS 6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, Reminder, on
from regrow.runtime.errors import AskFailed, Refused
from regrow.runtime.journal_entries import JournalLimits
from regrow.runtime.memory_journal import MemoryJournal
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import START_S, pass_time
from tests.actors.durable_stand import BEGUN_MS, Host, Unreliable, memory_journal, on_virtual_time

CLERK = "desk/clerk"


class Calls(BaseModel):
    came: list[str] = []


class Ring(Message):
    text: str = "ring"


class Set(Request[str]):
    """Sets a reminder with these arguments, and then does what `then` says."""

    name: str = "daily"
    after_s: float | None = None
    every_s: float | None = None
    cron: str | None = None
    text: str = "ring"
    then: str = ""


class SetAt(Request[str]):
    """Sets it for this time."""

    at_ms: int


class Forget(Request[str]):
    name: str = "daily"


class Came(Request[tuple[str, ...]]):
    """What has come so far."""


seen: list[Reminder | None] = []
crashes: list[int] = []


@pytest.fixture(autouse=True)
def _new_world() -> None:
    seen.clear()
    crashes.clear()


class Clerk(DurableAgent[Calls]):
    @on
    async def set(self, request: Set, ctx: DurableContext) -> str:
        ctx.remind(
            request.name, Ring(text=request.text), after_s=request.after_s, every_s=request.every_s, cron=request.cron
        )
        if request.then == "refuse":
            raise Refused("not today")
        return "set"

    @on
    async def set_at(self, request: SetAt, ctx: DurableContext) -> str:
        ctx.remind("daily", Ring(), at=datetime.fromtimestamp(request.at_ms / 1000, UTC))
        return "set"

    @on
    async def forget(self, request: Forget, ctx: DurableContext) -> str:
        ctx.forget_reminder(request.name)
        return "forgotten"

    @on
    async def ring(self, message: Ring, ctx: DurableContext) -> None:
        seen.append(ctx.reminder)
        if crashes:
            crashes.pop()
            raise ValueError("as the test wants it")
        self.state.came.append(message.text)

    @on
    async def came(self, request: Came, ctx: DurableContext) -> tuple[str, ...]:
        assert ctx.reminder is None
        return tuple(self.state.came)


async def desk(journal: Any = None, name: str = "here") -> Host:
    host = await Host.on(journal if journal is not None else memory_journal(), name)
    assert await host.start(Clerk, CLERK) is None
    return host


async def came(host: Host) -> tuple[str, ...]:
    found: tuple[str, ...] = await host.ref(CLERK).ask(Came())
    return found


def due_times() -> list[float]:
    """After how many seconds of the test each was due."""
    began_s = BEGUN_MS / 1000 + START_S
    return [round(each.due.timestamp() - began_s) for each in seen if each is not None]


@on_virtual_time
async def test_a_reminder_comes_once_at_its_time() -> None:
    host = await desk()

    await host.ref(CLERK).ask(Set(after_s=100))
    await pass_time(99)
    before = await came(host)
    await pass_time(1_000)

    assert (before, await came(host)) == ((), ("ring",))
    assert due_times() == [100]


@on_virtual_time
async def test_one_that_comes_again_and_again_does_not_drift() -> None:
    host = await desk()

    await host.ref(CLERK).ask(Set(every_s=60))
    await pass_time(10 * 60 + 1)

    assert due_times() == [60 * number for number in range(1, 11)]
    assert all(each is not None and (each.name, each.missed) == ("daily", 0) for each in seen)


@on_virtual_time
async def test_a_cron_reminder_comes_at_its_times() -> None:
    host = await desk()

    await host.ref(CLERK).ask(Set(cron="*/15 * * * *"))
    await pass_time(3_600)

    assert len(seen) == 4
    assert all(each is not None and each.due.second == 0 and each.due.minute % 15 == 0 for each in seen)


@on_virtual_time
async def test_a_reminder_outlives_the_process_that_set_it_and_what_was_missed_is_told() -> None:
    journal = memory_journal()
    host = await desk(journal)
    await host.ref(CLERK).ask(Set(every_s=60))
    await host.runtime.aclose()
    await _free(journal, host)
    await pass_time(330)

    later = await desk(journal, "there")
    await pass_time(31)

    assert await came(later) == ("ring", "ring")
    assert [(each.missed, due) for each, due in zip(seen, due_times(), strict=True) if each] == [(4, 60), (0, 360)]


@on_virtual_time
async def test_a_reminder_that_was_due_while_nobody_ran_comes_at_the_next_start() -> None:
    journal = memory_journal()
    host = await desk(journal)
    await host.ref(CLERK).ask(Set(after_s=10))
    await host.runtime.aclose()
    await _free(journal, host)
    await pass_time(timedelta(days=3).total_seconds())

    later = await desk(journal, "there")
    await pass_time(1)

    assert await came(later) == ("ring",)
    assert due_times() == [10]


@on_virtual_time
async def test_a_reminder_on_which_its_agent_crashes_is_handled_again_with_its_time() -> None:
    host = await desk()
    crashes.append(1)

    await host.ref(CLERK).ask(Set(after_s=10))
    await pass_time(20)

    assert await came(host) == ("ring",)
    assert due_times() == [10, 10]


@on_virtual_time
async def test_a_refused_turn_sets_no_reminder() -> None:
    host = await desk()

    with pytest.raises(Refused):
        await host.ref(CLERK).ask(Set(after_s=10, then="refuse"))
    await pass_time(20)

    assert await came(host) == ()


@on_virtual_time
async def test_a_reminder_set_anew_replaces_the_one_of_its_name_and_one_that_is_forgotten_does_not_come() -> None:
    host = await desk()
    clerk = host.ref(CLERK)

    await clerk.ask(Set(after_s=10, text="first"))
    await clerk.ask(Set(after_s=20, text="second"))
    await clerk.ask(Set(name="other", every_s=5, text="other"))
    await clerk.ask(Forget(name="other"))
    await pass_time(100)

    assert await came(host) == ("second",)


@on_virtual_time
async def test_a_reminder_that_is_set_for_the_same_time_again_comes_again() -> None:
    host = await desk()
    clerk = host.ref(CLERK)

    await clerk.ask(Set(after_s=10))
    await pass_time(11)
    first = seen[-1]
    assert first is not None
    await clerk.ask(SetAt(at_ms=int(first.due.timestamp() * 1000)))
    await pass_time(1)

    assert await came(host) == ("ring", "ring")
    assert due_times() == [10, 10]


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_reminder_whose_firing_was_cut_comes_once(cut: str) -> None:
    @on_virtual_time
    async def run() -> None:
        journal = Unreliable(memory_journal())
        journal.cuts = {("fire", 1): cut, ("due", 2): cut}
        host = await desk(journal)

        await host.ref(CLERK).ask(Set(every_s=60))
        await pass_time(130)

        assert await came(host) == ("ring", "ring")
        assert due_times() == [60, 120]

    run()


@on_virtual_time
async def test_more_reminders_than_a_journal_keeps_are_an_error_of_who_sets_them() -> None:
    host = await desk(memory_journal(JournalLimits(timers=1)))

    await host.ref(CLERK).ask(Set(name="one", after_s=10))

    with pytest.raises((AskFailed, Refused)):
        await host.ref(CLERK).ask(Set(name="two", after_s=10))
    await pass_time(20)
    assert await came(host) == ("ring",)


@on_virtual_time
async def test_what_a_reminder_tells_is_the_time_at_which_it_was_due() -> None:
    host = await desk()

    await host.ref(CLERK).ask(Set(after_s=10))
    await pass_time(10.5)

    [reminder] = seen
    assert reminder is not None
    assert isinstance(reminder.due, datetime)
    assert reminder.due.utcoffset() == timedelta(0)


async def _free(journal: MemoryJournal, host: Host) -> None:
    """The process is gone for certain."""
    assert host.runtime.durability is not None
    await journal.revoke(host.runtime.durability.host, reaped=True)
