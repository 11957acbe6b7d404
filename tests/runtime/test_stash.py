"""Messages that their actor sets aside until it can serve them (SEMANTICS 5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.errors import AskFailed, AskTimeout, MailboxFull, Misuse, StashFull
from regrow.runtime.lifecycle import NoProc
from regrow.runtime.mailbox import MailboxSettings, Overflow
from regrow.runtime.message import Message
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Boom, Echo, Note, Process, Scripted, settle

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext


class Open(Message):
    """From now on the actor serves."""


class Crash(Message):
    """The actor dies of it."""


class Door:
    """Sets everything aside until it is opened; each life begins closed."""

    def __init__(self, log: list[object]) -> None:
        self._log = log
        self._is_open = False

    async def __call__(self, message: Any, ctx: CellContext) -> str:
        if isinstance(message, Crash):
            raise Boom
        if isinstance(message, Open):
            self._is_open = True
            ctx.unstash_all()
        elif not self._is_open:
            ctx.stash()
        else:
            self._log.append(message.n if isinstance(message, Note) else message.text)
        return "served"


async def closed_door(process: Process, log: list[object], **options: Any) -> Any:
    return await process.start("desk/door", lambda: Scripted(Door(log)), **options)


@virtual
async def test_what_was_set_aside_comes_back_in_front_and_in_its_order() -> None:
    process, log = Process(), list[object]()
    door = await closed_door(process, log)

    for n in (1, 2, 3):
        await door.tell(Note(n=n))
    await settle()
    await door.tell(Open())
    await door.tell(Note(n=4))
    await settle()

    assert log == [1, 2, 3, 4]
    assert process.runtime.handled == 5


@virtual
async def test_an_ask_that_was_set_aside_is_answered_once_it_is_served() -> None:
    process, log = Process(), list[object]()
    door = await closed_door(process, log)
    asking = asyncio.ensure_future(door.ask(Echo(text="later")))
    await pass_time(5.0)
    assert not asking.done()

    await door.tell(Open())

    assert await asking == "served"
    assert log == ["later"]


@virtual
async def test_an_ask_that_was_set_aside_times_out_and_is_dropped_before_it_runs() -> None:
    process, log = Process(), list[object]()
    door = await closed_door(process, log)
    with pytest.raises(AskTimeout):
        await door.ask(Echo(text="too late"), timeout_s=1.0)

    await door.tell(Open())
    await settle()

    assert log == []
    assert process.dead == {"expired": 1}


@virtual
async def test_an_asker_that_goes_away_takes_back_what_was_set_aside() -> None:
    process, log = Process(), list[object]()
    door = await closed_door(process, log)
    asking = asyncio.ensure_future(door.ask(Echo()))
    await settle()

    asking.cancel()
    await asyncio.wait([asking])

    assert len(process.cell("desk/door").mailbox) == 0
    assert process.dead == {}


@virtual
async def test_what_was_set_aside_counts_as_queued() -> None:
    process = Process()
    door = await closed_door(process, [], mailbox=MailboxSettings(capacity=4, overflow=Overflow.REJECT))
    for n in (1, 2):
        await door.tell(Note(n=n))
    await settle()
    process.cell("desk/door").task = asyncio.current_task()  # it takes nothing more

    await door.tell(Note(n=3))
    await door.tell(Note(n=4))

    assert len(process.cell("desk/door").mailbox) == 4
    with pytest.raises(MailboxFull):
        await door.tell(Note(n=5))


@virtual
async def test_a_full_stash_refuses_and_the_actor_lives() -> None:
    process, log = Process(), list[object]()
    door = await closed_door(process, log, mailbox=MailboxSettings(capacity=4))
    for n in (1, 2):
        await door.tell(Note(n=n))

    with pytest.raises(StashFull, match=r"desk/door has set aside 2 messages.*larger mailbox") as refusal:
        await door.ask(Echo())
    await door.tell(Note(n=3))
    await door.tell(Open())
    await settle()

    assert refusal.value.actor == "desk/door"
    assert log == [1, 2]
    assert process.dead == {"refused": 1}


@virtual
async def test_what_expired_makes_room_in_a_full_stash() -> None:
    process, log = Process(), list[object]()
    door = await closed_door(process, log, mailbox=MailboxSettings(capacity=2))
    with pytest.raises(AskTimeout):
        await door.ask(Echo(), timeout_s=1.0)

    await door.tell(Note(n=1))
    await door.tell(Open())
    await settle()

    assert log == [1]
    assert process.dead == {"expired": 1}


@virtual
async def test_the_next_life_finds_what_was_set_aside_in_front_of_its_mailbox() -> None:
    process, log = Process(), list[object]()
    door = await closed_door(process, log)
    asking = asyncio.ensure_future(door.ask(Echo(text="one")))
    await settle()
    await door.tell(Note(n=2))
    await door.tell(Crash())
    await door.tell(Note(n=3))
    await settle()

    async def serve(message: Any, ctx: CellContext) -> str:
        log.append(message.n if isinstance(message, Note) else message.text)
        return "by the next life"

    await process.start("desk/door", serve)

    assert await asking == "by the next life"
    await settle()
    assert log == ["one", 2, 3]


@virtual
async def test_what_was_set_aside_is_answered_for_when_its_actor_ends_for_good() -> None:
    process = Process()
    door = await closed_door(process, [], survives_exit=False)
    asking = asyncio.ensure_future(door.ask(Echo()))
    await door.tell(Note(n=1))
    await settle()

    await door.stop()

    with pytest.raises(AskFailed) as failure:
        await asking
    assert failure.value.reason == NoProc()
    await settle()
    assert process.dead == {"no_such_agent": 1}


@virtual
async def test_a_turn_that_crashes_after_it_set_its_message_aside_loses_that_message() -> None:
    process = Process()

    async def crash(message: Message, ctx: CellContext) -> str:
        ctx.stash()
        raise Boom

    door = await process.start("desk/door", crash)

    with pytest.raises(AskFailed, match="Boom"):
        await door.ask(Echo())
    assert len(process.cell("desk/door").mailbox) == 0


@virtual
async def test_outside_of_a_turn_there_is_nothing_to_set_aside() -> None:
    process, refused = Process(), list[Misuse]()

    async def started(ctx: CellContext) -> None:
        with pytest.raises(Misuse, match="only the turn of a message") as misuse:
            ctx.stash()
        refused.append(misuse.value)

    await process.start("desk/door", lambda: Scripted(started=started))

    assert len(refused) == 1
