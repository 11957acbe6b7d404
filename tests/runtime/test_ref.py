"""Refs: logical, cheap, equal by address, welcome inside messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from regrow.runtime.address import ActorId
from regrow.runtime.codec import FrameCodec
from regrow.runtime.envelope import Envelope, Kind, Origin
from regrow.runtime.errors import AskFailed, Misuse
from regrow.runtime.lifecycle import NoProc
from regrow.runtime.message import Message, Request
from regrow.runtime.ref import ActorRef
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Echo, Note, Process, settle

if TYPE_CHECKING:
    from regrow.runtime.context import CellContext


class Introduce(Message):
    """Here is somebody."""

    who: ActorRef
    others: tuple[ActorRef, ...] = ()


class WhoAreYou(Request[ActorRef]):
    pass


@virtual
async def test_refs_are_equal_by_address_and_can_be_keys() -> None:
    process, other = Process(), Process()

    assert process.ref("clerk") == process.ref("clerk") == other.ref("clerk")
    assert process.ref("clerk") != process.ref("clerk", life=1)
    assert len({process.ref("clerk"), process.ref("clerk"), process.ref("clerk", life=1)}) == 2
    assert process.ref("clerk") != "clerk"


@virtual
async def test_a_ref_shows_id_and_life() -> None:
    process = Process()

    assert [repr(process.ref("desk/clerk")), repr(process.ref("desk/clerk", life=3))] == [
        "<ref desk/clerk>",
        "<ref desk/clerk#3>",
    ]
    assert process.ref("desk/clerk").id == "desk/clerk"


@virtual
async def test_a_ref_in_a_message_leads_to_the_same_actor() -> None:
    process, answers = Process(), list[str]()

    async def greet(message: Introduce, ctx: CellContext) -> None:
        answers.append(await message.who.ask(Echo(text="hello")))

    clerk = await process.start("clerk")
    greeter = await process.start("greeter", greet)
    await greeter.tell(Introduce(who=clerk))
    await settle()

    assert answers == ["hello"]


@virtual
async def test_a_ref_that_crossed_to_another_process_speaks_for_the_runtime_there() -> None:
    here, there = Process(), Process()
    for _ in range(3):
        await there.start("desk/clerk")
        there.cell("desk/clerk").kill()
    await there.start("desk/clerk")
    away, home = (FrameCodec(process.runtime.ref_to, process.runtime.loop.time) for process in (here, there))
    message = Introduce(who=here.ref("desk/clerk", life=4), others=(here.ref("desk/scribe"),))

    (arrived,) = home.decode(away.encode([Envelope(Kind.TELL, ActorId("desk/analyst"), message, Origin())]))

    assert isinstance(arrived.message, Introduce)
    assert arrived.message == message
    assert await arrived.message.who.ask(Echo(text="from there")) == "from there"


@virtual
async def test_an_actor_can_hand_out_a_ref_to_itself_and_to_its_sender() -> None:
    process, senders = Process(), list[ActorRef | None]()

    async def handle(message: Message, ctx: CellContext) -> ActorRef:
        senders.append(ctx.sender)
        return ctx.self_ref

    async def pass_on(message: Echo, ctx: CellContext) -> str:
        return (await ctx.ask("desk/clerk", WhoAreYou())).id

    clerk = await process.start("desk/clerk", handle)
    analyst = await process.start("desk/analyst", pass_on)

    assert await clerk.ask(WhoAreYou()) == clerk
    assert await analyst.ask(Echo()) == "desk/clerk"
    assert senders == [None, analyst]


@virtual
async def test_a_ref_of_an_earlier_life_fails_at_once() -> None:
    process = Process()
    await process.start("clerk")
    process.cell("clerk").kill()
    await process.start("clerk")
    earlier = process.ref("clerk", life=1)

    with pytest.raises(AskFailed) as failure:
        await earlier.ask(Echo())
    await earlier.tell(Note())

    assert failure.value.reason == NoProc()
    assert process.dead == {"no_such_agent": 1}
    assert await process.ref("clerk", life=2).ask(Echo(text="here")) == "here"


@virtual
async def test_a_message_for_an_earlier_life_that_waits_in_the_mailbox_does_not_reach_the_next() -> None:
    process, handled = Process(), list[int]()

    async def handle(message: Note, ctx: CellContext) -> None:
        handled.append(message.n)

    await process.start("clerk", handle)
    process.ref("clerk", life=1).tell_nowait(Note(n=1))
    process.cell("clerk").kill()
    await process.start("clerk", handle)
    process.ref("clerk").tell_nowait(Note(n=2))
    await settle()

    assert handled == [2]
    assert process.dead == {"earlier_life": 1}


# ---- from a name to a ref ------------------------------------------------------------------------


@virtual
async def test_an_id_and_a_ref_lead_to_the_same_actor() -> None:
    process = Process()
    clerk = await process.start("desk/clerk")

    for target in ("desk/clerk", clerk):
        assert process.runtime.ref(target) == clerk


@virtual
async def test_a_bare_name_inside_a_turn_is_a_sibling() -> None:
    process, found = Process(), list[str]()

    async def handle(message: Message, ctx: CellContext) -> str:
        found.extend(ctx.ref(name).id for name in ("scribe", "other/scribe"))
        return ""

    clerk = await process.start("desk/clerk", handle)
    await clerk.ask(Echo())

    assert found == ["desk/scribe", "other/scribe"]


@virtual
async def test_a_class_that_no_child_is_made_from_is_refused_with_what_to_do() -> None:
    process = Process()

    with pytest.raises(Misuse, match=r"no child of this app is made from .*Process.*; give its id instead"):
        process.runtime.ref(Process)
