"""A message that answers a wait answers one, whenever its life ends and however late the next one comes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest
from pydantic import BaseModel

from regrow.actors import DurableAgent, DurableContext, on
from regrow.actors.durable_body import packed
from regrow.actors.durable_wait import NO_ARGUMENTS, wait_name
from regrow.runtime.address import ActorId
from regrow.runtime.codec import FrameCodec
from regrow.runtime.journal_answers import AnswerVerdict, Assume, Ending
from regrow.runtime.journal_entries import CommandId, Hand, OperationId, StepKey, partition_of
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time
from tests.actors.durable_stand import Host, memory_journal, on_virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from regrow.runtime.memory_journal import MemoryJournal

CLERK = ActorId("desk/clerk")
HOUR_S = 3_600.0


class Paid(BaseModel):
    paid: list[str] = []


class Consent(Message):
    by: str


class Pay(Message):
    text: str


class Seen(Request[tuple[str, ...]]):
    """What was paid."""


class Clerk(DurableAgent[Paid]):
    @on
    async def pay(self, message: Pay, ctx: DurableContext) -> None:
        consent = await ctx.wait_for(Consent)
        self.state.paid.append(f"{message.text} by {consent.by}")

    @on
    async def seen(self, request: Seen) -> tuple[str, ...]:
        return tuple(self.state.paid)


class LaterClerk(Clerk):
    """Of a version that does something else with a consent."""

    @on
    async def consent(self, message: Consent) -> None:
        self.state.paid.append(f"kept: {message.by}")


class Halting:
    """A journal whose caller stands still for ever at one call, before it is done or after."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self.at: tuple[str, str] | None = None
        self.halted = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._journal, name)
        return self._halting(name, method) if asyncio.iscoroutinefunction(method) else method

    def _halting(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.at == (name, "before") or self.halted:
                self.halted = True
                await asyncio.Event().wait()
            result = await method(*args, **kwargs)
            if self.at == (name, "after"):
                self.halted = True
                await asyncio.Event().wait()
            return result

        return call


@dataclass(frozen=True, slots=True)
class Ids:
    rent: CommandId
    light: CommandId
    consent: CommandId


async def left_at(journal: MemoryJournal, method: str, when: str) -> Ids:
    """Two payments wait, and the life that has begun to answer with Ada's consent ends at that call."""
    halting = Halting(journal)
    host = await Host.on(cast("Any", halting))
    assert await host.start(Clerk, CLERK) is None
    for text in ("rent", "light"):
        await host.ref(CLERK).tell(Pay(text=text))
        await pass_time(1.0)
    rent, light = sorted([wait.command for wait in await journal.waiting(partition_of(CLERK))])
    halting.at = (method, when)
    await host.ref(CLERK).tell(Consent(by="ada"))
    await pass_time(1.0)
    assert halting.halted
    taken = await journal.take(CLERK, (await journal.read(CLERK)).epoch)
    assert taken.messages
    assert host.runtime.durability is not None
    await host.runtime.aclose()
    await journal.revoke(host.runtime.durability.host, reaped=True)
    return Ids(rent, light, taken.messages[0].command)


async def next_life(journal: MemoryJournal, cls: type[Clerk] = Clerk) -> Host:
    host = await Host.on(journal, "there")
    assert await host.start(cls, CLERK) is None
    await pass_time(1.0)
    return host


async def paid(host: Host) -> tuple[str, ...]:
    found: tuple[str, ...] = await host.ref(CLERK).ask(Seen())
    return found


async def ending_of(journal: MemoryJournal, id: CommandId) -> Ending:
    return next(turn.ending for turn in reversed(await journal.history(CLERK)) if turn.command == id)


async def answered_by(journal: MemoryJournal, by: str, payment: CommandId) -> None:
    """Somebody answers one payment's wait at the journal, as `regrow approve` does."""
    codec = FrameCodec(cast("Any", None), lambda: 0.0)
    wait = StepKey(name=wait_name(Consent), occurrence=0, digest=NO_ARGUMENTS)
    body = packed(codec, Consent(by=by))
    answered = await journal.answer(CLERK, payment, wait, body=body, operation=OperationId(f"by {by}"))
    assert answered.verdict is AnswerVerdict.RESUMED


CALLS = [("start_step", "after"), ("answer", "before"), ("answer", "after"), ("commit", "before")]


@pytest.mark.parametrize("away_s", [1.0, HOUR_S, 30 * HOUR_S])
@pytest.mark.parametrize(("method", "when"), CALLS)
def test_a_message_whose_life_ends_while_it_answers_a_wait_answers_no_second_one_however_late(
    method: str, when: str, away_s: float
) -> None:
    @on_virtual_time
    async def test() -> None:
        journal = memory_journal()
        ids = await left_at(journal, method, when)
        await pass_time(away_s)

        host = await next_life(journal)

        assert await paid(host) == ("rent by ada",)
        assert await ending_of(journal, ids.consent) is Ending.COMMITTED
        assert [wait.command for wait in await journal.waiting(partition_of(CLERK))] == [ids.light]

    test()


@on_virtual_time
async def test_a_message_that_had_chosen_a_wait_which_another_has_answered_since_answers_the_next() -> None:
    journal = memory_journal()
    ids = await left_at(journal, "start_step", "after")
    await answered_by(journal, "bob", ids.rent)
    await pass_time(HOUR_S)

    host = await next_life(journal)

    assert sorted(await paid(host)) == ["light by ada", "rent by bob"]
    assert await journal.waiting(partition_of(CLERK)) == ()


@on_virtual_time
async def test_a_message_that_had_chosen_a_wait_answers_it_though_the_next_version_has_a_handler_for_it() -> None:
    journal = memory_journal()
    await left_at(journal, "commit", "before")
    await pass_time(HOUR_S)

    host = await next_life(journal, LaterClerk)

    assert await paid(host) == ("rent by ada",)


@pytest.mark.parametrize(
    ("assume", "then"),
    [(Assume.DONE, ("rent by bob",)), (Assume.UNDONE, ("rent by bob", "light by ada"))],
)
def test_who_can_not_know_whether_it_has_answered_a_wait_is_set_aside_until_a_person_says(
    assume: Assume, then: tuple[str, ...]
) -> None:
    @on_virtual_time
    async def test() -> None:
        journal = memory_journal()
        ids = await left_at(journal, "start_step", "after")
        await _set_aside(journal, ids.consent)
        await answered_by(journal, "bob", ids.rent)
        host = await next_life(journal)
        await pass_time(HOUR_S)
        await journal.requeue(CLERK, ids.consent, operation=OperationId("again"))
        host.runtime.cells[CLERK].intake.look()  # type: ignore[union-attr] # as who requeues tells it
        await pass_time(1.0)

        shown = await journal.show_quarantined(CLERK, ids.consent)
        assert shown is not None
        assert b"whether with this answer is not known" in shown.reason
        await journal.requeue(CLERK, ids.consent, operation=OperationId("settled"), assume=assume)
        host.runtime.cells[CLERK].intake.look()  # type: ignore[union-attr]
        await pass_time(1.0)

        assert await paid(host) == then
        assert await ending_of(journal, ids.consent) is Ending.COMMITTED

    test()


async def _set_aside(journal: MemoryJournal, id: CommandId) -> None:
    """Another life has had enough of that message."""
    host = await journal.new_host_epoch()
    row = await journal.read(CLERK)
    claim = await journal.claim(CLERK, host, previous=row.owner, operation=OperationId("claim"))
    hand = Hand(
        agent=CLERK,
        epoch=claim.row.epoch,
        version=claim.row.version,
        command=id,
        operation=OperationId("quarantine"),
    )
    await journal.quarantine(hand, b"as the test wants it")
    await journal.release(CLERK, claim.row.epoch)
