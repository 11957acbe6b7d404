"""What agents with keys have still to do is done though they, their supervisor or the journal end at a bad moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from regrow import Context, DurableAgent, DurableContext, Message, Request, Running, on
from regrow.cluster.deeds import DEED_TIMEOUT_S, Deed
from regrow.cluster.inline import InlineEngine
from regrow.runtime import ActorId
from regrow.runtime.durability import PARK_AFTER_S
from regrow.runtime.journal_errors import JournalAway
from regrow.runtime.testing import pass_time
from tests.cluster.keyed_desk import IDLE_S, LONG_S, keyed_desk
from tests.supervisors.stage import virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from regrow.runtime.durability import Durability
    from regrow.runtime.journal import Journal

KEYS = ("ada", "bob", "eve", "joe", "sue")
"""More than may crash within the window of their kind."""
KIND = ActorId("desk/clerk")


class Notes(BaseModel):
    seen: list[int] = []


class Note(Message):
    number: int


class Seen(Request[tuple[int, ...]]):
    pass


class Remind(Request[bool]):
    after_s: float


class Work(Message):
    """Takes a minute the first time."""


starts: Counter[str] = Counter()


class Clerk(DurableAgent[Notes]):
    async def started(self, ctx: Context) -> None:
        starts[ctx.id] += 1

    @on
    async def note(self, message: Note) -> None:
        self.state.seen.append(message.number)

    @on
    async def seen(self, request: Seen) -> tuple[int, ...]:
        return tuple(self.state.seen)

    @on
    async def remind(self, request: Remind, ctx: DurableContext) -> bool:
        ctx.remind("later", Note(number=7), after_s=request.after_s)
        return True

    @on
    async def work(self, message: Work, ctx: DurableContext) -> None:
        if starts[ctx.id] == 1:
            await pass_time(IDLE_S)


def desk(**rules: object) -> AbstractAsyncContextManager[Running]:
    starts.clear()
    return keyed_desk(Clerk, **rules)


class Away:
    """A journal that does not serve while `is_away`, and counts what it has done."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.is_away = False
        self.done: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._journal, name)
        return self._guarded(method) if asyncio.iscoroutinefunction(method) else method

    def _guarded(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.is_away:
                raise JournalAway("it loads")
            result = await method(*args, **kwargs)
            self.done[method.__name__] += 1
            return result

        return call


def durability_of(running: Running) -> Durability:
    durability = running.engine.runtime.durability
    assert durability is not None
    return durability


def may_be_away(running: Running) -> Away:
    """From now on the journal of an app may be away."""
    durability = durability_of(running)
    away = Away(durability.journal)
    durability.journal = cast("Journal", away)
    return away


async def active(running: Running) -> set[str]:
    return {row.id for row in await running.which_children("clerk")}


async def life_of_kind(running: Running) -> int:
    return next(row.incarnation for row in await running.which_children() if row.id == "clerk")


async def note_each(running: Running) -> None:
    """Sends a note to all keys."""
    for number, key in enumerate(KEYS):
        await running.ref(Clerk, key=key).tell(Note(number=number))


async def restart(running: Running) -> None:
    """Restarts the supervisor of the kind."""
    await cast("InlineEngine", running.engine).carry_out(Deed.RESTART, KIND, timeout_s=DEED_TIMEOUT_S)


@virtual
async def test_a_reminder_comes_though_the_supervisor_of_the_kind_was_restarted() -> None:
    async with desk() as running:
        ref = running.ref(Clerk, key="ada")
        await ref.ask(Remind(after_s=10 * IDLE_S))

        await restart(running)
        await pass_time(11 * IDLE_S)

        assert starts["desk/clerk/ada"] == 2, "its reminder has started it"
        assert await ref.ask(Seen()) == (7,)


@virtual
async def test_accepted_mail_is_handled_though_the_supervisor_of_the_kind_was_restarted() -> None:
    async with desk() as running:
        ref = running.ref(Clerk, key="ada")
        await ref.tell(Work())
        await ref.tell(Note(number=1))

        await restart(running)
        await pass_time(IDLE_S / 2)

        assert starts["desk/clerk/ada"] == 2, "its mail has started it"
        assert await ref.ask(Seen()) == (1,)


@virtual
async def test_while_the_journal_does_not_serve_nobody_ends_for_want_of_work() -> None:
    async with desk() as running:
        await note_each(running)
        journal = may_be_away(running)
        journal.is_away = True
        asking = asyncio.create_task(running.ref(Clerk, key="new").ask(Seen(), timeout_s=10 * LONG_S))

        await pass_time(LONG_S)
        assert await active(running) == {*KEYS, "new"}
        journal.is_away = False
        assert await asking == ()
        await pass_time(LONG_S)

        assert await active(running) == set()
        assert starts == {f"{KIND}/{key}": 1 for key in (*KEYS, "new")}


@virtual
async def test_while_its_process_may_have_lost_its_lease_nobody_ends_for_want_of_work() -> None:
    async with desk() as running:
        await note_each(running)
        durability_of(running).renewed(ago_s=PARK_AFTER_S)

        await pass_time(LONG_S)
        assert await active(running) == set(KEYS)
        durability_of(running).renewed(ago_s=-2 * LONG_S)
        await pass_time(LONG_S)

        assert await active(running) == set()


@virtual
async def test_those_that_end_as_the_journal_goes_away_cost_no_restart_and_are_given_back_when_it_serves() -> None:
    async with desk() as running:
        await note_each(running)
        life = await life_of_kind(running)
        journal = may_be_away(running)
        journal.is_away = True

        await pass_time(LONG_S)
        assert await active(running) == set()
        assert await life_of_kind(running) == life
        journal.is_away = False
        await pass_time(IDLE_S)

        assert journal.done["release"] == len(KEYS)
        assert [await running.ref(Clerk, key=key).ask(Seen()) for key in KEYS] == [(n,) for n in range(len(KEYS))]


@virtual
async def test_who_may_be_stopped_by_a_kill_ends_in_order_where_it_has_nothing_to_do() -> None:
    async with desk(shutdown_s=0) as running:
        await note_each(running)
        life = await life_of_kind(running)
        journal = may_be_away(running)

        await pass_time(LONG_S)

        assert await active(running) == set()
        assert starts == {f"{KIND}/{key}": 1 for key in KEYS}
        assert journal.done["release"] == len(KEYS)
        assert await life_of_kind(running) == life
