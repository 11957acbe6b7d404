"""tell and ask in one process, room, and the end of the process (SEMANTICS 4 and 5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from regrow.runtime.address import ActorId, Address
from regrow.runtime.cell import State
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.errors import AskFailed, AskTimeout, Closed, InvalidMessage, MailboxFull, NotAllowed
from regrow.runtime.lifecycle import NoProc
from regrow.runtime.mailbox import MailboxSettings, Overflow
from regrow.runtime.message import Message
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Echo, Hang, Note, Process, Scripted, for_ever, settle

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext
    from regrow.runtime.ref import ActorRef


async def busy(process: Process, *, capacity: int = 2, overflow: Overflow = Overflow.BLOCK) -> ActorRef:
    """An actor that handles one message for ever, with a mailbox that holds so many more."""
    clerk = await process.start("clerk", for_ever, mailbox=MailboxSettings(capacity, overflow))
    await clerk.tell(Note())
    await settle()
    return clerk


async def full(process: Process, overflow: Overflow = Overflow.BLOCK) -> ActorRef:
    """An actor whose mailbox is full."""
    clerk = await busy(process, overflow=overflow)
    for _ in range(2):
        clerk.tell_nowait(Note())
    return clerk


class Slow:
    """An actor that takes a second for each Note and keeps what it got."""

    def __init__(self) -> None:
        self.got: list[int] = []

    async def __call__(self, message: Note | Echo, ctx: CellContext) -> str:
        await pass_time(1.0)
        if isinstance(message, Note):
            self.got.append(message.n)
        return ""


async def slow(process: Process, *, capacity: int) -> tuple[ActorRef, list[int]]:
    handle = Slow()
    return await process.start("clerk", Scripted(handle), mailbox=MailboxSettings(capacity)), handle.got


# ---- tell ----------------------------------------------------------------------------------------


@virtual
async def test_a_tell_waits_for_room_and_keeps_its_place() -> None:
    process = Process()
    clerk, got = await slow(process, capacity=1)
    began_s = asyncio.get_running_loop().time()

    await asyncio.gather(*(clerk.tell(Note(n=n)) for n in range(4)))
    waited_s = asyncio.get_running_loop().time() - began_s
    await pass_time(5.0)

    assert got == [0, 1, 2, 3]
    assert waited_s == pytest.approx(2.0)


@virtual
async def test_a_tell_that_finds_no_room_in_time_says_so_and_was_not_delivered() -> None:
    process = Process()
    clerk = await full(process)

    with pytest.raises(MailboxFull) as failure:
        await clerk.tell(Note(n=9), send_timeout_s=2.0)

    assert str(failure.value) == (
        "the mailbox of clerk is full (2 messages; waited 2 s); "
        "send less, wait longer (send_timeout_s) or give it a larger mailbox"
    )
    assert (failure.value.actor, failure.value.capacity, failure.value.waited_s) == ("clerk", 2, 2.0)
    assert [envelope.message for envelope in process.cell("clerk").mailbox.drain()] == [Note(), Note()]
    assert process.dead == {}


@virtual
async def test_a_tell_waits_five_seconds_unless_told_otherwise() -> None:
    process = Process()
    clerk = await full(process)

    with pytest.raises(MailboxFull, match="waited 5 s"):
        await clerk.tell(Note())


@virtual
async def test_a_tell_that_is_cancelled_while_it_waits_is_not_delivered() -> None:
    process = Process()
    clerk, got = await slow(process, capacity=1)
    tells = [asyncio.ensure_future(clerk.tell(Note(n=n))) for n in range(4)]
    await settle()

    tells[2].cancel()
    await pass_time(9.0)

    assert got == [0, 1, 3]


@virtual
async def test_tell_nowait_raises_at_once_when_there_is_no_room() -> None:
    process = Process()
    clerk = await full(process)

    with pytest.raises(MailboxFull, match=r"the mailbox of clerk is full \(2 messages; waited 0 s\)"):
        clerk.tell_nowait(Note())


@virtual
async def test_a_mailbox_that_rejects_makes_nobody_wait() -> None:
    process = Process()
    clerk = await full(process, Overflow.REJECT)
    began_s = asyncio.get_running_loop().time()

    with pytest.raises(MailboxFull, match="waited 0 s"):
        await clerk.tell(Note())
    with pytest.raises(MailboxFull, match="waited 0 s"):
        clerk.tell_nowait(Note())
    with pytest.raises(MailboxFull, match="waited 0 s"):
        await clerk.ask(Echo())

    assert asyncio.get_running_loop().time() == began_s
    assert process.dead == {}


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST], ids=lambda policy: policy.value)
def test_an_ask_that_is_dropped_fails_at_once(overflow: Overflow) -> None:
    @virtual
    async def run() -> None:
        process = Process()
        clerk = await busy(process, capacity=1, overflow=overflow)
        asks = [asyncio.ensure_future(clerk.ask(Hang())) for _ in range(2)]
        began_s = asyncio.get_running_loop().time()
        done, _ = await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED)

        assert [type(ask.exception()) for ask in done] == [MailboxFull]
        assert asyncio.get_running_loop().time() == began_s
        assert process.dead == {overflow.value.replace("drop", "dropped"): 1}

    run()


@virtual
async def test_what_is_no_message_is_refused_with_what_to_send() -> None:
    process = Process()
    clerk = await process.start("clerk")
    wrong: Any = "hello"
    tell_only: Any = Note()

    with pytest.raises(InvalidMessage, match=r"clerk was sent 'hello'; send an instance .* derived from Message"):
        clerk.tell_nowait(wrong)
    with pytest.raises(InvalidMessage, match=r"clerk was sent Note\(n=0\); .* derived from Request"):
        await clerk.ask(tell_only)


@virtual
async def test_a_tell_that_waits_for_room_ends_with_its_receiver() -> None:
    process = Process()
    clerk = await full(process)
    telling = asyncio.ensure_future(clerk.tell(Note()))
    await settle()
    process.cell("clerk").kill()

    process.runtime.forget(process.cell("clerk").actor)
    await asyncio.wait([telling], timeout=1.0)

    assert telling.done() and telling.exception() is None
    assert process.dead == {"crashed": 1, "no_such_agent": 3}


@virtual
async def test_a_tell_to_nobody_is_a_dead_letter() -> None:
    process = Process()

    await process.ref("nobody").tell(Note())
    process.ref("nobody").tell_nowait(Note())
    await settle()

    assert process.dead == {"no_such_agent": 2}


# ---- ask -----------------------------------------------------------------------------------------


@virtual
async def test_an_ask_of_nobody_fails_at_once() -> None:
    process = Process()
    began_s = asyncio.get_running_loop().time()

    with pytest.raises(AskFailed, match="nobody does not exist or has ended for good, so nobody can answer Echo") as e:
        await process.ref("nobody").ask(Echo())

    assert e.value.reason == NoProc()
    assert asyncio.get_running_loop().time() == began_s


@virtual
async def test_an_ask_waits_for_room_until_its_deadline() -> None:
    process = Process()
    clerk = await full(process)

    with pytest.raises(AskTimeout, match="within 2 s"):
        await clerk.ask(Echo(), timeout_s=2.0)

    assert len(process.cell("clerk").mailbox) == 2
    assert not process.cell("clerk").mailbox.give_up_waiters()


@virtual
async def test_an_ask_that_is_cancelled_leaves_nothing_behind() -> None:
    process = Process()
    clerk = await full(process)
    asking = asyncio.ensure_future(clerk.ask(Echo()))
    await settle()

    asking.cancel()
    await asyncio.wait([asking])

    assert len(process.runtime.asks) == 0
    assert not process.cell("clerk").mailbox.give_up_waiters()


@virtual
async def test_the_reply_to_an_asker_that_went_away_is_a_dead_letter() -> None:
    process, release = Process(), asyncio.Event()

    async def handle(message: Echo, ctx: CellContext) -> str:
        await release.wait()
        return ""

    clerk = await process.start("clerk", handle)
    asking = asyncio.ensure_future(clerk.ask(Echo()))
    await settle()
    asking.cancel()
    release.set()
    await settle()

    assert process.dead == {"late_reply": 1}


@virtual
async def test_an_asker_that_dies_while_it_waits_asks_nobody_any_more() -> None:
    process = Process()

    async def front(message: Message, ctx: CellContext) -> str:
        return await ctx.ask("desk/back", Hang())

    await process.start("desk/front", front)
    await process.start("desk/back", for_ever)
    asking = asyncio.ensure_future(process.ref("desk/front").ask(Echo()))
    await settle()

    process.cell("desk/front").kill()
    await settle()

    assert [ask.actor for ask in process.runtime.asks] == ["desk/front"]
    with pytest.raises(AskFailed):
        await asking


@virtual
async def test_command_id_principal_and_app_are_there_for_the_handler() -> None:
    process, seen = Process(), list[object]()

    async def handle(message: Message, ctx: CellContext) -> str:
        seen.extend((ctx.command_id, ctx.principal, ctx.app, ctx.id, ctx.incarnation, ctx.runtime.host))
        return ""

    clerk = await process.start("desk/clerk", handle)
    await clerk.ask(Echo(), command_id="0197-once")

    assert seen == ["0197-once", "tester", "desk", "desk/clerk", 1, "here"]


# ---- identity ------------------------------------------------------------------------------------


def send_as(process: Process, capability: tuple[str, ...], target: str) -> None:
    """Tells with the identity of somebody who may reach only so far."""
    process.runtime.origin = Origin(principal="ann", capability=capability)
    process.runtime.tell_nowait(Address(ActorId(target)), Note())


@virtual
async def test_a_capability_that_does_not_reach_the_receiver_is_refused_to_its_sender() -> None:
    process = Process()
    await process.start("acme-corp/clerk")

    with pytest.raises(NotAllowed, match="ann may address acme, and acme-corp/clerk is outside of that"):
        send_as(process, ("acme",), "acme-corp/clerk")
    with pytest.raises(NotAllowed, match="ann may address nothing"):
        send_as(process, (), "acme-corp/clerk")


@virtual
async def test_what_a_turn_sends_has_the_identity_of_what_caused_it() -> None:
    process, refused = Process(), list[str]()

    async def front(message: Message, ctx: CellContext) -> None:
        try:
            await ctx.tell("other/clerk", Note())
        except NotAllowed as error:
            refused.append(str(error))
        ctx.after(1.0, Note())

    await process.start("acme/front", front)
    await process.start("other/clerk")
    send_as(process, ("acme",), "acme/front")
    process.runtime.origin = Origin()
    await pass_time(1.5)

    assert refused == ["ann may address acme, and other/clerk is outside of that"] * 2


@virtual
async def test_a_turn_can_neither_link_with_nor_watch_what_its_capability_does_not_reach() -> None:
    process, refused = Process(), list[str]()

    async def front(message: Message, ctx: CellContext) -> None:
        for bind in (ctx.link, ctx.monitor):
            try:
                bind("other/clerk")
            except NotAllowed as error:
                refused.append(str(error))

    await process.start("acme/front", front)
    await process.start("other/clerk")
    send_as(process, ("acme",), "acme/front")
    await pass_time(0.1)

    assert refused == ["ann may address acme, and other/clerk is outside of that"] * 2
    assert not process.cell("acme/front").bonds.watching and not process.cell("acme/front").bonds.links


# ---- the end -------------------------------------------------------------------------------------


@virtual
async def test_closing_ends_every_pending_ask_once_with_closed() -> None:
    process = Process()
    clerk = await process.start("clerk", for_ever)
    asks = [asyncio.ensure_future(clerk.ask(Hang())) for _ in range(3)]
    await settle()

    await process.runtime.aclose()
    await asyncio.wait(asks)
    await pass_time(1.0)

    assert {str(ask.exception()) for ask in asks} == {"the app stopped before clerk had answered Hang"}
    assert {type(ask.exception()) for ask in asks} == {Closed}
    assert len(process.runtime.asks) == 0


@virtual
async def test_a_closed_process_starts_and_sends_nothing() -> None:
    process = Process()
    clerk = await process.start("clerk")
    await process.runtime.aclose()

    with pytest.raises(Closed, match="this app has stopped; start it again before sending"):
        clerk.tell_nowait(Note())
    with pytest.raises(Closed):
        await clerk.ask(Echo())
    failed = await process.try_start("scribe")

    assert failed is not None and failed.type_name == "Closed"


@virtual
async def test_closing_counts_what_waits_in_mailboxes_and_releases_who_waits_for_room() -> None:
    process = Process()
    clerk = await full(process)
    waiting = asyncio.ensure_future(clerk.tell(Note()))
    ended = asyncio.ensure_future(process.cell("clerk").wait_ended())
    await settle()

    await process.runtime.aclose()
    await asyncio.wait([waiting, ended], timeout=1.0)

    assert waiting.done() and ended.done()
    assert process.dead == {"crashed": 1, "no_such_agent": 3}
    assert not process.runtime.cells


@virtual
async def test_closing_leaves_no_task() -> None:
    process = Process()

    async def parent(message: Message, ctx: CellContext) -> str:
        await ctx.spawn(Scripted(stopping=for_ever), "copy")
        return ""

    clerk = await process.start("clerk", parent)
    await clerk.ask(Echo())
    busy_one = await process.start("busy", for_ever)
    await busy_one.tell(Note())
    await settle()

    await process.runtime.aclose()
    await settle()

    assert asyncio.all_tasks() == {asyncio.current_task()}


@virtual
async def test_stats_tell_state_and_depth_and_how_much_was_handled() -> None:
    process = Process()
    clerk = await busy(process)
    clerk.tell_nowait(Note())
    gone = await process.start("gone", survives_exit=False)
    await gone.ask(Echo())
    process.cell("gone").kill()

    assert process.runtime.stats() == {"clerk": (State.RUNNING.value, 1)}
    assert process.runtime.handled == 2


# ---- looking for a receiver ----------------------------------------------------------------------


class Searching:
    """A Directory that finds nothing until it is told to; look-ups wait."""

    def __init__(self) -> None:
        self.found = asyncio.Event()

    def host_of(self, actor: ActorId) -> Any:
        return None

    async def locate(self, actor: ActorId) -> Any:
        await self.found.wait()
        return "here"

    def forget(self, actor: ActorId) -> None:
        pass

    def host_died(self, host: Any) -> list[ActorId]:
        return []


async def searching() -> tuple[Process, Searching]:
    process, directory = Process(), Searching()
    process.runtime.delivery.directory = directory
    return process, directory


@virtual
async def test_a_message_does_not_overtake_an_earlier_one_whose_receiver_is_still_looked_for() -> None:
    process, directory = await searching()
    handle = Slow()
    process.ref("clerk").tell_nowait(Note(n=1))
    await settle()
    await process.start("clerk", Scripted(handle))

    process.ref("clerk").tell_nowait(Note(n=2))
    telling = asyncio.ensure_future(process.ref("clerk").tell(Note(n=3)))
    await settle()
    directory.found.set()
    await telling
    await pass_time(5.0)

    assert handle.got == [1, 2, 3]


@virtual
async def test_a_message_can_be_taken_back_while_its_receiver_is_looked_for() -> None:
    process, directory = await searching()

    with pytest.raises(MailboxFull, match=r"clerk is full \(waited 2 s\)"):
        await process.ref("clerk").tell(Note(), send_timeout_s=2.0)
    with pytest.raises(AskTimeout):
        await process.ref("clerk").ask(Echo(), timeout_s=2.0)
    handle = Slow()
    await process.start("clerk", Scripted(handle))
    directory.found.set()
    await pass_time(5.0)

    assert (handle.got, process.runtime.handled) == ([], 0)


@virtual
async def test_closing_gives_up_messages_whose_receiver_is_looked_for() -> None:
    process, _ = await searching()
    process.ref("clerk").tell_nowait(Note())
    telling = asyncio.ensure_future(process.ref("clerk").tell(Note()))
    asking = asyncio.ensure_future(process.ref("clerk").ask(Echo()))
    await settle()

    await process.runtime.aclose()
    await asyncio.wait([telling, asking], timeout=1.0)

    assert telling.done() and asking.done()
    with pytest.raises(Closed, match="the app stopped before clerk had answered Echo"):
        asking.result()
    assert process.dead == {"host_lost": 2}


class Broken(Searching):
    """A Directory that fails with what nobody expects of one."""

    async def locate(self, actor: ActorId) -> Any:
        await self.found.wait()
        raise OSError("the line is dead")


@virtual
async def test_a_look_up_that_breaks_ends_what_waits_for_it_and_not_what_is_sent_later() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reported.append(report))
    process, directory = Process(), Broken()
    process.runtime.delivery.directory = directory
    asking = asyncio.ensure_future(process.ref("clerk").ask(Echo()))
    await settle()

    directory.found.set()
    with pytest.raises(AskFailed, match="clerk does not exist"):
        await asking
    await process.start("clerk")

    assert await process.ref("clerk").ask(Echo(text="hello"), timeout_s=1.0) == "hello"


class Compared(Envelope):
    """An envelope that counts how often anything is compared with it."""

    __slots__ = ()
    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return self is other

    __hash__ = Envelope.__hash__


@virtual
async def test_taking_back_one_of_many_whose_receiver_is_looked_for_looks_at_no_other() -> None:
    process, _ = await searching()
    envelopes = [Compared(Kind.TELL, ActorId("clerk"), Note(n=n), Origin()) for n in range(100)]
    for envelope in envelopes:
        process.runtime.delivery.send(envelope)

    assert process.runtime.delivery.withdraw(envelopes[-1])
    assert Compared.times == 0


@virtual
async def test_a_receiver_that_is_never_found_is_given_up_after_a_few_tries() -> None:
    process, directory = await searching()
    directory.found.set()

    with pytest.raises(AskFailed, match="clerk does not exist"):
        await process.ref("clerk").ask(Echo())


@virtual
async def test_envelopes_have_kinds_that_stand_on_the_wire() -> None:
    assert {kind.name: int(kind) for kind in Kind} == {
        "TELL": 0,
        "ASK": 1,
        "REPLY": 2,
        "FAILURE": 3,
        "SIGNAL": 4,
        "NOTICE": 5,
        "PART": 6,
    }
